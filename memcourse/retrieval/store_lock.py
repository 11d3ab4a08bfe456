"""One writer at a time: a lock that all processes respect, and that a killed process does not leave behind."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from memcourse.errors import CourseError

WAIT = 60.0  # seconds that a writer waits for another one
LOCK = "writer.lock"


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Keep all other writers to a folder waiting, in this process and in others; the folder is made if it isn't there.

    Raises:
        CourseError: another one has been writing for a minute, or the folder can't be written.
    """
    # A transaction of SQLite's is the one lock between processes that Python has on every system.
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = sqlite3.connect(folder / LOCK, timeout=0, isolation_level=None)
    except (sqlite3.Error, OSError) as error:
        raise _refusal(folder, error) from error
    with closing(lock):
        last_moment = time.monotonic() + WAIT
        while not _begun(lock, folder, last_moment):
            time.sleep(0.005)  # SQLite's own waiting sleeps so long that a busy writer gets the lock back again and again
        yield


def _begun(lock: sqlite3.Connection, folder: Path, last_moment: float) -> bool:
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        if "locked" not in str(error) or time.monotonic() > last_moment:
            raise _refusal(folder, error) from error
        return False
    return True


def _refusal(folder: Path, error: Exception) -> CourseError:
    if "locked" in str(error):
        return CourseError(f"Another process has been writing to {folder} for {WAIT:.0f} s; try again when it is done.")
    return CourseError(f"Cannot write to {folder} ({error}). Choose a folder that you may write to.")
