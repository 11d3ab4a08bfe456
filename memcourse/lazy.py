"""Names that import their module when they are first used.

With them `memcourse doctor` can report a broken torch instead of dying of it, and the command line starts at once.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy(package: str, rooms: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` for a package whose public names live in the given modules (name -> module)."""

    def get(name: str) -> Any:
        if name not in rooms:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{rooms[name]}"), name)

    return get, lambda: sorted(rooms)
