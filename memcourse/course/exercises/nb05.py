"""Exercises of notebook 05: search by comparing everything, BM25, fusion by ranks, and hits that are none."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from memcourse.course.exercises.exercise import Exercise, Mistake
from memcourse.retrieval.bm25 import bm25_by_hand
from memcourse.retrieval.embedding import unit
from memcourse.retrieval.fusion import reciprocal_rank_fusion


def nearest(query: np.ndarray, vectors: np.ndarray, k: int) -> list[int]:
    """Places of the k vectors (n, d) with the largest cosine to a query (d,), best first; fewer if there are fewer."""
    cosines = unit(vectors) @ unit(query)
    return [int(place) for place in (-cosines).argsort(kind="stable")[:k]]


def fused(rankings: Sequence[Sequence[str]], k: float) -> list[str]:
    """Ids by the sum of 1 / (k + rank) over the rankings, ranks from 1 on, best first."""
    return [name for name, _ in reciprocal_rank_fusion(rankings, k)]


def texts_of(ids: Sequence[int], texts: Sequence[str]) -> list[str]:
    """The texts of a search's hits; FAISS fills up with the id -1 where it found too few."""
    return [texts[i] for i in ids if i >= 0]


def texts_of_broken(ids: Sequence[int], texts: Sequence[str]) -> list[str]:
    """The texts of a search's hits."""
    return [texts[i] for i in ids]


def _by_sum(rankings: Sequence[Sequence[str]], score: Callable[[int], float]) -> list[str]:
    total: dict[str, float] = {}
    for ranking in rankings:
        for place, name in enumerate(ranking):
            total[name] = total.get(name, 0.0) + score(place)
    return sorted(total, key=lambda name: -total[name])


def _by_best_rank(rankings: Sequence[Sequence[str]], k: float) -> list[str]:
    best: dict[str, int] = {}
    for ranking in rankings:
        for place, name in enumerate(ranking):
            best[name] = min(place, best.get(name, place))
    return sorted(best, key=lambda name: best[name])


def _bm25(rarity: Callable[[int, int], float], term: Callable[..., float]) -> Callable[..., float]:
    """BM25 with another rarity of a word (n texts, n that hold it) or another term (frequency, length, mean, k1, b)."""

    def score(question: Any, text: Any, texts: Any, k1: float, b: float) -> float:
        mean = sum(map(len, texts)) / len(texts)
        return sum(
            rarity(len(texts), sum(word in other for other in texts)) * term(text.count(word), len(text), mean, k1, b)
            for word in question
        )

    return score


def _rarity(n: int, holding: int) -> float:
    return math.log(1 + (n - holding + 0.5) / (holding + 0.5))


def _term(frequency: int, length: int, mean: float, k1: float, b: float) -> float:
    return frequency / (frequency + k1 * (1 - b + b * length / mean))


def _vectors(n: int, d: int, seed: int) -> np.ndarray:
    # of very different lengths, so that products and cosines disagree
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)) * rng.uniform(0.1, 9, size=(n, 1))


_TEXTS = [["the", "ferry", "is", "late"], ["the", "late", "late", "show"], ["bread", "is", "the", "best", "of", "all"]]


