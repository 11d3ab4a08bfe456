"""A learner's progress in one local file (predictions made, exercises passed), and the progress line of long cells.

The file never leaves the machine.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from memcourse.errors import CourseError
from memcourse.files import home, written_whole

_unwritten: dict[tuple[str, str], Any] = {}  # what the disk refused, kept while this Python runs


def progress_file() -> Path:
    """The learner's file: progress.json in `files.home()`."""
    return home() / "progress.json"


def load() -> dict[str, Any]:
    """What is noted so far: {"predictions": {...}, "exercises": {...}}. A damaged file counts as empty."""
    notes: dict[str, Any] = {"predictions": {}, "exercises": {}}
    try:
        found = json.loads(progress_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if isinstance(found, dict):
        notes.update({key: found[key] for key in notes if isinstance(found.get(key), dict)})
    for (kind, key), value in _unwritten.items():
        notes[kind][key] = value
    return notes


def note(kind: str, key: str, value: Any) -> None:
    """Note one thing. A folder that can't be written costs the note's safe keeping, never the lesson."""
    notes = load()
    notes[kind][key] = value
    try:
        with written_whole(progress_file()) as temporary:
            temporary.write_text(json.dumps(notes, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        _unwritten.clear()
    except CourseError:
        _unwritten[kind, key] = value


def progress(label: str) -> Callable[[int, int], None]:
    """A callable (done, total) that keeps one line up to date; silent where outputs are stored or compared."""
    if os.environ.get("MEMCOURSE_QUIET"):
        return lambda done, total: None
    started = time.perf_counter()
    shown = -1.0

    def show(done: int, total: int) -> None:
        nonlocal shown
        spent = time.perf_counter() - started
        if done != total and shown >= 0 and spent - shown < 0.2:
            return  # a line for each of a thousand quick steps would cost more than the steps
        shown = spent
        left = spent / done * (total - done) if done else 0
        end = "\n" if done == total else ""
        print(f"\r{label}: {done} of {total}, {spent:.0f} s, about {left:.0f} s left   ", end=end, flush=True)

    return show
