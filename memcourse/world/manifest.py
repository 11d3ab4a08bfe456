"""data/MANIFEST.json: the SHA-256 of every data file, so that a changed file is named and not silently used."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from memcourse.errors import CourseError
from memcourse.files import data_folder, sha256_file

MANIFEST = "MANIFEST.json"


def data_path(name: str) -> Path:
    """The path of a data file, after its SHA-256 was compared with the manifest.

    Raises:
        ValueError: the manifest names no such file.
        CourseError: the file is missing or was changed.
    """
    folder = data_folder()
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    if name not in manifest:
        raise ValueError(f"There is no data file {name!r}; the manifest names {', '.join(sorted(manifest))}.")
    path = folder / name
    if not path.is_file():
        raise CourseError(f"The data file {path} is missing. Fetch the repository again (git checkout -- data).")
    if sha256_file(path) != manifest[name]["sha256"]:
        raise CourseError(
            f"The data file {path} was changed: its SHA-256 is not the one in {MANIFEST}. Restore it "
            "(git checkout -- data), or, if the change is wanted, write the manifest anew (memcourse check --fix)."
        )
    return path


def manifest_sha256() -> str:
    """One hash that stands for all of the course's data."""
    return hashlib.sha256((data_folder() / MANIFEST).read_bytes()).hexdigest()


def build_manifest(folder: Path) -> str:
    """The manifest's text for the data files as they lie in `folder` (everything but datasheets and the manifest)."""
    files = [p for p in sorted(folder.iterdir()) if p.is_file() and p.suffix != ".md" and p.name != MANIFEST]
    entries = {p.name: {"sha256": sha256_file(p), "bytes": p.stat().st_size, "datasheet": f"{p.stem}.md"} for p in files}
    return json.dumps(entries, indent=1) + "\n"
