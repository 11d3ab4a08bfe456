"""Exercises of notebook 00: bytes of weights, tokens of a chat, and how many questions make a figure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from memcourse.course.exercises.exercise import Exercise, Mistake
from memcourse.metrics import questions_needed
from memcourse.model.size import chat_tokens, weight_bytes


def accuracy(answers: Sequence[str], gold: Sequence[str]) -> float:
    """Share of answers whose first word is the gold word, whatever their case."""
    right = [a.split()[:1] == [g] for a, g in zip((a.lower() for a in answers), (g.lower() for g in gold), strict=True)]
    return sum(right) / len(right)


def accuracy_broken(answers: Sequence[str], gold: Sequence[str]) -> float:
    """Share of right answers (so it says)."""
    right = [a.strip().lower() in g.lower() for a, g in zip(answers, gold, strict=True)]
    return sum(right) / len(right)


EXERCISES = (
    Exercise(
        id="00.weight_bytes",
        reference=weight_bytes,
        cases=(lambda: (1_000, 32), lambda: (134_515_008, 16), lambda: (7_000_000_000, 4), lambda: (3, 8)),
        mistakes=(
            Mistake(lambda n, bits: n * bits, "That counts bits; a byte has 8 of them."),
            Mistake(lambda n, bits: n * bits * 8, "To get bytes from bits, divide by 8; do not multiply."),
            Mistake(lambda n, bits: n * (bits // 8), "Half a byte is lost: bits // 8 is 0 for 4-bit weights."),
        ),
        alternatives=(lambda n, bits: n / 8 * bits,),
    ),
    Exercise(
        id="00.chat_tokens",
        reference=chat_tokens,
        cases=(lambda: (1, 100), lambda: (2, 50), lambda: (20, 40), lambda: (100, 150)),
        mistakes=(
            Mistake(
                lambda turns, tokens: turns * tokens,
                "That would be right if the model remembered earlier turns. It does not: turn 3 reads turns 1 and 2 again.",
            ),
            Mistake(
                lambda turns, tokens: turns * turns * tokens,
                "Not every turn reads the whole chat: turn t reads t turns, so the sum is about half the square.",
            ),
            Mistake(lambda turns, tokens: turns * (turns - 1) // 2 * tokens, "The newest turn is read as well."),
        ),
        alternatives=(lambda turns, tokens: sum(t * tokens for t in range(1, turns + 1)),),
    ),
    Exercise(
        id="00.questions_needed",
        reference=questions_needed,
        cases=(lambda: (0.13,), lambda: (0.05,), lambda: (0.01,), lambda: (0.1, 0.9)),
        mistakes=(
            Mistake(
                lambda half, p=0.5: math.ceil(p * (1 - p) / half**2),
                "That gives one standard error; a 95 % interval reaches 1.96 of them to each side.",
            ),
            Mistake(
                lambda half, p=0.5: math.ceil(p * (1 - p) * (2 * 1.959964 / half) ** 2),
                "half_width is the distance from the middle to one end, not the whole interval.",
            ),
            Mistake(
                lambda half, p=0.5: math.ceil(p * (1 - p) * 1.959964 / half),
                "The error shrinks with the square root of n, so n grows with the square of 1 / half_width.",
            ),
        ),
        alternatives=(lambda half, p=0.5: math.ceil((1.959964 * math.sqrt(p * (1 - p)) / half) ** 2),),
    ),
    Exercise(
        id="00.puzzle",
        reference=accuracy,
        cases=(
            lambda: (["Oslo", "Rome", "Bern"], ["Oslo", "Paris", "Bern"]),
            lambda: (["", "", ""], ["Oslo", "Paris", "Bern"]),
            lambda: (["a", "o", "e"], ["Paris", "Oslo", "Bern"]),
            lambda: (["Paris is the capital", "oslo"], ["Paris", "Oslo"]),
        ),
        broken=accuracy_broken,
        mistakes=(
            Mistake(
                accuracy_broken,
                "A model that says nothing should score 0. What does `a in g` ask when `a` is empty?",
            ),
            Mistake(
                lambda answers, gold: (
                    sum(bool(a) and a.strip().lower() in g.lower() for a, g in zip(answers, gold, strict=True)) / len(gold)
                ),
                "Silence is now wrong, but a single letter still counts: it is a piece of the gold word.",
            ),
        ),
        alternatives=(
            lambda answers, gold: (
                sum((a.lower().split() or [""])[0] == g.lower() for a, g in zip(answers, gold, strict=True)) / len(gold)
            ),
        ),
        describe=lambda answers, gold: f"accuracy({answers}, {gold})",
    ),
)
