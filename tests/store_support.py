"""What the tests of the store share: an embedder without a model, and a look at whether text and vector still agree."""

from __future__ import annotations

import hashlib

import numpy as np

from memcourse.retrieval import Chunk


class Hashed:
    """An embedder without a model: a direction that follows from the text's hash. It remembers what it was given."""

    def __init__(self, name: str = "hashed", dim: int = 16) -> None:
        self.name, self.dim = name, dim
        self.seen: list[str] = []

    def encode(self, texts):
        self.seen += texts
        seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) for text in texts]
        return np.array([np.random.default_rng(seed).standard_normal(self.dim) for seed in seeds]).reshape(-1, self.dim)


def pieces(*texts: str) -> list[Chunk]:
    """Chunks that stand one after the other."""
    chunks, start = [], 0
    for text in texts:
        chunks.append(Chunk(text, start, start + len(text)))
        start += len(text)
    return chunks


def texts(view) -> list[str]:
    return [record.text for record in view.records()]


def check_vectors(store) -> None:
    """Each record's vector is the one of its own text."""
    records = store.records()
    wanted = Hashed().encode([record.text for record in records])
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(store.vectors([record.id for record in records]), wanted, atol=1e-6)
