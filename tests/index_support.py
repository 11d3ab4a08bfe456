"""Vectors and small indexes for the tests of the vector index."""

from __future__ import annotations

import numpy as np

from memcourse.retrieval.index import VectorIndex

TRAINED = {
    "ivf": {"nlist": 8, "nprobe": 8},
    "pq": {"m": 4, "bits": 4},
    "ivfpq": {"nlist": 4, "nprobe": 4, "m": 4, "bits": 4},
}
KINDS = {"flat": {}, "hnsw": {}, **TRAINED}
EXACT = ["flat", "ivf", "hnsw"]  # on a few hundred vectors, hnsw finds them all


def some_vectors(n=700, dim=16, seed=0):
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


def made(kind, vectors, ids=None, **options):
    index = VectorIndex(vectors.shape[1], kind, **{**KINDS[kind], **options})
    index.add(vectors, ids)
    return index


def unit(vectors):
    length = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)
