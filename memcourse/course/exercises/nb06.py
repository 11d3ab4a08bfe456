"""Exercises of notebook 06: reciprocal rank, choosing unlike passages, risk at a coverage, and a prompt that is too long."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from memcourse.course.exercises.exercise import Exercise, Mistake
from memcourse.metrics import reciprocal_rank
from memcourse.retrieval.rerank import mmr


def risk_at(confidence: Sequence[float], right: Sequence[float], coverage: float) -> float:
    """Share of wrong ones among the round(coverage * n), at least one, most confident of n answers; right is 0 or 1.

    Without ties, this is one point of the curve of `memcourse.retrieval.risk_coverage`.
    """
    answered = max(1, round(coverage * len(confidence)))
    surest = sorted(range(len(confidence)), key=lambda i: -confidence[i])[:answered]
    return sum(1 - float(right[i]) for i in surest) / answered


def prompt_of(passages: Sequence[str], question: str, most: int) -> str:
    """A prompt of at most `most` characters, as long as the question fits; the worst passages are dropped, as wholes."""
    kept = list(passages)
    while True:
        prompt = "".join(f"Passage: {passage}\n" for passage in kept) + f"Question: {question}\nAnswer:"
        if len(prompt) <= most or not kept:
            return prompt
        kept.pop()


def prompt_of_broken(passages: Sequence[str], question: str, most: int) -> str:
    """A prompt of at most `most` characters; passages are given best first."""
    prompt = "\n".join(f"Passage: {passage}" for passage in passages) + f"\nQuestion: {question}\nAnswer:"
    return prompt[:most]


def as_fact(answer: Callable[..., Any], passages: Sequence[str], question: str, most: int) -> str:
    """What matters about a prompt: the question is whole, at its end, it isn't too long, and the best that fit are in it.

    What is made of a passage that doesn't fit (dropped, or cut at its end) is left open.
    """
    prompt, end = answer(passages, question, most), f"Question: {question}\nAnswer:"
    if not isinstance(prompt, str):
        return f"no string, but {type(prompt).__name__}"
    if len(prompt) > most:
        return f"{len(prompt)} characters, and {most} are allowed"
    if not prompt.endswith(end):
        return f"without a whole question at its end: {prompt[-12:]!r}"
    if not f"\n{prompt}".endswith(f"\n{end}"):
        return "a question that is not on a line of its own"
    used = len(end)
    for place, passage in enumerate(passages, 1):
        used += len(f"Passage: {passage}\n")
        if used <= most and passage not in prompt:
            return f"without passage {place}, which is among the best that fit"
    return "a whole question after the best passages that fit"


def _rank_of(place: Callable[[list[int], int], float]) -> Callable[..., float]:
    """A value made of the places (from 0 on) of what is relevant and of the ranking's length; 0 where there is none."""

    def value(ranked: Sequence[str], relevant: Collection[str]) -> float:
        places = [i for i, name in enumerate(ranked) if name in relevant]
        return place(places, len(ranked)) if places else 0.0

    return value


def _greedy(gain: Callable[[float, np.ndarray, list[int], int, float], float]) -> Callable[..., list[int]]:
    """The most relevant first, then always that with the largest gain(relevance, similarities, chosen, place, balance)."""

    def choose(relevance: Any, similarity: Any, k: int, balance: float) -> list[int]:
        chosen = [int(np.argmax(relevance))]
        while len(chosen) < k:
            rest = [i for i in range(len(relevance)) if i not in chosen]
            chosen.append(max(rest, key=lambda i: gain(relevance[i], similarity[i], chosen, i, balance)))
        return chosen

    return choose


def _risk(first: int, share: Any = lambda right, n: (1 - right).mean(), answered: Any = round) -> Callable[..., float]:
    """A share(right of the answered, n), answered from the surest down (first = -1) or from the least sure up (1)."""

    def risk(confidence: Any, right: Any, coverage: float) -> float:
        order = np.argsort(first * np.asarray(confidence))
        return float(share(np.asarray(right)[order[: max(1, answered(coverage * len(order)))]], len(order)))

    return risk


def _cut_texts(passages: Sequence[str], question: str, most: int) -> str:
    end = f"\nQuestion: {question}\nAnswer:"
    return "\n".join(f"Passage: {passage}" for passage in passages)[: most - len(end)] + end


def _town(n: int, k: int, balance: float, seed: int) -> tuple[np.ndarray, np.ndarray, int, float]:
    """Relevances and similarities, all above 0 as cosines of such texts mostly are, and the two other arguments."""
    rng = np.random.default_rng(seed)
    vectors = rng.uniform(0, 1, size=(n, 4)) ** 2
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return rng.uniform(0.3, 0.9, size=n), vectors @ vectors.T, k, balance


# Two passages say the same, and the third is about something else.
_COPIES = (np.array([0.8, 0.75, 0.7]), np.array([[1.0, 0.95, 0.3], [0.95, 1.0, 0.25], [0.3, 0.25, 1.0]]), 2, 0.7)
_LINES = ["The ferry leaves at nine.", "It needs an hour to the island.", "Bread is sold at the quay, in the red house."]
_ASKED = "When does the ferry leave?"
_LENGTH = len(f"Question: {_ASKED}\nAnswer:")
_FIRST = len(f"Passage: {_LINES[0]}\n")


