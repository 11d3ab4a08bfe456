"""Exercises of notebook 04: pooling token vectors, choosing a threshold, a contrastive loss, and a test that leaks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy, normalize

from memcourse.course.exercises.exercise import Exercise, Mistake
from memcourse.metrics import best_threshold
from memcourse.retrieval.contrastive import info_nce
from memcourse.retrieval.embedding import mean_pool


def split(pairs: list[Any], test_share: float) -> tuple[list[Any], list[Any]]:
    """(train, test) of pairs (person, text), with about that share of the people in test, and nobody in both."""
    people = list(dict.fromkeys(person for person, _ in pairs))
    tested = set(people[: round(len(people) * test_share)])
    return [pair for pair in pairs if pair[0] not in tested], [pair for pair in pairs if pair[0] in tested]


def split_broken(pairs: list[Any], test_share: float) -> tuple[list[Any], list[Any]]:
    """(train, test) of pairs (person, text), with about that share in test."""
    n = round(len(pairs) * test_share)
    return pairs[n:], pairs[:n]


def as_facts(answer: Callable[..., Any], pairs: list[Any], test_share: float) -> list[str]:
    """What matters about a split: nobody in both parts, every pair in one of them, and the share that was asked for."""
    train, test = (list(part) for part in answer(pairs, test_share))
    both = {person for person, _ in train} & {person for person, _ in test}
    most = max(sum(person == p for p, _ in pairs) for person, _ in pairs)
    return [
        f"{len(both)} people in both parts",
        "all pairs once" if sorted([*train, *test]) == sorted(pairs) else "a pair lost or doubled",
        "about that share" if abs(len(test) - test_share * len(pairs)) <= most else f"{len(test)} of {len(pairs)} in test",
    ]


def _pairs(people: int, each: int) -> list[tuple[str, str]]:
    return [(f"person {p}", f"text {i}") for i in range(each) for p in range(people)]


def _by_last_person(pairs: list[Any], test_share: float) -> tuple[list[Any], list[Any]]:
    people = sorted({person for person, _ in pairs})
    first_tested = len(people) - round(len(people) * test_share)
    tested = people[first_tested:]
    return [pair for pair in pairs if pair[0] not in tested], [pair for pair in pairs if pair[0] in tested]


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _mask(*lengths: int) -> torch.Tensor:
    return (torch.arange(max(lengths))[None, :] < torch.tensor(lengths)[:, None]).long()


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    return normalize(vectors, dim=-1)


def _own(logits: torch.Tensor) -> torch.Tensor:
    return cross_entropy(logits, torch.arange(len(logits)))


def _most_right(scores: Any, positive: Any) -> float:
    values, labels = np.asarray(scores), np.asarray(positive, dtype=bool)
    thresholds = np.unique(values)[::-1]
    return float(thresholds[np.argmax([((values >= t) == labels).mean() for t in thresholds])])


def _one_by_one(scores: Any, positive: Any) -> float:
    values, labels = np.asarray(scores, dtype=float), np.asarray(positive, dtype=bool)
    return max(sorted(values, reverse=True), key=lambda t: (values[labels] >= t).mean() - (values[~labels] >= t).mean())


# Few positives, many negatives, as it is with relevant passages: being right in most cases is then no aim.
_SCORES = ([0.9, 0.8, 0.55, 0.5, 0.7, 0.45, 0.4, 0.3, 0.2, 0.1, 0.05, 0.0], [1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0])
_NARROW = ([0.97, 0.95, 0.96, 0.93, 0.92, 0.90, 0.945, 0.94], [1, 1, 0, 1, 0, 0, 0, 0])


EXERCISES = (
    Exercise(
        id="04.mean_pool",
        reference=mean_pool,
        cases=(
            lambda: (_random(2, 4, 3), _mask(4, 2)),
            lambda: (_random(3, 5, 4, seed=1), _mask(1, 5, 3)),
            lambda: (_random(1, 3, 2, seed=2), _mask(3)),
        ),
        mistakes=(
            Mistake(
                lambda states, mask: states.mean(1),
                "That counts the padding too, so a text's vector depends on how long its neighbours in the batch are.",
            ),
            Mistake(
                lambda states, mask: (states * mask[..., None]).mean(1),
                "The padding is set to zero but still counted: divide by the number of tokens that count.",
            ),
            Mistake(
                lambda states, mask: (states * mask[..., None]).sum(1),
                "That is the sum; divide it by the number of tokens that count.",
            ),
            Mistake(lambda states, mask: states[:, 0], "That is the first token's vector; the mean of all is asked for."),
            Mistake(
                lambda states, mask: _unit(mean_pool(states, mask)),
                "That is divided by its length already. Here the mean alone is asked for.",
            ),
        ),
        alternatives=(
            lambda states, mask: torch.stack([s[m.bool()].mean(0) for s, m in zip(states, mask, strict=True)]),
        ),
        describe=lambda states, mask: f"{len(states)} texts of {mask.sum(1).tolist()} tokens, padded to {states.shape[1]},",
    ),
    Exercise(
        id="04.best_threshold",
        reference=best_threshold,
        cases=(lambda: _SCORES, lambda: _NARROW, lambda: ([0.3, 0.1, 0.2], [1, 0, 0])),
        mistakes=(
            Mistake(lambda scores, positive: 0.8, "A fixed number fits no model: take it from the scores."),
            Mistake(
                _most_right,
                "That is the threshold with most labels right. With few positives among many negatives it misses positives; "
                "compare the two shares.",
            ),
            Mistake(
                lambda scores, positive: float(np.mean(scores)),
                "The mean of all scores ignores which of them belong to positives.",
            ),
            Mistake(
                lambda scores, positive: float(min(s for s, p in zip(scores, positive, strict=True) if p)),
                "That accepts every positive, at any price in negatives.",
            ),
        ),
        alternatives=(_one_by_one,),
        describe=lambda scores, positive: f"the threshold for scores {list(scores)} with labels {list(positive)}",
    ),
    Exercise(
        id="04.info_nce",
        reference=info_nce,
        cases=(
            lambda: (_random(3, 4), _random(3, 4, seed=1), 0.05),
            lambda: (_random(2, 5, seed=2), 3 * _random(4, 5, seed=3), 0.5),
        ),
        mistakes=(
            Mistake(
                lambda q, p, t: _own(q @ p.mT / t),
                "Those are products; for cosines divide both vectors by their lengths.",
            ),
            Mistake(lambda q, p, t: _own(_unit(q) @ _unit(p).mT), "The cosines are to be divided by the temperature."),
            Mistake(
                lambda q, p, t: _own(_unit(q) @ _unit(p).mT * t),
                "The temperature divides: a small one makes the differences large.",
            ),
            Mistake(
                lambda q, p, t: _own(_unit(q) @ _unit(p[: len(q)]).mT / t),
                "Further rows of the passages are wrong ones; they belong into the softmax, too.",
            ),
            Mistake(
                lambda q, p, t: -(_unit(q) * _unit(p[: len(q)])).sum(-1).mean() / t,
                "That only pulls each question to its passage. Nothing is pushed away, so all vectors may become the same.",
            ),
            Mistake(lambda q, p, t: len(q) * info_nce(q, p, t), "Take the mean over the questions, not the sum."),
        ),
        alternatives=(
            lambda q, p, t: -torch.log_softmax(_unit(q) @ _unit(p).mT / t, dim=1).diagonal().mean(),
            lambda q, p, t: float(torch.stack([
                torch.logsumexp(_unit(row[None]) @ _unit(p).mT / t, dim=1)[0] - (_unit(row) @ _unit(p[i])) / t
                for i, row in enumerate(q)
            ]).mean()),
        ),
        describe=lambda q, p, t: f"the loss of {len(q)} questions and {len(p)} passages at temperature {t}",
    ),
    Exercise(
        id="04.puzzle",
        reference=split,
        probe=as_facts,
        cases=(lambda: (_pairs(10, 3), 0.3), lambda: (_pairs(4, 8), 0.5), lambda: (_pairs(20, 2), 0.1)),
        broken=split_broken,
        mistakes=(
            Mistake(
                lambda pairs, test_share: (pairs[:: round(1 / test_share)], pairs),
                "Every pair is in test here, and some of them in training as well.",
            ),
            Mistake(
                lambda pairs, test_share: (pairs[1::2], pairs[::2]),
                "Other pairs, the same leak: deal out people, not pairs. The share is a half, too, whatever is asked for.",
            ),
        ),
        alternatives=(_by_last_person,),
        describe=lambda pairs, test_share: f"{len(pairs)} pairs with a share of {test_share} for the test",
    ),
)  # fmt: skip
