"""An index as one file: what it is, its ids, and FAISS's own bytes, as safetensors; a checksum covers all of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from memcourse.errors import CourseError
from memcourse.files import written_whole

FORMAT = "memcourse vector index 1"


def write(path: Path, about: dict[str, Any], ids: np.ndarray, index: Any) -> None:
    """Write an index whole, or leave the file as it was.

    Args:
        about: what else `read` is to give back; JSON must be able to hold it.
        ids: (n,) int64.
        index: the FAISS index, or None before its training.

    Raises:
        CourseError: the folder can't be written or the disk is full.
    """
    stored = faiss.serialize_index(index) if index is not None else np.zeros(0, dtype=np.uint8)
    text = json.dumps(about)
    metadata = {"format": FORMAT, "about": text, "sha256": _checksum(text, ids, stored)}
    with written_whole(path) as temporary:
        try:
            save_file({"ids": ids, "faiss": stored}, temporary, metadata=metadata)
        except SafetensorError as error:  # a full disk, say
            raise OSError(str(error)) from error


def read(path: Path) -> tuple[dict[str, Any], np.ndarray, Any]:
    """What `write` was given: about, the (n,) int64 ids, and the FAISS index or None.

    FAISS trusts what it reads, so it only sees bytes whose checksum is right.

    Raises:
        CourseError: there is no such file, or it is damaged or no index.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise ValueError("another format")
            ids, stored = file.get_tensor("ids"), file.get_tensor("faiss").view(np.uint8)
        if metadata["sha256"] != _checksum(metadata["about"], ids, stored):
            raise ValueError("another checksum")
        return json.loads(metadata["about"]), ids, faiss.deserialize_index(stored) if stored.size else None
    except FileNotFoundError as error:
        raise CourseError(f"There is no file {path}: build the index and save it first.") from error
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise CourseError(
            f"The file {path} is damaged or no vector index of this course ({error}): build the index and save it again."
        ) from error


def _checksum(about: str, ids: np.ndarray, stored: np.ndarray) -> str:
    digest = hashlib.sha256(about.encode("utf-8"))
    digest.update(ids.tobytes())
    digest.update(stored.data)
    return digest.hexdigest()