EXERCISES = (
    Exercise(
        id="05.nearest",
        reference=nearest,
        cases=(
            lambda: (_vectors(1, 8, 1)[0], _vectors(20, 8, 0), 5),
            lambda: (_vectors(1, 3, 2)[0], _vectors(6, 3, 3), 2),
            lambda: (_vectors(1, 4, 4)[0], _vectors(3, 4, 5), 10),
        ),
        mistakes=(
            Mistake(
                lambda query, vectors, k: (-(vectors @ query)).argsort()[:k].tolist(),
                "Those are products: long vectors win. Divide the vectors by their lengths.",
            ),
            Mistake(
                lambda query, vectors, k: (unit(vectors) @ unit(query)).argsort()[:k].tolist(),
                "Those are the farthest: argsort goes from the smallest up, and a larger cosine is nearer.",
            ),
            Mistake(
                lambda query, vectors, k: (unit(vectors) @ unit(query)).argsort()[-k:].tolist(),
                "The right ones, but the best comes last; turn them around.",
            ),
            Mistake(
                lambda query, vectors, k: np.linalg.norm(vectors - query, axis=1).argsort()[:k].tolist(),
                "That is the distance of vectors of different lengths; it agrees with the cosine for unit vectors only.",
            ),
        ),
        alternatives=(
            lambda query, vectors, k: sorted(
                range(len(vectors)), key=lambda i: -float(vectors[i] @ query) / float(np.linalg.norm(vectors[i]))
            )[:k],
        ),
        describe=lambda query, vectors, k: f"the {k} nearest of {len(vectors)} vectors",
    ),
    Exercise(
        id="05.bm25",
        reference=bm25_by_hand,
        cases=(
            lambda: (["late", "ferry"], _TEXTS[0], _TEXTS, 1.2, 0.75),
            lambda: (["late", "the"], _TEXTS[1], _TEXTS, 1.5, 0.5),
            lambda: (["bread", "gull"], _TEXTS[2], _TEXTS, 0.9, 1.0),
        ),
        mistakes=(
            Mistake(
                _bm25(lambda n, holding: 1.0, _term),
                "Every word counts the same here; a rare one should count more: multiply by its rarity.",
            ),
            Mistake(
                _bm25(lambda n, holding: math.log(n / holding) if holding else 0.0, _term),
                "That is the plain log(n / holding). BM25's is log(1 + (n - holding + 0.5) / (holding + 0.5)).",
            ),
            Mistake(
                _bm25(_rarity, lambda frequency, length, mean, k1, b: frequency / (frequency + k1)),
                "The length of the text is missing: k1 is multiplied by 1 - b + b * length / mean length.",
            ),
            Mistake(
                _bm25(_rarity, lambda f, length, mean, k1, b: f * (k1 + 1) / (f + k1 * (1 - b + b * length / mean))),
                "The factor k1 + 1 of older versions is left out here; it changes no ranking.",
            ),
            Mistake(
                _bm25(_rarity, lambda frequency, length, mean, k1, b: float(frequency)),
                "A word that stands twice must not count double: its share is frequency / (frequency + ...).",
            ),
        ),
        alternatives=(_bm25(_rarity, _term),),
        describe=lambda question, text, texts, k1, b: f"the score of {text} for {question} with k1 = {k1}, b = {b}",
    ),
    Exercise(
        id="05.fused",
        reference=fused,
        cases=(
            lambda: ([["x", "p", "q", "both"], ["y", "r", "s", "both"]], 60),
            lambda: ([["a", "b", "c"], ["c", "a"], ["c"]], 60),
            lambda: ([["x", "p", "q", "both"], ["y", "r", "s", "both"]], 0),
        ),
        mistakes=(
            Mistake(
                lambda rankings, k: _by_sum(rankings, lambda place: 1 / (1 + place)),
                "k is missing: without it one first place outweighs any agreement further down.",
            ),
            Mistake(
                lambda rankings, k: _by_sum(rankings, lambda place: k + place + 1),
                "Add 1 / (k + rank), so that early ranks count more.",
            ),
            Mistake(
                lambda rankings, k: list(dict.fromkeys(name for ranking in rankings for name in ranking)),
                "That puts one list after the other; what several lists agree on should rise.",
            ),
            Mistake(
                _by_best_rank,
                "That takes the best rank of each; add over all rankings, so that agreement counts.",
            ),
        ),
        alternatives=(lambda rankings, k: _by_sum(rankings, lambda place: 1 / (k + place + 1)),),
        describe=lambda rankings, k: f"the fusion of {rankings} with k = {k}",
    ),
    Exercise(
        id="05.puzzle",
        reference=texts_of,
        cases=(
            lambda: ([2, 0, -1, -1], ["a", "b", "c", "last"]),
            lambda: ([1], ["a", "b"]),
            lambda: ([-1, -1], ["a", "last"]),
        ),
        broken=texts_of_broken,
        mistakes=(
            Mistake(
                lambda ids, texts: [texts[abs(i)] for i in ids],
                "Now -1 becomes the second text. It is no place at all: leave it out.",
            ),
            Mistake(
                lambda ids, texts: [texts[i] for i in ids if i > 0],
                "That also drops the text with the id 0.",
            ),
            Mistake(
                lambda ids, texts: [texts[i] if i >= 0 else "" for i in ids],
                "An empty text is not a hit either: there are fewer hits than were asked for.",
            ),
        ),
        alternatives=(lambda ids, texts: [texts[i] for i in filter(lambda i: i != -1, ids)],),
        describe=lambda ids, texts: f"the texts {list(texts)} of the ids {list(ids)}",
    ),
)  # fmt: skip
