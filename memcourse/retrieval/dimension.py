"""What vectors of d numbers can't say: every pair of n documents as the two nearest of some question. Notebook 04.

Source: Weller, Boratko, Naim and Lee, "On the Theoretical Limitations of Embedding-Based Retrieval" (2025), arXiv
2508.21038, whose free-embedding experiment and LIMIT set are rebuilt here at a small scale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import normalize, softplus

from memcourse.progress import Label, Progress, silent
from memcourse.retrieval.bm25 import BM25
from memcourse.retrieval.fitting import fit


def solved(questions: torch.Tensor, documents: torch.Tensor) -> torch.Tensor:
    """Share of the pairs of documents that are the two best of their question, for vectors (..., pairs, d) and (..., n, d).

    Question i belongs to pair i of `torch.combinations(torch.arange(n))`. A tie with a third document counts as failure.
    """
    scores = questions @ documents.mT
    relevant = _relevant(documents.shape[-2])
    worst = scores.masked_fill(~relevant, torch.inf).amin(-1)
    return (worst > scores.masked_fill(relevant, -torch.inf).amax(-1)).float().mean(-1)


def free_vectors(
    n: int, d: int, *, temperature: float = 0.1, steps: int = 1500, restarts: int = 3, lr: float = 0.02, seed: int = 0
) -> float:
    """Share of all pairs of n documents that free unit vectors of d numbers can return, at the best of some restarts.

    No text and no model stands behind the vectors: they are trained on the test itself (InfoNCE, Adam), so whatever they
    miss no embedding model of that width will find easily. Failure is no proof, only a failed search.

    Raises:
        ValueError: n < 3, or d < 1.
    """
    if n < 3 or d < 1:
        raise ValueError(f"The experiment needs at least 3 documents and 1 dimension, not n = {n} and d = {d}.")
    draw = torch.Generator().manual_seed(seed)
    pairs = torch.combinations(torch.arange(n))
    relevant = _relevant(n)
    documents = torch.randn(restarts, n, d, generator=draw).requires_grad_()
    questions = torch.randn(restarts, len(pairs), d, generator=draw).requires_grad_()
    best = 0.0

    def loss(step: int) -> torch.Tensor:
        scores = normalize(questions, dim=-1) @ normalize(documents, dim=-1).mT / temperature
        others = scores.masked_fill(relevant, -torch.inf).logsumexp(-1, keepdim=True)
        # -log of the softmax of a relevant document among itself and all that are not relevant
        return softplus(others - scores.gather(-1, pairs.expand(restarts, -1, -1))).mean() * restarts

    def done(step: int) -> bool:
        nonlocal best
        if step % 25 == 0:
            with torch.no_grad():
                best = max(best, solved(normalize(questions, dim=-1), normalize(documents, dim=-1)).max().item())
        return best == 1.0

    fit([documents, questions], loss, steps, lr, done=done)
    done(0)
    return best


class CriticalN(NamedTuple):
    """d: dimensions. n: the largest number of documents of which all pairs were returned."""

    d: int
    n: int


def critical_n(
    dimensions: Sequence[int],
    *,
    temperature: float = 0.1,
    steps: int = 1500,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[CriticalN]:
    """For each d the largest n that `free_vectors` solves, going up from the n of the dimension before.

    What a longer or cleverer search would find is at least as large: the figure is a lower bound.
    """
    found: list[CriticalN] = []
    n = 2  # two documents are a single pair, which has no third to keep away
    for i, d in enumerate(sorted(dimensions)):
        while free_vectors(n + 1, d, temperature=temperature, steps=steps, seed=seed) == 1.0:
            n += 1
        found.append(CriticalN(d, n))
        if progress is not None:
            progress(i + 1, len(dimensions))
    return found


def critical_curves(
    dimensions: Mapping[float, Sequence[int]], seed: int = 0, label: Label = silent
) -> dict[str, np.ndarray]:  # fmt: skip
    """`critical_n` for each temperature over its dimensions: by "temperature t", an array of rows (d, n)."""
    return {
        f"temperature {t}": np.array(critical_n(ds, temperature=t, seed=seed, progress=label(f"temperature {t}")))
        for t, ds in dimensions.items()
    }


def published_fit(d: float) -> float:
    """Critical n by the cubic that the paper fitted to its own runs."""
    return -10.5322 + 4.0309 * d + 0.0520 * d**2 + 0.0037 * d**3


def on_a_curve(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of four numbers for n documents and for all their pairs, by construction instead of by training.

    Documents stand on the curve (cos t, sin t, cos 2t, sin 2t). The question for t = a and t = b is made of the
    coefficients of -(1 - cos(t - a)) (1 - cos(t - b)), which is 0 at a and b and below 0 everywhere else. So in exact
    arithmetic four dimensions are enough for any n; the gap to the third document shrinks with the fourth power of 1 / n.

    Source: the curve's points are the corners of a cyclic polytope, of which every two are joined by an edge; Gale,
    "Neighborly and cyclic polytopes" (1963).

    Returns:
        (n, 4) documents and (n (n - 1) / 2, 4) questions, float64; pairs as in `solved`.

    Raises:
        ValueError: n < 3.
    """
    if n < 3:
        raise ValueError(f"At least 3 documents are needed, not {n}.")
    t = 2 * np.pi * np.arange(n) / n
    a, b = (t[side] for side in np.triu_indices(n, 1))
    # the product, written as a sum: constant + terms in t + terms in 2t
    questions = np.stack([np.cos(a) + np.cos(b), np.sin(a) + np.sin(b), -np.cos(a + b) / 2, -np.sin(a + b) / 2], axis=1)
    documents = np.stack([np.cos(t), np.sin(t), np.cos(2 * t), np.sin(2 * t)], axis=1) / np.sqrt(2)
    return documents, questions / np.linalg.norm(questions, axis=1, keepdims=True)


