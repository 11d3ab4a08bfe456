"""What an index can look up: documents cut into chunks.

Torch and FAISS are imported when a name from here is first used.
"""

from __future__ import annotations

from memcourse.lazy import lazy

_ROOMS = {
    "Chunk": "chunking", "by_characters": "chunking", "by_tokens": "chunking", "by_sentences": "chunking",
    "by_headings": "chunking",
}  # fmt: skip
__getattr__, __dir__ = lazy(__name__, _ROOMS)
__all__ = sorted(_ROOMS)
