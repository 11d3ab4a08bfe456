"""data/MANIFEST.json: the SHA-256 of every data file, so that a changed file is named and not silently used."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from memcourse.errors import CourseError
from memcourse.files import data_folder, sha256_file

MANIFEST = "MANIFEST.json"
RESTORE = "Restore it (git checkout -- data)"
REBUILD = "or, if the change is wanted, write the manifest anew (memcourse check --fix)"


def data_path(name: str) -> Path:
    """The path of a data file ("capitals.csv", "port_sable/facts.csv"), after its SHA-256 was compared with the manifest.

    Raises:
        ValueError: the manifest names no such file.
        CourseError: the file is missing or was changed.
    """
    entries = _entries()
    if name not in entries:
        shown = sorted({known.partition("/")[0] for known in entries})
        raise ValueError(f"There is no data file {name!r}; the manifest names {', '.join(shown)}.")
    return _checked(name, entries[name]["sha256"])


def data_paths(folder: str) -> list[Path]:
    """The paths of all data files below a folder of data/, in order, each compared with the manifest.

    Raises:
        ValueError: the manifest names no file there.
        CourseError: a file is missing, was changed, or is not named by the manifest.
    """
    entries = _entries()
    names = sorted(name for name in entries if name.startswith(f"{folder}/"))
    if not names:
        raise ValueError(f"The manifest names no data file below {folder!r}.")
    paths = [_checked(name, entries[name]["sha256"]) for name in names]
    for stranger in sorted(set(_files(data_folder() / folder)) - set(paths)):
        raise CourseError(
            f"The file {stranger} does not belong to the course's data: {MANIFEST} doesn't name it. Remove it, {REBUILD}."
        )
    return paths


def manifest_sha256() -> str:
    """One hash that stands for all of the course's data."""
    return hashlib.sha256((data_folder() / MANIFEST).read_bytes()).hexdigest()


def build_manifest(folder: Path) -> str:
    """The manifest's text for the data files as they lie in `folder`.

    At the top, every .md file is the datasheet of the file or folder of the same name; what lies in a folder is data.
    """
    files = [p for p in _files(folder) if p.parent != folder or (p.suffix != ".md" and p.name != MANIFEST)]
    entries = {
        p.relative_to(folder).as_posix(): {
            "sha256": sha256_file(p),
            "bytes": p.stat().st_size,
            "datasheet": f"{p.relative_to(folder).parts[0].partition('.')[0]}.md",
        }
        for p in files
    }
    rows = ",\n".join(f" {json.dumps(name)}: {json.dumps(entry)}" for name, entry in entries.items())
    return f"{{\n{rows}\n}}\n"


def _entries() -> dict[str, Any]:
    return json.loads((data_folder() / MANIFEST).read_text(encoding="utf-8"))


def _files(folder: Path) -> list[Path]:
    visible = (p for p in folder.rglob("*") if not any(part.startswith(".") for part in p.relative_to(folder).parts))
    return sorted(p for p in visible if p.is_file())


def _checked(name: str, sha256: str) -> Path:
    path = data_folder() / name
    if not path.is_file():
        raise CourseError(f"The data file {path} is missing. Fetch the repository again (git checkout -- data).")
    if sha256_file(path) != sha256:
        raise CourseError(
            f"The data file {path} was changed: its SHA-256 is not the one in {MANIFEST}. {RESTORE}, {REBUILD}."
        )
    return path
