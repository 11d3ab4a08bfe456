"""A chain of checks over synthetic texts: what is kept, and how many texts each check dropped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from memcourse.synthesis.duplicates import without_near_duplicates
from memcourse.synthesis.quality import overlapping
from memcourse.synthesis.replies import Pair
from memcourse.synthesis.rewrites import Text

T = TypeVar("T")


@dataclass(frozen=True)
class Report:
    """What a filter did.

    checks: names of the checks, in the order in which they ran.
    reasons: for each text the check that dropped it, None if it was kept.
    """

    checks: tuple[str, ...]
    reasons: tuple[str | None, ...]

    @property
    def kept(self) -> int:
        """How many texts are left."""
        return self.reasons.count(None)

    @property
    def dropped(self) -> dict[str, int]:
        """How many texts each check dropped; a text counts for the first check that it failed."""
        return {name: self.reasons.count(name) for name in self.checks}

    def __str__(self) -> str:
        parts = [f"{count:,} {name}" for name, count in self.dropped.items()]
        return f"kept {self.kept:,} of {len(self.reasons):,}" + (f" (dropped: {', '.join(parts)})" if parts else "")


def filtered(texts: Sequence[T], checks: Mapping[str, Callable[[list[T]], Iterable[bool]]]) -> tuple[list[T], Report]:
    """Keep the texts that pass every check. Checks run in order, each on what the ones before have left.

    Args:
        texts: texts, or anything that the checks understand, such as pairs of a person and a text.
        checks: for each name of a reason a function that says, for each text of a list, whether it may stay: a check may
            look at all texts at once, as one for duplicates must. `each` makes one of a function of a single text;
            `no_near_duplicates` and `no_leaks` are ready made.

    Raises:
        ValueError: a check that doesn't answer True or False for each text.
    """
    if isinstance(texts, str):
        raise TypeError("A list of texts is needed; put the single text into a list.")
    reasons: list[str | None] = [None] * len(texts)
    for name, check in checks.items():
        left = [i for i, reason in enumerate(reasons) if reason is None]
        answers = check([texts[i] for i in left]) if left else []
        passed = list(answers) if isinstance(answers, Iterable) else []
        if len(passed) != len(left) or not all(isinstance(answer, bool | np.bool_) for answer in passed):
            wanted = f"must answer True or False for each of {len(left)} texts; `each` makes one of a function of one text"
            raise ValueError(f"The check {name!r} {wanted}.")
        for i, answer in zip(left, passed, strict=True):
            reasons[i] = None if answer else name
    kept = [text for text, reason in zip(texts, reasons, strict=True) if reason is None]
    return kept, Report(tuple(checks), tuple(reasons))


def each(passes: Callable[[T], bool]) -> Callable[[list[T]], list[bool]]:
    """A check for `filtered` that looks at one text at a time."""
    return lambda texts: [bool(passes(text)) for text in texts]


def no_near_duplicates(threshold: float = 0.8, k: int = 3) -> Callable[[list[Any]], list[bool]]:
    """A check for `filtered`: no text is so like one before it that is kept. See `without_near_duplicates`.

    Texts are strings, `Text` (read with what stands before it) or `Pair`.

    Raises:
        ValueError: a threshold or k that can't be.
    """
    without_near_duplicates([""], threshold, k)  # refused now, not after the checks before

    def check(texts: list[Any]) -> list[bool]:
        found = without_near_duplicates([_read(text) for text in texts], threshold, k)
        return [i not in found.repeats for i in range(len(texts))]

    return check


def no_leaks(questions: Sequence[str], n: int = 8) -> Callable[[list[Any]], list[bool]]:
    """A check for `filtered`: no text shares n words in a row with a test question. See `overlapping`.

    Texts are strings, `Text` (read with what stands before it) or `Pair`.

    Raises:
        ValueError: n < 1, or a question without words.
        TypeError: questions that are a single string.
    """
    overlapping([], questions, n)  # refused now, not after the checks before

    def check(texts: list[Any]) -> list[bool]:
        leaking = {leak.text for leak in overlapping([_read(text) for text in texts], questions, n)}
        return [i not in leaking for i in range(len(texts))]

    return check


def _read(item: Any) -> str:
    if isinstance(item, Text):
        return item.prompt + item.text
    if isinstance(item, Pair):
        return " ".join(item)
    if isinstance(item, str):
        return item
    raise TypeError(f"This check reads strings, Text and Pair, not {type(item).__name__}; give it a list of these.")
