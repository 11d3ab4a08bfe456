"""Synthetic data: rewrites, question-answer pairs, dialogues and images, and the filters that decide what is kept.

Torch is imported when a name from here is first used.
"""

from __future__ import annotations

from memcourse.lazy import lazy

_ROOMS: dict[str, str] = {}
__getattr__, __dir__ = lazy(__name__, _ROOMS)
__all__ = sorted(_ROOMS)