EXERCISES = (
    Exercise(
        id="06.rank",
        reference=reciprocal_rank,
        cases=(
            lambda: (["a", "b", "c", "d", "e"], ["c", "b", "e"]),
            lambda: (["a", "b", "c"], ["a"]),
            lambda: (["a", "b", "c", "d"], ["d", "x"]),
            lambda: (["a", "b"], ["x"]),
        ),
        mistakes=(
            Mistake(_rank_of(lambda places, n: 1 / places[0] if places[0] else 0.0), "Ranks count from 1, places from 0."),
            Mistake(
                _rank_of(lambda places, n: 1 / n),
                "That is 1 over the length of the ranking; it matters where in it the first relevant one stands.",
            ),
            Mistake(
                _rank_of(lambda places, n: len(places) / (places[0] + 1)),
                "That is like a precision. How many are relevant doesn't count: it is 1 over the rank of the first.",
            ),
            Mistake(
                _rank_of(lambda places, n: 1 / (places[-1] + 1)),
                "That is the last relevant one; the first that a reader meets counts.",
            ),
            Mistake(_rank_of(lambda places, n: places[0] + 1.0), "That is the rank itself; divide 1 by it."),
        ),
        alternatives=(
            _rank_of(lambda places, n: 1 / (places[0] + 1)),
            lambda ranked, relevant: max((1 / (ranked.index(name) + 1) for name in relevant if name in ranked), default=0),
        ),
        describe=lambda ranked, relevant: f"the value of {ranked} with {relevant} relevant (ranks count from 1)",
    ),
    Exercise(
        id="06.mmr",
        reference=mmr,
        cases=(lambda: _COPIES, lambda: _town(8, 4, 0.5, 22), lambda: _town(12, 5, 0.7, 39), lambda: _town(6, 3, 0.3, 2)),
        mistakes=(
            Mistake(
                lambda relevance, similarity, k, balance: np.argsort(-relevance)[:k].tolist(),
                "Those are the most relevant ones, however alike they are: subtract the similarity to what is chosen.",
            ),
            Mistake(
                _greedy(lambda own, alike, chosen, i, b: b * own + (1 - b) * max(alike[chosen])),
                "The similarity is added here, so that copies are preferred; subtract it.",
            ),
            Mistake(
                _greedy(lambda own, alike, chosen, i, b: b * own - (1 - b) * float(np.mean(alike[chosen]))),
                "That is the mean over the chosen ones. A copy of one of them is a copy, so take the largest similarity.",
            ),
            Mistake(
                _greedy(lambda own, alike, chosen, i, b: b * own - (1 - b) * max(np.delete(alike, i))),
                "Compare with those that are chosen already, not with all: an item may be like one that nobody reads.",
            ),
            Mistake(
                _greedy(lambda own, alike, chosen, i, b: (1 - b) * own - b * max(alike[chosen])),
                "The two weights are exchanged: `balance` belongs to the relevance.",
            ),
        ),
        alternatives=(_greedy(lambda own, alike, chosen, i, b: b * own - (1 - b) * max(alike[j] for j in chosen)),),
        describe=lambda relevance, similarity, k, balance: f"{k} of {len(relevance)} passages with balance {balance}",
    ),
    Exercise(
        id="06.risk",
        reference=risk_at,
        cases=(
            lambda: (np.array([0.2, 0.9, 0.5, 0.7, 0.4, 0.8]), np.array([0, 1, 0, 0, 1, 1]), 0.6),
            lambda: (np.array([0.3, 0.1, 0.6, 0.8, 0.7]), np.array([1, 0, 1, 0, 1]), 0.05),
            lambda: (np.array([-1.5, -0.2, -3.0, -0.9]), np.array([0, 1, 0, 0]), 1.0),
        ),
        mistakes=(
            Mistake(_risk(1), "Those are the least confident; answer where the confidence is highest."),
            Mistake(_risk(-1, lambda right, n: right.mean()), "That is the share of right ones; count the wrong ones."),
            Mistake(
                _risk(-1, lambda right, n: (1 - right).sum() / n),
                "Divide by the number of answers given, not by all n: silence is neither right nor wrong.",
            ),
            Mistake(
                lambda confidence, right, coverage: float(1 - right[: max(1, round(coverage * len(right)))].mean()),
                "Those are the first in the list; put them in order of their confidence before.",
            ),
            Mistake(_risk(-1, answered=int), "The number of answers is rounded, not cut off: round(coverage * n)."),
        ),
        alternatives=(_risk(-1),),
        describe=lambda confidence, right, coverage: (
            f"the risk at coverage {coverage} (at least one is answered) of {confidence.tolist()}, right {right.tolist()},"
        ),
    ),
    Exercise(
        id="06.puzzle",
        reference=prompt_of,
        probe=as_fact,
        cases=(
            lambda: (_LINES, _ASKED, _LENGTH + _FIRST + 20),
            lambda: (_LINES, _ASKED, _LENGTH + _FIRST),
            lambda: (_LINES, _ASKED, 500),
            lambda: (["word " * 40, *_LINES], _ASKED, _LENGTH + 20),
        ),
        broken=prompt_of_broken,
        mistakes=(
            Mistake(
                lambda passages, question, most: prompt_of(passages, question, 10**9)[-most:],
                "The question stays, but the best passages go first: they stand at the beginning. Drop from the other end.",
            ),
            Mistake(
                lambda passages, question, most: (
                    "\n".join(f"Passage: {passage}" for passage in passages)[:most] + f"\nQuestion: {question}\nAnswer:"
                ),
                "The passages are cut, but the question comes on top of that: leave room for it.",
            ),
            Mistake(lambda passages, question, most: prompt_of(passages, question, most - 1), "Exactly `most` fits, too."),
            Mistake(
                lambda passages, question, most: f"Question: {question}\nAnswer:",
                "The question is safe, but passages that fit are gone; keep as many of the best as there is room for.",
            ),
        ),
        alternatives=(_cut_texts,),
        describe=lambda passages, question, most: f"the prompt of {len(passages)} passages in {most} characters",
    ),
)  # fmt: skip
