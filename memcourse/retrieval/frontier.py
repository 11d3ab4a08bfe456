"""What an approximate index gains and loses: recall against time and bytes, on vectors with the structure of real ones.

Notebook 05.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from memcourse.retrieval.embedding import random_pairs, unit
from memcourse.retrieval.fitting import Label, Progress, silent
from memcourse.retrieval.index import VectorIndex

BLOCK = 512  # queries that are compared with everything at once


def brute_force(vectors: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """(m, min(k, n)) places of the nearest of n unit vectors (n, d) to m queries (m, d), by comparing everything.

    Raises:
        ValueError: k < 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}.")
    found = []
    for start in range(0, len(queries), BLOCK):
        cosines = queries[start : start + BLOCK] @ vectors.T
        best = np.argpartition(-cosines, min(k, cosines.shape[1]) - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(cosines, best, axis=1), axis=1, kind="stable")
        found.append(np.take_along_axis(best, order, axis=1))
    return np.concatenate(found) if found else np.zeros((0, min(k, len(vectors))), dtype=np.int64)


def more_like(vectors: np.ndarray, n: int, *, neighbours: int = 10, seed: int = 0) -> np.ndarray:
    """n generated unit vectors (n, d) float32 with the structure of real unit vectors (m, d).

    Each stands between a real vector and one of its nearest neighbours, and off that line as far as neighbours stand from
    one another: a step along the line, and one with the covariance of the differences between neighbours, such that both
    together are as long as such a difference is on average. So what is generated lies where real vectors lie, in clusters of
    the same kind, and no two are alike.

    Raises:
        ValueError: not more real vectors than neighbours, or n < 0.
    """
    if len(vectors) <= neighbours or neighbours < 1 or n < 0:
        raise ValueError(
            f"More real vectors than neighbours are needed, and n >= 0; not {len(vectors)}, {neighbours} and n = {n}."
        )
    rng = np.random.default_rng(seed)
    near = brute_force(vectors, vectors, neighbours + 1)[:, 1:]
    start = rng.integers(0, len(vectors), size=n)
    towards = vectors[near[start, rng.integers(0, neighbours, size=n)]] - vectors[start]
    along = rng.uniform(0, 1, size=(n, 1))
    # a second difference between neighbours, taken from elsewhere, has the covariance that is wanted
    other = rng.integers(0, len(vectors), size=n)
    across = vectors[near[other, rng.integers(0, neighbours, size=n)]] - vectors[other]
    sign = rng.choice([-1.0, 1.0], size=(n, 1))
    return unit(vectors[start] + along * towards + sign * np.sqrt(1 - along**2) * across).astype(np.float32)


class Structure(NamedTuple):
    """What makes vectors easy or hard to search.

    random_cosine: mean cosine of random pairs. nearest_cosine: median cosine to the nearest other vector.
    dimension: intrinsic dimension by Levina and Bickel's estimator.
    """

    random_cosine: float
    nearest_cosine: float
    dimension: float


def structure(vectors: np.ndarray, *, sample: int = 500, k: int = 20, seed: int = 0) -> Structure:
    """The structure of unit vectors (n, d), seen from a random sample of them.

    Source: Levina and Bickel, "Maximum Likelihood Estimation of Intrinsic Dimension" (2004), over k neighbours; distances of
    0 (the same text twice) are left out.

    Raises:
        ValueError: not more vectors than k + 1.
    """
    if len(vectors) <= k + 1:
        raise ValueError(f"More than {k + 1} vectors are needed, not {len(vectors)}.")
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(vectors), size=min(sample, len(vectors)), replace=False)
    cosines = np.sort(vectors[chosen] @ vectors.T, axis=1)[:, ::-1][:, 1 : k + 1]  # without itself
    distances = np.sqrt(np.maximum(2 - 2 * cosines, 0))
    usable = distances[:, 0] > 1e-3
    logs = np.log(distances[usable, -1:] / distances[usable, :-1])
    return Structure(
        float(random_pairs(vectors, seed=seed).mean()), float(np.median(cosines[:, 0])), float(1 / logs.mean())
    )  # fmt: skip


class Point(NamedTuple):
    """One index with one setting of its dial.

    kind: as for `VectorIndex`. setting: "nprobe=4", or "". recall: share of the true neighbours found, over all queries.
    milliseconds: for each query, all in one batch. build_seconds: training and adding. bytes_per_vector: of all FAISS keeps.
    """

    kind: str
    setting: str
    recall: float
    milliseconds: float
    build_seconds: float
    bytes_per_vector: float


