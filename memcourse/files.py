"""Where files live, and how they are written so that nothing is ever half there."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs

from memcourse.errors import CourseError


def home() -> Path:
    """The folder for models, artifacts and a learner's progress: $MEMCOURSE_HOME, or the user's cache folder."""
    return Path(os.environ.get("MEMCOURSE_HOME") or platformdirs.user_cache_dir("memcourse", appauthor=False))


def models_home() -> Path:
    """The folder of converted models: $MEMCOURSE_MODELS (a class may share one, read-only), or `home()/models`."""
    return Path(os.environ.get("MEMCOURSE_MODELS") or home() / "models")


def data_folder() -> Path:
    """The course's own data: data/ beside the package in a checkout, memcourse/_data inside an installed wheel."""
    package = Path(__file__).resolve().parent
    for folder in (package / "_data", package.parent / "data"):
        if (folder / "MANIFEST.json").is_file():
            return folder
    raise CourseError(f"The course's data is missing beside {package}. Install memcourse again, or clone it whole.")


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary name in the target's folder; rename it to `path` if the block succeeds, else delete it.

    The block only writes. Raises CourseError when the folder can't be written or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)  # with the usual permissions; tempfile's would be for the owner alone
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise CourseError(
            f"Cannot write to {path.parent} ({error.strerror or error}). "
            "Free some disk space, or set MEMCOURSE_HOME to a folder that you may write to."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
