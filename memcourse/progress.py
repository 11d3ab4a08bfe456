"""How long work tells how far it is: a plain callable, so that no room needs to know who listens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Progress = Callable[[int, int], Any]  # called with (done, of how many)
Label = Callable[[str], Progress | None]  # makes one for a named part of the work, as the course's `progress` does


def silent(label: str) -> None:
    """No progress."""