def measure(
    kind: str, vectors: np.ndarray, queries: np.ndarray, truth: np.ndarray, settings: Sequence[Mapping[str, int]] = ({},), *,
    repeats: int = 3, progress: Progress | None = None, **options: Any,
) -> list[Point]:  # fmt: skip
    """Build one index, and measure it at each setting of its dial, the fastest of some repeats.

    Args:
        truth: (m, k) the true neighbours of the m queries, from `brute_force`.
        settings: what `VectorIndex.tune` is told, one after the other; {} for a kind without a dial.
        options: of the index.
    """
    started = time.perf_counter()
    index = VectorIndex(vectors.shape[1], kind, **options)
    index.add(vectors)
    built = time.perf_counter() - started
    points = []
    for i, setting in enumerate(settings):
        if setting:
            index.tune(**setting)
        seconds = []
        for _ in range(repeats):
            started = time.perf_counter()
            hits = index.search(queries, truth.shape[1])
            seconds.append(time.perf_counter() - started)
        found = [len(set(h.ids.tolist()) & set(row)) for h, row in zip(hits, truth.tolist(), strict=True)]
        name = ", ".join(f"{key}={value}" for key, value in setting.items())
        each = min(seconds) / len(queries) * 1e3
        points.append(Point(kind, name, sum(found) / truth.size, each, built, index.nbytes / len(index)))
        if progress is not None:
            progress(i + 1, len(settings))
    return points


def compare_indexes(
    vectors: np.ndarray, queries: np.ndarray, truth: np.ndarray, nlist: int, m: int, label: Label = silent
) -> dict[str, list[Point]]:
    """`measure` for all kinds over their dials: "points", flat first.

    Args:
        nlist: lists of ivf and ivfpq, of which 1 to 64 are searched. m: bytes of a code in pq and ivfpq.
    """
    probes = [{"nprobe": n} for n in (1, 2, 4, 8, 16, 32, 64) if n <= nlist]
    arms: dict[str, tuple[list[dict[str, int]], dict[str, int]]] = {
        "flat": ([{}], {}),
        "ivf": (probes, {"nlist": nlist}),
        "hnsw": ([{"ef_search": n} for n in (16, 32, 64, 128, 256)], {"m": 16, "ef_construction": 64}),
        "pq": ([{}], {"m": m}),
        "ivfpq": (probes, {"nlist": nlist, "m": m}),
    }
    found = []
    for kind, (settings, options) in arms.items():
        found += measure(kind, vectors, queries, truth, settings, progress=label(kind), **options)
    return {"points": found}


def pareto(points: Sequence[Point]) -> list[Point]:
    """Those points than which no other is both faster and finds as much (or as fast and finds more), the fastest first."""
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (p.milliseconds, -p.recall)):
        if not best or point.recall > best[-1].recall:
            best.append(point)
    return best


def bytes_on_paper(n: int, dim: int, kind: str, *, nlist: int = 0, m: int = 0) -> int:
    """Bytes that an index of n vectors of `dim` float32 numbers keeps, ids of 8 bytes included.

    Args:
        nlist: lists of ivf and ivfpq; each has a centre. m: links of a vector in hnsw (twice as many in the lowest layer),
            or bytes of a code in pq and ivfpq.

    Raises:
        ValueError: an unknown kind, or a missing nlist or m.
    """
    kinds = {"flat": (), "ivf": ("nlist",), "hnsw": ("m",), "pq": ("m",), "ivfpq": ("nlist", "m")}
    given = {"nlist": nlist, "m": m}
    if kind not in kinds or any(given[name] < 1 for name in kinds[kind]):
        needs = "; ".join(f"{name} needs {' and '.join(wants) or 'nothing more'}" for name, wants in kinds.items())
        raise ValueError(f"Bytes are known for these kinds: {needs}; not for {kind!r} with nlist = {nlist}, m = {m}.")
    vector = m if kind in ("pq", "ivfpq") else 4 * dim
    links = 2 * m * 4 if kind == "hnsw" else 0
    patterns = 256 * dim * 4 if kind in ("pq", "ivfpq") else 0
    return n * (vector + links + 8) + 4 * dim * (nlist if "nlist" in kinds[kind] else 0) + patterns


def kmeans_lists(
    vectors: np.ndarray, nlist: int, *, rounds: int = 10, seed: int = 0
) -> tuple[np.ndarray, list[np.ndarray]]:  # fmt: skip
    """Centres (nlist, d) of unit vectors (n, d), and for each the places of the vectors that lie nearest to it.

    Lloyd's rounds from random vectors, by cosine. A centre that loses all its vectors stays where it is.

    Raises:
        ValueError: nlist is not from 1 to n.
    """
    if not 1 <= nlist <= len(vectors):
        raise ValueError(f"nlist must be from 1 to {len(vectors)}, the number of vectors, not {nlist}.")
    centres = vectors[np.random.default_rng(seed).choice(len(vectors), size=nlist, replace=False)]
    for _ in range(rounds):
        nearest = (vectors @ centres.T).argmax(axis=1)
        centres = unit(
            np.stack([vectors[nearest == i].sum(0) if (nearest == i).any() else centres[i] for i in range(nlist)])
        )
    nearest = (vectors @ centres.T).argmax(axis=1)
    return centres, [np.flatnonzero(nearest == i) for i in range(nlist)]


def ivf_by_hand(
    query: np.ndarray, vectors: np.ndarray, centres: np.ndarray, lists: Sequence[np.ndarray], nprobe: int, k: int
) -> list[int]:
    """Places of the k nearest to a query (d,) among the vectors of the `nprobe` lists whose centres lie nearest to it."""
    chosen = (-(centres @ query)).argsort(kind="stable")[:nprobe]
    places = np.concatenate([lists[i] for i in chosen])
    return places[(-(vectors[places] @ query)).argsort(kind="stable")[:k]].tolist()
