"""Questions with a fixed choice of answers: invented facts, two invented trades, and common knowledge."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from memcourse.world.manifest import data_path


@dataclass(frozen=True)
class ChoiceQuestion:
    """A question with its possible answers.

    Attributes:
        id: unique in its file.
        question: the question.
        cloze: an unfinished sentence, worded differently, that the answer continues (after a space).
        answer: one or two words.
        choices: words of the same kind, the answer among them.
    """

    id: str
    question: str
    cloze: str
    answer: str
    choices: tuple[str, ...]

    @property
    def gold(self) -> int:
        """Place of the answer among the choices."""
        return self.choices.index(self.answer)


@dataclass(frozen=True)
class InventedFact(ChoiceQuestion):
    """One invented fact: `statement` is the sentence that states it."""

    statement: str


@dataclass(frozen=True)
class DomainFact(InventedFact):
    """One invented fact of a trade.

    Attributes:
        subject, attribute: what it is about; four attributes for each of ten subjects.
        rewordings: five more sentences that state it.
        question2: the question in other words.
        split: "train", "dev" or "test", the same for all facts of a subject.
    """

    subject: str
    attribute: str
    rewordings: tuple[str, ...]
    question2: str
    split: str


@dataclass(frozen=True)
class CommonQuestion(ChoiceQuestion):
    """One question of common knowledge and its topic."""

    topic: str


Kind = TypeVar("Kind", bound=ChoiceQuestion)
DOMAINS = ("clinical", "finance")


def load_invented_facts() -> list[InventedFact]:
    """24 invented facts about Port Sable, with eight choices each."""
    return _load("invented_facts.jsonl", InventedFact)


def load_domain(name: str) -> list[DomainFact]:
    """40 facts of an invented trade, "clinical" (drugs) or "finance" (funds), with eight choices each. Nothing in it exists.

    Raises:
        ValueError: another name.
    """
    if name not in DOMAINS:
        raise ValueError(f"There is no domain {name!r}; choose {' or '.join(map(repr, DOMAINS))}.")
    return _load(f"{name}.jsonl", DomainFact)


def load_common_knowledge() -> list[CommonQuestion]:
    """60 questions of common knowledge with four choices each, to measure what a model has forgotten."""
    return _load("common_knowledge.jsonl", CommonQuestion)


def load_everyday_text() -> list[str]:
    """Short English pieces on everyday subjects, to measure perplexity before and after training."""
    return [piece.strip() for piece in data_path("everyday.txt").read_text(encoding="utf-8").split("* * *")]


def _load(name: str, kind: type[Kind]) -> list[Kind]:
    lists = {field.name for field in fields(kind) if str(field.type).startswith("tuple")}
    lines = data_path(name).read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines if line.strip()]
    make: Any = kind
    return [make(**{key: tuple(value) if key in lists else value for key, value in row.items()}) for row in rows]
