"""Facts that changed on a day, for which an older and a newer document exist."""

from __future__ import annotations

from typing import NamedTuple

from memcourse.world.records import TODAY, Collection, Fact, Question


class Change(NamedTuple):
    """A question about today whose answer was another one before.

    Attributes:
        question: asks for what holds today.
        now, before: the fact that holds, and the one that it replaced; each names the document that states it.
    """

    question: Question
    now: Fact
    before: Fact


def changes(collection: Collection, split: str | None = None) -> list[Change]:
    """Every question of kind "temporal" that asks about today, with the fact that holds and the one that held before.

    Raises:
        ValueError: the collection has no such question in that split.
    """
    facts = {fact.id: fact for fact in collection.facts}
    found = []
    for question in collection.select(split=split, kinds=["temporal"]):
        if question.as_of != TODAY or len(question.facts) != 1:
            continue
        now = facts[question.facts[0]]
        earlier = [fact for fact in collection.facts if _replaced(fact, now)]
        if earlier and now.holds_on(TODAY):
            found.append(Change(question, now, max(earlier, key=lambda fact: fact.valid_to)))
    if not found:
        raise ValueError(f"No question of split {split!r} asks for a fact of today that replaced another one.")
    return found


def _replaced(fact: Fact, now: Fact) -> bool:
    """Whether a fact ended when, or before, another value in another document came to hold; a coming change did not."""
    same = (fact.subject, fact.attribute) == (now.subject, now.attribute)
    other = fact.value != now.value and fact.document != now.document
    return same and other and "" < fact.valid_to <= now.valid_from and not fact.holds_on(TODAY)
