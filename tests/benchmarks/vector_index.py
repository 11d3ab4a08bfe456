"""1,000 queries over 100,000 vectors of 384 numbers: `VectorIndex` against bare FAISS on vectors of length 1.

Run by hand: python tests/benchmarks/vector_index.py
Both arms run in this process and take turns; the best of several rounds counts, and the ratio of times is the result.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from memcourse.retrieval.index import VectorIndex

faiss: Any = import_module("faiss")  # only memcourse/retrieval imports it by name
DIM, N_QUERIES, K = 384, 1_000, 10
OPTIONS: dict[str, dict[str, int]] = {
    "flat": {},
    "ivf": {"nlist": 256, "nprobe": 8},
    "hnsw": {"m": 16, "ef_construction": 40, "ef_search": 64},
}


def unit_vectors(n: int, seed: int) -> np.ndarray:
    """(n, 384) float32 vectors of length 1 around 500 centres, as texts lie around topics."""
    topics = np.random.default_rng(0).standard_normal((500, DIM), dtype=np.float32)
    rng = np.random.default_rng(seed)
    vectors = topics[rng.integers(len(topics), size=n)] + rng.standard_normal((n, DIM), dtype=np.float32)
    faiss.normalize_L2(vectors)
    return vectors


def bare(kind: str) -> Any:
    """The same index as FAISS gives it."""
    options, metric = OPTIONS[kind], faiss.METRIC_INNER_PRODUCT
    if kind == "flat":
        return faiss.IndexFlatIP(DIM)
    if kind == "ivf":
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(DIM), DIM, options["nlist"], metric)
        index.nprobe = options["nprobe"]
        return index
    index = faiss.IndexHNSWFlat(DIM, options["m"], metric)
    index.hnsw.efConstruction, index.hnsw.efSearch = options["ef_construction"], options["ef_search"]
    return index


def best_of(rounds: int, arms: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The least seconds of each arm; they take turns, so that a busy moment hits both."""
    best: dict[str, float] = {}
    for _ in range(rounds):
        for name, run in arms.items():
            start = time.perf_counter()
            run()
            best[name] = min(best.get(name, float("inf")), time.perf_counter() - start)
    return best


def main(sizes: dict[str, int], rounds: int = 9) -> None:
    """One line for each kind: seconds of both arms, their ratio, and how many hits agree."""
    queries = unit_vectors(N_QUERIES, seed=2)
    for kind, n in sizes.items():
        vectors = unit_vectors(n, seed=1)
        index, other = VectorIndex(DIM, kind, **OPTIONS[kind]), bare(kind)
        index.add(vectors)
        if not other.is_trained:
            other.train(vectors)
        other.add(vectors)
        found = np.stack([hits.ids for hits in index.search(queries, K)])
        same = (found == other.search(queries, K)[1]).mean()
        best = best_of(rounds, {"ours": lambda: index.search(queries, K), "bare": lambda: other.search(queries, K)})  # noqa: B023
        times = f"{best['ours']:.3f} s, bare FAISS {best['bare']:.3f} s, ratio {best['ours'] / best['bare']:.2f}"
        print(f"{kind}, {n:,} vectors: {times}; {same:.1%} of the hits are the same")


if __name__ == "__main__":
    main(
        {"flat": 100_000, "ivf": 100_000, "hnsw": 10_000} if len(sys.argv) == 1 else dict.fromkeys(OPTIONS, int(sys.argv[1]))
    )
