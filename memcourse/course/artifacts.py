"""What costs more than some seconds is made once and kept, under a key of everything that it depends on."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
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
from memcourse.errors import CourseError
from memcourse.files import home, written_whole
from memcourse.world.manifest import manifest_sha256


def artifact(name: str, make: Callable[[], dict[str, Any]], **config: Any) -> dict[str, Any]:
    """Return make()'s result, from the user's cache if the very same thing was made before.

    The key is made of the function's source, `config`, the notebook's dial, the package's source, the course's data
    and the versions of torch and transformers: change any of them, and it is made anew. One line says which it was.

    What is returned the first time is already what comes from the cache later (JSON makes lists of tuples). A disk that
    is full or can't be written costs the storing, never the result.

    Args:
        name: a short file name.
        make: takes nothing, returns a dictionary of NumPy arrays and of things that JSON can hold.
        config: whatever else the result depends on, as JSON can hold it.

    Raises:
        ValueError: the name can't be a file's.
        TypeError: make() returned something that can't be stored as arrays and JSON, or `make` or `config` can't be keyed.
    """
    if not re.fullmatch(r"[\w.-]+", name):
        raise ValueError(f"An artifact's name has letters, digits, '.', '_' and '-' only, unlike {name!r}.")
    path = home() / "artifacts" / f"{name}-{_key(name, make, config)[:16]}.safetensors"
    stored = _read(path)
    if stored is not None:
        value, seconds = stored
        print(f"{name}: from cache, made in {seconds:.0f} s")
        return value
    started = time.perf_counter()
    value = make()
    seconds = time.perf_counter() - started
    arrays, rest = _storable(name, value)
    try:
        _write(path, arrays, rest, seconds)
        print(f"{name}: made in {seconds:.0f} s and stored")
    except CourseError as error:
        print(f"{name}: made in {seconds:.0f} s, but not stored. {error}")
    return {**json.loads(rest), **arrays}


def _key(name: str, make: Callable[[], Any], config: dict[str, Any]) -> str:
    setup = current()
    try:
        code = inspect.getsource(make)
    except (OSError, TypeError) as error:
        raise TypeError(f"The artifact {name!r} needs a function whose source can be read, not {make!r}.") from error
    parts = {
        "name": name,
        "make": textwrap.dedent(code),
        "config": config,
        "dial": [setup.notebook, setup.profile, setup.seed, setup.device, setup.dtype, dict(setup.sizes)],
        "package": package_sha256(),
        "data": manifest_sha256(),
        "versions": [version("torch"), version("transformers")],
    }
    try:
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode("utf-8")).hexdigest()
    except (TypeError, ValueError) as error:
        raise TypeError(f"The artifact {name!r} takes a configuration that JSON can hold; {error}.") from error


def package_sha256() -> str:
    """One hash over the source of every room that computes; the course's machinery and the plots can't change results."""
    folder = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        inside = path.relative_to(folder).as_posix()
        if not inside.startswith("course/") and inside != "plots.py":
            digest.update(inside.encode("utf-8") + path.read_bytes())
    return digest.hexdigest()


def _storable(name: str, value: Any) -> tuple[dict[str, np.ndarray], str]:
    """The arrays of a result, laid out as the file keeps them, and the JSON text of everything else in it."""
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise TypeError(f"The artifact {name!r} must be a dictionary whose keys are texts, not {str(value)[:80]}.")
    arrays, rest = {}, {}
    for key, item in value.items():
        if not isinstance(item, np.ndarray):
            rest[key] = item
        elif item.dtype.kind in "biuf" and item.dtype.itemsize <= 8:
            arrays[key] = np.asarray(item, dtype=item.dtype.newbyteorder("="), order="C")
        else:
            raise TypeError(
                f"The artifact {name!r} has an array {key!r} of dtype {item.dtype}; use numbers of up to 64 bits."
            )
    try:
        return arrays, json.dumps(rest)
    except (TypeError, ValueError) as error:
        raise TypeError(f"The artifact {name!r} may hold NumPy arrays and what JSON can hold; {error}.") from error


def _write(path: Path, arrays: dict[str, np.ndarray], rest: str, seconds: float) -> None:
    with written_whole(path) as temporary:
        try:
            save_file(arrays, temporary, metadata={"json": rest, "seconds": f"{seconds:.3f}"})
        except SafetensorError as error:  # a full disk, say
            raise OSError(str(error)) from error


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
