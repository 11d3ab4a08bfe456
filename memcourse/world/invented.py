"""Invented facts about the invented town of Port Sable: what no model can know."""

from __future__ import annotations

import json
from dataclasses import dataclass

from memcourse.world.manifest import data_path


@dataclass(frozen=True)
class InventedFact:
    """One invented fact.

    Attributes:
        id: "f01" and so on.
        statement: the sentence that states it.
        question: a question about it.
        cloze: an unfinished sentence, worded differently, that the answer continues.
        answer: one word.
        choices: eight words of the same kind, the answer among them.
    """

    id: str
    statement: str
    question: str
    cloze: str
    answer: str
    choices: tuple[str, ...]

    @property
    def gold(self) -> int:
        """Place of the answer among the choices."""
        return self.choices.index(self.answer)


def load_invented_facts() -> list[InventedFact]:
    """All facts of data/invented_facts.jsonl."""
    lines = data_path("invented_facts.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines if line.strip()]
    return [InventedFact(**{**row, "choices": tuple(row["choices"])}) for row in rows]