def limit_set(
    vocabulary: Sequence[str], names: Sequence[str], seed: int = 0
) -> tuple[list[str], list[str], list[list[int]]]:
    """LIMIT in small: one document a name, one question for each pair of them, and the two documents that answer it.

    Each thing is liked by exactly two people, so every pair of documents is the answer to one question.

    Args:
        vocabulary: at least n (n - 1) / 2 distinct things for n names.

    Raises:
        ValueError: too few things, or a thing or a name twice.
    """
    pairs = [(a, b) for a in range(len(names)) for b in range(a + 1, len(names))]
    if len(vocabulary) < len(pairs) or len(set(vocabulary)) < len(vocabulary) or len(set(names)) < len(names):
        raise ValueError(
            f"{len(names)} different names need {len(pairs)} different things, not {len(set(vocabulary))}; no name twice."
        )
    rng = np.random.default_rng(seed)
    things = [vocabulary[i] for i in rng.permutation(len(vocabulary))[: len(pairs)]]
    liked: list[list[str]] = [[] for _ in names]
    for thing, pair in zip(things, pairs, strict=True):
        for person in pair:
            liked[person].append(thing)
    for likes in liked:
        rng.shuffle(likes)
    texts = [f"{name} likes {', '.join(likes)}." for name, likes in zip(names, liked, strict=True)]
    return texts, [f"Who likes {thing}?" for thing in things], [list(pair) for pair in pairs]


def limit_recall(
    encode: Callable[[Sequence[str]], np.ndarray],
    vocabulary: Sequence[str],
    names: Sequence[str],
    ks: Sequence[int],
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Share of the two right documents among the first k, for each question of `limit_set`: by vectors and by BM25.

    Returns:
        "vectors" and "words", each (number of ks, questions), values 0, 0.5 or 1.
    """
    texts, questions, gold = limit_set(vocabulary, names, seed)
    index = BM25(texts)
    by_vectors = (-(encode(questions) @ encode(texts).T)).argsort(axis=1, kind="stable")
    rankings = {"vectors": by_vectors.tolist(), "words": [hits.ids.tolist() for hits in index.search(questions, len(texts))]}
    return {
        way: np.array([[len(set(row[:k]) & set(right)) / 2 for row, right in zip(rows, gold, strict=True)] for k in ks])
        for way, rows in rankings.items()
    }


def _relevant(n: int) -> torch.Tensor:
    """(pairs, n) True at the two documents of each pair."""
    pairs = torch.combinations(torch.arange(n))
    return torch.zeros(len(pairs), n, dtype=torch.bool).scatter_(1, pairs, True)
