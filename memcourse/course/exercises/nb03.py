"""Exercises of notebook 03: bits stored, rounding, TF-IDF of memory slots, and windows that let a text copy another."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch

from memcourse.course.exercises.exercise import Exercise, Mistake
from memcourse.weights.capacity import bits_stored
from memcourse.weights.quantise import rounded
from memcourse.weights.slots import tf_idf


def windows(texts: list[Any], size: int) -> list[list[Any]]:
    """Windows of at most `size` texts (person, text) each; one person's texts stand next to each other in the list."""
    most = max(Counter(person for person, _ in texts).values())  # each of one person's texts needs a window of its own
    n = max(most, -(-len(texts) // size))
    return [texts[i::n] for i in range(n)]


def windows_broken(texts: list[Any], size: int) -> list[list[Any]]:
    """Windows of at most `size` texts (person, text) each; one person's texts stand next to each other in the list."""
    return [texts[i : i + size] for i in range(0, len(texts), size)]


def as_facts(answer: Callable[..., Any], texts: list[Any], size: int) -> list[str]:
    """What matters about some windows: nothing lost or doubled, none too long, and no person twice in one."""
    made = [list(window) for window in answer(texts, size)]
    whole = sorted(text for window in made for text in window) == sorted(texts)
    twice = sum(len({person for person, _ in window}) < len(window) for window in made)
    longest = max((len(window) for window in made), default=0)
    return [
        f"{twice} windows with a person twice",
        "none too long" if longest <= size else f"one of {longest} texts",
        "all texts once" if whole else "a text lost or doubled",
    ]


def _dealt_out(texts: list[Any], size: int) -> list[list[Any]]:
    """Each text goes into the first window that has room and not this person."""
    made: list[list[Any]] = []
    for text in texts:
        free = (w for w in made if len(w) < size and text[0] not in {person for person, _ in w})
        window = next(free, None)
        if window is None:
            made.append(window := [])
        window.append(text)
    return made


def _texts(people: int, each: int) -> list[tuple[str, str]]:
    return [(f"person {p}", f"text {i}") for p in range(people) for i in range(each)]


def _matrix(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)) * torch.arange(1.0, shape[0] + 1)[:, None]


def _step(matrix: torch.Tensor, most: float, per_row: bool = True, to: Any = torch.round) -> torch.Tensor:
    largest = matrix.abs().amax(-1, keepdim=True) if per_row else matrix.abs().max()
    return to(matrix / largest * most) * largest / most


def _reads(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows)


EXERCISES = (
    Exercise(
        id="03.bits_stored",
        reference=bits_stored,
        cases=(lambda: (0.0, 10, 16, 64), lambda: (300.0, 10, 16, 64), lambda: (55.5, 7, 9, 256)),
        mistakes=(
            Mistake(
                lambda nll, n, length, vocab: n * length * math.log2(vocab) - nll / math.log(2),
                "The first token is the cue: it is given, so it can't be stored. Each string offers length - 1 tokens.",
            ),
            Mistake(
                lambda nll, n, length, vocab: n * (length - 1) * math.log2(vocab) - nll,
                "The loss is in nats. One bit is ln 2 = 0.693 nats.",
            ),
            Mistake(
                lambda nll, n, length, vocab: n * (length - 1) * math.log2(vocab) - nll * math.log(2),
                "A nat is more than a bit (1.44 bits), so the number of bits is the larger one.",
            ),
            Mistake(
                lambda nll, n, length, vocab: nll / math.log(2),
                "That is what the strings still cost; stored is what they no longer cost.",
            ),
            Mistake(
                lambda nll, n, length, vocab: n * (length - 1) * vocab - nll / math.log(2),
                "One of `vocab` equally likely tokens is worth log2(vocab) bits.",
            ),
        ),
        alternatives=(lambda nll, n, length, vocab: (n * (length - 1) * math.log(vocab) - nll) / math.log(2),),
        describe=lambda nll, n, length, vocab: f"bits_stored({nll:g}, {n}, {length}, {vocab})",
    ),
    Exercise(
        id="03.rounded",
        reference=rounded,
        cases=(lambda: (_matrix(3, 8), 8), lambda: (_matrix(3, 8), 3), lambda: (_matrix(2, 5), 2)),
        mistakes=(
            Mistake(
                lambda matrix, bits: _step(matrix, 2 ** (bits - 1) - 1, per_row=False),
                "Each row has a scale of its own; one scale for the whole matrix wastes the range of the small rows.",
            ),
            Mistake(
                lambda matrix, bits: _step(matrix, 2 ** (bits - 1)),
                "That gives 2**bits + 1 values. With one of them at 0, 2**(bits - 1) - 1 are left on either side.",
            ),
            Mistake(
                lambda matrix, bits: _step(matrix, 2**bits - 1),
                "2**bits - 1 is the number of all values; on either side of 0 there are 2**(bits - 1) - 1.",
            ),
            Mistake(
                lambda matrix, bits: _step(matrix, 2 ** (bits - 1) - 1, to=torch.trunc),
                "Those are cut off towards 0; each weight goes to the nearest value.",
            ),
            Mistake(
                lambda matrix, bits: (matrix / matrix.abs().amax(-1, keepdim=True) * (2 ** (bits - 1) - 1)).round(),
                "Those are the whole numbers that are stored; multiply them by the row's step to have weights again.",
            ),
        ),
        alternatives=(
            lambda matrix, bits: torch.stack([_step(row[None], 2 ** (bits - 1) - 1)[0] for row in matrix]),
        ),
        describe=lambda matrix, bits: f"a matrix of {tuple(matrix.shape)} rounded to {bits} bits",
    ),
    Exercise(
        id="03.tf_idf",
        reference=tf_idf,
        cases=(
            lambda: (_reads([2, 1, 1, 0], [2, 0, 2, 0]), _reads([5, 0, 0, 1], [1, 0, 1, 0], [1, 0, 0, 0])),
            lambda: (_reads([1, 3, 0], [0, 0, 1]), _reads([0, 2, 2], [0, 1, 0])),
        ),
        mistakes=(
            Mistake(
                lambda new, old: new.sum(0) / new.sum() * torch.log((len(old) + 1) / (old.sum(0) + 1)),
                "Count the old *texts* that read a slot, not how often they read it.",
            ),
            Mistake(
                lambda new, old: new.sum(0) / new.sum(),
                "That is the first factor alone: it also chooses slots which every old text reads.",
            ),
            Mistake(
                lambda new, old: (new / new.sum(1, keepdim=True)).mean(0)
                * torch.log((len(old) + 1) / ((old > 0).sum(0) + 1)),
                "A share of *all* reads: add up the reads of all new texts first, then divide.",
            ),
            Mistake(
                lambda new, old: new.sum(0) / new.sum() * torch.log2((len(old) + 1) / ((old > 0).sum(0) + 1)),
                "Take the natural logarithm.",
            ),
            Mistake(
                lambda new, old: new.sum(0) * torch.log((len(old) + 1) / ((old > 0).sum(0) + 1)),
                "The first factor is a share: divide by all reads of the new texts.",
            ),
        ),
        alternatives=(
            lambda new, old: torch.stack([
                new[:, i].sum() / new.sum() * math.log((old.shape[0] + 1) / (int((old[:, i] > 0).sum()) + 1))
                for i in range(new.shape[1])
            ]),
        ),
        describe=lambda new, old: f"the scores of {new.shape[1]} slots from {len(new)} new and {len(old)} old texts",
    ),
    Exercise(
        id="03.puzzle",
        reference=windows,
        probe=as_facts,
        cases=(lambda: (_texts(8, 4), 4), lambda: (_texts(6, 2), 3), lambda: (_texts(3, 4), 4)),
        broken=windows_broken,
        mistakes=(
            Mistake(
                lambda texts, size: [[text] for text in {person: (person, text) for person, text in texts}.values()],
                "Each person is left with one text only; the others are training texts as well.",
            ),
            Mistake(
                lambda texts, size: [texts[i::size] for i in range(size)],
                "That makes `size` windows. What is asked for are windows of at most `size` texts.",
            ),
        ),
        alternatives=(
            lambda texts, size: [[text] for text in texts],
            _dealt_out,
        ),
        describe=lambda texts, size: f"{len(texts)} texts in windows of {size}",
    ),
)  # fmt: skip
