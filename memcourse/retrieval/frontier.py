"""What an approximate index gains and loses: recall against time and bytes, on vectors with the structure of real ones.

Notebook 05.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from memcourse.progress import Label, Progress, silent
from memcourse.retrieval import index_kinds
from memcourse.retrieval.embedding import random_pairs, unit
from memcourse.retrieval.index import VectorIndex

BLOCK = 2**24  # cosines that are held at once, of 16 bytes each with what sorting them takes
ROWS = 2**14  # vectors that are generated at once


def brute_force(vectors: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """(m, min(k, n)) places of the nearest of n unit vectors (n, d) to m queries (m, d), by comparing everything.

    Raises:
        ValueError: k < 1, or vectors and queries that are not two tables of the same width.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}.")
    if vectors.ndim != 2 or queries.ndim != 2 or vectors.shape[1] != queries.shape[1]:
        raise ValueError(f"Vectors (n, d) and queries (m, d) are needed, not of shapes {vectors.shape} and {queries.shape}.")
    found, rows = [], max(1, BLOCK // max(1, len(vectors)))
    for start in range(0, len(queries), rows):
        cosines = queries[start : start + rows] @ vectors.T
        best = np.argpartition(-cosines, min(k, cosines.shape[1]) - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(cosines, best, axis=1), axis=1, kind="stable")
        found.append(np.take_along_axis(best, order, axis=1))
    return np.concatenate(found) if found else np.zeros((0, min(k, len(vectors))), dtype=np.int64)


def more_like(vectors: np.ndarray, n: int, *, neighbours: int = 10, seed: int = 0) -> np.ndarray:
    """n generated unit vectors (n, d) float32 with the structure of real unit vectors (m, d).

    Each stands at a share t, uniform in [0, 1], of the way from a real vector to one of its nearest neighbours, and off that
    line by a step with the covariance of the differences between neighbours. How long the step is follows from its purpose.
    Two vectors generated near one real vector should be as far apart as neighbours are, at a mean squared distance D. They
    differ by the ways of both, so each may go D / 2. Along the line it goes u^2 D from the nearer end, u = min(t, 1 - t),
    which leaves (1/2 - u^2) D for the step. So what is generated lies where real vectors lie, in clusters of the same kind,
    and no two are alike.

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
    end = near[start, rng.integers(0, neighbours, size=n)]
    along = rng.uniform(0, 1, size=(n, 1)).astype(np.float32)
    # a second difference between neighbours, taken from elsewhere, has the covariance that is wanted
    other = rng.integers(0, len(vectors), size=n)
    beside = near[other, rng.integers(0, neighbours, size=n)]
    step = np.sqrt(0.5 - np.minimum(along, 1 - along) ** 2) * rng.choice(np.array([-1, 1], np.float32), size=(n, 1))
    made = np.empty((n, vectors.shape[1]), dtype=np.float32)
    for i in range(0, n, ROWS):  # in blocks, since a million vectors take gigabytes already
        part = slice(i, i + ROWS)
        on_line = vectors[start[part]] + along[part] * (vectors[end[part]] - vectors[start[part]])
        made[part] = unit(on_line + step[part] * (vectors[beside[part]] - vectors[other[part]]))
    return made


class Structure(NamedTuple):
    """What makes vectors easy or hard to search.

    random_cosine: mean cosine of random pairs. nearest_cosine: median cosine to the nearest other vector; the more there
    are, the higher. dimension: intrinsic dimension by Levina and Bickel's estimator. ten_directions: share of the variance
    along the first ten principal components.
    """

    random_cosine: float
    nearest_cosine: float
    dimension: float
    ten_directions: float


def structure(vectors: np.ndarray, *, sample: int = 500, k: int = 20, seed: int = 0) -> Structure:
    """The structure of unit vectors (n, d), seen from a random sample of them; compare only sets of the same size n.

    Source: Levina and Bickel, "Maximum Likelihood Estimation of Intrinsic Dimension" (2004), over k neighbours, with the
    logarithms of all vectors averaged before the division; vectors that have a twin (the same text twice) are left out. It
    underestimates high dimensions: about 16 for 20 and 110 for 384, from some thousand vectors.

    Raises:
        ValueError: k < 2, not more vectors than k + 1, or none without a twin.
    """
    if k < 2:
        raise ValueError(f"k must be at least 2, not {k}; a dimension shows in how the distances to k neighbours grow.")
    if len(vectors) <= k + 1:
        raise ValueError(f"More than {k + 1} vectors are needed, not {len(vectors)}.")
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(vectors), size=min(sample, len(vectors)), replace=False)
    cosines = np.sort(vectors[chosen] @ vectors.T, axis=1)[:, ::-1][:, 1 : k + 1]  # without itself
    distances = np.sqrt(np.maximum(2 - 2 * cosines, 0))
    usable = distances[:, 0] > 1e-3
    if not usable.any():
        raise ValueError("Every vector of the sample stands in the set twice, so no dimension can be seen; leave twins out.")
    logs = np.log(distances[usable, -1:] / distances[usable, :-1])
    variances = np.linalg.svd(vectors[chosen] - vectors[chosen].mean(0), compute_uv=False) ** 2
    return Structure(
        float(random_pairs(vectors, seed=seed).mean()), float(np.median(cosines[:, 0])), float(1 / logs.mean()),
        float(variances[:10].sum() / variances.sum()),
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

    Raises:
        ValueError: no query, no row of truth for each query, no setting, repeats < 1, or as for `VectorIndex`.
        TypeError: as for `VectorIndex`.
    """
    if truth.ndim != 2 or not truth.size or len(truth) != len(queries) or not settings or repeats < 1:
        raise ValueError(
            f"A row of truth for each query, a setting and repeats >= 1 are needed, not truth of shape {truth.shape} for "
            f"{len(queries)} queries, {len(settings)} settings and repeats = {repeats}."
        )
    for setting in settings:
        index_kinds.check_options(kind, setting, tuning=True)
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


def bytes_on_paper(n: int, dim: int, kind: str, *, nlist: int = 0, m: int = 0, bits: int = 8) -> int:
    """Bytes that an index of n vectors of `dim` float32 numbers keeps, those of the ids included.

    An id takes 8; where the vectors stand in lists, a table that says where each id stands takes 16 more, which `remove` and
    `get` need. "int8" (a byte for each number) and "binary" (a bit) are no kinds of `VectorIndex`, but often bought.

    Args:
        nlist: lists of ivf and ivfpq; each has a centre. m: links of a vector in hnsw (twice as many in the lowest layer),
            or codes of a vector in pq and ivfpq, of `bits` bits each.

    Raises:
        ValueError: an unknown kind, a missing nlist or m, or a negative n or a dim or bits below 1.
    """
    kinds = {
        "flat": (), "int8": (), "binary": (), "ivf": ("nlist",), "hnsw": ("m",), "pq": ("m",), "ivfpq": ("nlist", "m"),
    }  # fmt: skip
    given = {"nlist": nlist, "m": m}
    if kind not in kinds or any(given[name] < 1 for name in kinds[kind]):
        needs = "; ".join(f"{name} needs {' and '.join(wants) or 'nothing more'}" for name, wants in kinds.items())
        raise ValueError(f"Bytes are known for these kinds: {needs}; not for {kind!r} with nlist = {nlist}, m = {m}.")
    if n < 0 or dim < 1 or bits < 1:
        raise ValueError(f"n >= 0, dim >= 1 and bits >= 1 are needed, not n = {n}, dim = {dim} and bits = {bits}.")
    coded, listed = kind in ("pq", "ivfpq"), "nlist" in kinds[kind]
    bits_each = {"int8": 8 * dim, "binary": dim}.get(kind, m * bits if coded else 32 * dim)
    links = 2 * m * 4 if kind == "hnsw" else 0
    patterns = 2**bits * dim * 4 if coded else 0
    each = -(-bits_each // 8) + links + (24 if listed else 8)
    return n * each + patterns + (4 * dim * nlist if listed else 0)


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
    """Places of the k nearest to a query (d,) among the vectors of the `nprobe` lists whose centres lie nearest to it.

    There are fewer where these lists hold fewer.

    Raises:
        ValueError: nprobe or k is below 1.
    """
    if nprobe < 1 or k < 1:
        raise ValueError(f"nprobe and k must be at least 1, not {nprobe} and {k}.")
    chosen = (-(centres @ query)).argsort(kind="stable")[:nprobe]
    places = np.concatenate([lists[i] for i in chosen])
    return places[(-(vectors[places] @ query)).argsort(kind="stable")[:k]].tolist()
