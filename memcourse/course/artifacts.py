"""What costs more than some seconds is made once and kept, under a key of everything that it depends on."""

from __future__ import annotations

import hashlib
import inspect
import json
import textwrap
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from memcourse.course.profile import current
from memcourse.files import home, written_whole
from memcourse.world.manifest import manifest_sha256


def artifact(name: str, make: Callable[[], dict[str, Any]], **config: Any) -> dict[str, Any]:
    """Return make()'s result, from the user's cache if the very same thing was made before.

    The key is made of the function's source, `config`, the notebook's dial, the package's source, the course's data
    and the versions of torch and transformers: change any of them, and it is made anew. One line says which it was.

    Args:
        name: a short file name.
        make: takes nothing, returns a dictionary of NumPy arrays and of things that JSON can hold.
        config: whatever else the result depends on, as JSON can hold it.

    Raises:
        TypeError: make() returned something that can't be stored as arrays and JSON.
    """
    path = home() / "artifacts" / f"{name}-{_key(name, make, config)[:16]}.safetensors"
    stored = _read(path)
    if stored is not None:
        value, seconds = stored
        print(f"{name}: from cache, made in {seconds:.0f} s")
        return value
    started = time.perf_counter()
    value = make()
    seconds = time.perf_counter() - started
    _write(path, value, seconds)
    print(f"{name}: made in {seconds:.0f} s and stored")
    return value


def _key(name: str, make: Callable[[], Any], config: dict[str, Any]) -> str:
    setup = current()
    parts = {
        "name": name,
        "make": textwrap.dedent(inspect.getsource(make)),
        "config": config,
        "dial": [setup.notebook, setup.profile, setup.seed, setup.device, setup.dtype, dict(setup.sizes)],
        "package": package_sha256(),
        "data": manifest_sha256(),
        "versions": [version("torch"), version("transformers")],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode("utf-8")).hexdigest()


def package_sha256() -> str:
    """One hash over the source of every room that computes; the course's machinery and the plots can't change results."""
    folder = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        inside = path.relative_to(folder).as_posix()
        if not inside.startswith("course/") and inside != "plots.py":
            digest.update(inside.encode("utf-8") + path.read_bytes())
    return digest.hexdigest()


def _write(path: Path, value: dict[str, Any], seconds: float) -> None:
    arrays = {key: np.ascontiguousarray(item) for key, item in value.items() if isinstance(item, np.ndarray)}
    rest = {key: item for key, item in value.items() if key not in arrays}
    try:
        metadata = {"json": json.dumps(rest), "seconds": f"{seconds:.3f}"}
    except TypeError as error:
        raise TypeError(f"An artifact holds NumPy arrays and what JSON can hold; {error}.") from error
    with written_whole(path) as temporary:
        save_file(arrays, temporary, metadata=metadata)


def _read(path: Path) -> tuple[dict[str, Any], float] | None:
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata()
            value = {**json.loads(metadata["json"]), **{key: file.get_tensor(key) for key in file.keys()}}  # noqa: SIM118
            return value, float(metadata["seconds"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return None  # damaged: make it anew
