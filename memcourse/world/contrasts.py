"""Sentences, each beside a paraphrase and beside near-copies that mean something else."""

from __future__ import annotations

import json
from dataclasses import dataclass

from memcourse.world.manifest import data_path


@dataclass(frozen=True)
class Contrast:
    """One sentence and five variants of it; only the paraphrase keeps its meaning.

    Attributes:
        id: unique in its file.
        sentence: names one or two people, has one number, and says who did what to whom.
        paraphrase: the same in other words.
        negation: denies what the sentence says, or says what it denies; few words differ.
        number: only the number is another.
        name: only the name of one person is another.
        order: the same words, but two of those named have exchanged their parts.
    """

    id: str
    sentence: str
    paraphrase: str
    negation: str
    number: str
    name: str
    order: str


def load_contrasts() -> tuple[Contrast, ...]:
    """All 40 sentences of data/contrasts.jsonl with their variants.

    Raises:
        CourseError: the file is missing or was changed.
    """
    lines = data_path("contrasts.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(Contrast(**json.loads(line)) for line in lines if line.strip())
