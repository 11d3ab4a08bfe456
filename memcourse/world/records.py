"""What every loader returns: documents with their passages, facts, and questions, as plain frozen dataclasses."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

CALENDAR = {
    "weekday": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"],
    "month": [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ],
}
TODAY = "2026-09-01"  # the day on which Port Sable is looked at; what holds "now" holds on this day


@dataclass(frozen=True)
class Passage:
    """One paragraph of a document: the unit that retrieval judgements name.

    Attributes:
        id: the document's id, "#", and the paragraph's number from 1 on.
        document: the document's id.
        text: the paragraph.
        start, end: its place, so that `document.text[start:end] == text` (characters).
    """

    id: str
    document: str
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Document:
    """One document.

    Attributes:
        id: unique in its collection.
        title: may be empty.
        text: the whole text without the title.
        passages: its paragraphs in order; headings belong to none.
        metadata: whatever else the source says of it (kind, date, department, ...).
    """

    id: str
    title: str
    text: str
    passages: tuple[Passage, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Fact:
    """One row of a table of facts: the attribute of the subject has that value, within a period.

    Attributes:
        valid_from, valid_to: first and last day ("2024-03-31"), or "" where the period is open.
        document: id of the document that states it.
        split: "train", "dev" or "test".
    """

    id: str
    subject: str
    attribute: str
    value: str
    valid_from: str
    valid_to: str
    document: str
    split: str

    def holds_on(self, day: str) -> bool:
        """Whether the fact is true on a day, given as an ISO date ("2026-09-01")."""
        return self.valid_from <= day and (not self.valid_to or day <= self.valid_to)


@dataclass(frozen=True)
class Question:
    """One question with its right answers and the passages that hold them.

    Attributes:
        id: unique in its collection.
        text: the question.
        answers: every accepted wording, the canonical one first; empty where the documents don't say, or none is given.
        relevance: passage id to grade (1 for each passage that is needed; BEIR may grade higher, 0 means irrelevant).
        kind: "single", "two_hop", "comparison", "counting", "look_alike", "paraphrase", "unanswerable", "temporal", or "".
        answer_type: "person", "money", "month" and so on, or "".
        facts: ids of the facts that it rests on.
        split: "train", "dev", "test", or "".
        as_of: the ISO day it asks about.
        derive: how the answer follows from the facts: "max", "min", "earlier", "later", "count", "sum", "difference", or "".
    """

    id: str
    text: str
    answers: tuple[str, ...] = ()
    relevance: Mapping[str, int] = field(default_factory=dict)
    kind: str = ""
    answer_type: str = ""
    facts: tuple[str, ...] = ()
    split: str = ""
    as_of: str = TODAY
    derive: str = ""

    @property
    def passages(self) -> tuple[str, ...]:
        """Ids of the relevant passages."""
        return tuple(name for name, grade in self.relevance.items() if grade > 0)

    @property
    def answer(self) -> str:
        """The canonical answer; "" where there is none."""
        return self.answers[0] if self.answers else ""


@dataclass(frozen=True)
class Collection:
    """A test collection: documents, questions with relevance judgements, and (where the source has them) facts."""

    documents: tuple[Document, ...]
    questions: tuple[Question, ...] = ()
    facts: tuple[Fact, ...] = ()

    @cached_property
    def passages(self) -> dict[str, Passage]:
        """Every passage by its id, in the order of the documents."""
        return {passage.id: passage for document in self.documents for passage in document.passages}

    def select(self, *, split: str | None = None, kinds: Sequence[str] | None = None) -> list[Question]:
        """The questions of a split, of some kinds, or both, in their order.

        Raises:
            ValueError: the collection has no question of that split or kind.
        """
        for wanted, name in [(split, "split"), *((kind, "kind") for kind in kinds or ())]:
            known = sorted({getattr(question, name) for question in self.questions})
            if wanted is not None and wanted not in known:
                raise ValueError(f"No question has the {name} {wanted!r}; there are {', '.join(map(repr, known))}.")
        return [q for q in self.questions if split in (None, q.split) and (kinds is None or q.kind in kinds)]

    def gold_text(self, question: Question) -> str:
        """The relevant passages of a question, one below the other, in the order in which it lists them."""
        return "\n".join(self.passages[name].text for name in question.passages)

    def choices(self, question: Question, k: int = 8) -> tuple[str, ...]:
        """At most k answers of one type, the right one among them: chance is 1 / their number for whoever knows nothing.

        The wrong ones are canonical answers to other questions of the same type (and any weekday or month); which ones,
        and the order, follow from a hash of the question's id, so they are the same in every run and favour no place.

        Raises:
            ValueError: k < 2, the question has no answer, or no other answer has its type.
        """
        if k < 2 or not question.answers:
            raise ValueError(f"k must be at least 2, and the question have an answer; question {question.id}, k = {k}.")
        same = [q.answer for q in self.questions if q.answers and q.answer_type == question.answer_type]
        others = {_plain(answer): answer for answer in [*same, *CALENDAR.get(question.answer_type, ())]}
        right = {_plain(answer) for answer in question.answers}
        wrong = sorted(answer for key, answer in others.items() if key not in right)
        if not wrong:
            raise ValueError(f"Question {question.id}: no other answer has its type {question.answer_type!r}.")
        chosen = sorted(wrong, key=lambda answer: _draw(question.id, answer))[: k - 1]
        return tuple(sorted([question.answer, *chosen], key=lambda answer: _draw("order of " + question.id, answer)))


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _draw(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
