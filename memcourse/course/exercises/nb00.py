"""Exercises of notebook 00: bytes of weights, tokens of a chat, and how many questions make a figure."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from memcourse.course.exercises.exercise import Exercise, Mistake
from memcourse.metrics import questions_needed
from memcourse.model.size import chat_tokens, weight_bytes


def accuracy(answers: Sequence[str], gold: Sequence[str]) -> float:
    """Share of answers whose first word is the gold word, whatever their case and punctuation."""
    firsts = [(answer.split() or [""])[0].strip(".,;:!?").lower() for answer in answers]
    return sum(first == g.lower() for first, g in zip(firsts, gold, strict=True)) / len(gold)


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
                lambda half, p=0.5: p * (1 - p) * (1.959964 / half) ** 2,
                "That is the right quantity; a number of questions is whole, so round it up.",
            ),
            Mistake(
                lambda half, p=0.5: int(p * (1 - p) * (1.959964 / half) ** 2),
                "Round up: one question fewer makes the interval wider than asked.",
            ),
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
            lambda: (["Paris.", "Not Oslo"], ["Paris", "Oslo"]),
        ),
        broken=accuracy_broken,
        mistakes=(
            Mistake(
                lambda answers, gold: (
                    sum(bool(a) and a.strip().lower() in g.lower() for a, g in zip(answers, gold, strict=True)) / len(gold)
                ),
                "Silence is now wrong, but a single letter still counts: it is a piece of the gold word.",
            ),
            Mistake(
                lambda answers, gold: (
                    sum(a.strip().lower() == g.lower() for a, g in zip(answers, gold, strict=True)) / len(gold)
                ),
                "Only the first word is compared; the rest of the answer may go on.",
            ),
            Mistake(
                lambda answers, gold: sum(g.lower() in a.lower() for a, g in zip(answers, gold, strict=True)) / len(gold),
                "The other way round, an answer counts that names the word anywhere, even after 'not'.",
            ),
            Mistake(
                lambda answers, gold: (
                    sum((a.lower().split() or [""])[0] == g.lower() for a, g in zip(answers, gold, strict=True)) / len(gold)
                ),
                "A full stop behind the word is no mistake of the model: strip punctuation before comparing.",
            ),
        ),
        alternatives=(
            lambda answers, gold: (
                sum(re.sub(r"[^\w\s]", "", a).lower().split()[:1] == [g.lower()] for a, g in zip(answers, gold, strict=True))
                / len(gold)
            ),
        ),
        describe=lambda answers, gold: f"accuracy({answers}, {gold})",
    ),
)
