"""Questions whose wrong answer stands in a nearly identical passage (the Visa/Mastercard problem)."""

from __future__ import annotations

from dataclasses import dataclass

from memcourse.world.records import Collection, Question


@dataclass(frozen=True)
class LookAlike:
    """A question with its passage, and the passage that states the same attribute of another subject.

    Attributes:
        question: the question.
        gold, rival: the right value, and the other subject's value.
        passage, rival_passage: ids of the passages that state them.
    """

    question: Question
    gold: str
    rival: str
    passage: str
    rival_passage: str


def look_alikes(collection: Collection, split: str | None = None) -> list[LookAlike]:
    """Every question of kind "look_alike" for which another subject has another value of the same attribute.

    Raises:
        ValueError: the collection has no such questions in that split.
    """
    facts = {fact.id: fact for fact in collection.facts}
    found = []
    for question in collection.select(split=split, kinds=["look_alike"]):
        fact = facts[question.facts[0]]
        others = [
            f for f in collection.facts
            if (f.attribute, f.split) == (fact.attribute, fact.split) and f.subject != fact.subject and f.value != fact.value
        ]  # fmt: skip
        passages = [p for p in collection.passages.values() if others and p.document == others[0].document]
        holding = [p.id for p in passages if others[0].value in p.text]
        if len(others) == 1 and holding:
            found.append(LookAlike(question, question.answer, others[0].value, question.passages[0], holding[0]))
    if not found:
        raise ValueError(f"No look-alike question of split {split!r} has a rival fact.")
    return found
