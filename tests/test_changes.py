"""Changed facts: what holds today and what held before, in the town's own texts and in a small made-up table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memcourse.retrieval.citations import cite
from memcourse.retrieval.store_rows import Record
from memcourse.world import TODAY, Change, Collection, Fact, Question, changes, document, load_world

TOWN = load_world()
DOCUMENTS = {each.id: each for each in TOWN.documents}


def holds(name: str, value: str) -> bool:
    """Whether a document of the town has the value word for word."""
    text = DOCUMENTS[name].text
    return any(citation.exact for citation in cite(value, [Record("", name, 0, len(text), text)]))


@pytest.mark.parametrize("change", changes(TOWN), ids=lambda change: change.question.id)
def test_a_change_of_the_town_is_one_of_value_document_and_time(change):
    question, now, before = change
    assert (now.subject, now.attribute) == (before.subject, before.attribute)
    assert now.value != before.value and now.document != before.document
    assert now.holds_on(TODAY) and not before.holds_on(TODAY) and before.holds_on(before.valid_to)
    assert before.valid_to <= now.valid_from, "one ended before the other began"
    assert question.kind == "temporal" and question.as_of == TODAY and question.facts == (now.id,)
    assert now.value in question.answers and before.value not in question.answers
    assert holds(now.document, now.value) and holds(before.document, before.value)
    assert {TOWN.passages[name].document for name in question.passages} == {now.document}


def test_every_question_about_today_is_among_them_and_splits_share_none():
    wanted = [q.id for q in TOWN.select(kinds=["temporal"]) if q.as_of == TODAY]
    assert [change.question.id for change in changes(TOWN)] == wanted and len(wanted) == 32
    by_split = {split: changes(TOWN, split) for split in ("train", "dev", "test")}
    assert [len(found) for found in by_split.values()] == [4, 5, 23]
    assert all(change.question.split == split for split, found in by_split.items() for change in found)


def fact(name: str, value: str, first: str, last: str, **other: str) -> Fact:
    row = {"subject": "bridge", "attribute": "toll", "document": f"doc-{name}", "split": "test", **other}
    return Fact(id=name, value=value, valid_from=first, valid_to=last, **row)


NOW, BEFORE = fact("now", "3 crowns", "2025-01-01", ""), fact("before", "2 crowns", "2022-01-01", "2024-12-31")
ASKED = Question("q", "What is the toll now?", ("3 crowns",), kind="temporal", facts=("now",), split="test")


def small(*facts: Fact, question: Question = ASKED) -> Collection:
    return Collection((document("doc", "Nothing."),), (question,), facts)


def test_the_last_of_several_earlier_values_is_taken_whatever_their_order():
    first = fact("first", "1 crown", "", "2021-12-31")
    for facts in ((NOW, BEFORE, first), (first, BEFORE, NOW)):
        assert changes(small(*facts)) == [Change(ASKED, NOW, BEFORE)]


def test_a_change_that_is_still_to_come_replaced_nothing():
    coming = fact("coming", "9 crowns", "2027-01-01", "")
    assert changes(small(NOW, coming, BEFORE)) == [Change(ASKED, NOW, BEFORE)]
    with pytest.raises(ValueError, match="replaced another one"):
        changes(small(NOW, coming))


@pytest.mark.parametrize(
    "other",
    [
        {"subject": "ferry"},
        {"attribute": "width"},
        {"document": NOW.document},
        {"value": NOW.value},
        {"valid_to": ""},
        {"valid_to": "2025-06-30"},  # both held for half a year: nothing tells which one is right
    ],
)
def test_what_is_no_older_version_of_the_same_is_left_out(other):
    with pytest.raises(ValueError, match="No question of split None asks for a fact of today"):
        changes(small(NOW, replace(BEFORE, **other)))


@pytest.mark.parametrize(
    "other",
    [{"as_of": "2023-01-01"}, {"facts": ("now", "before")}, {"facts": ()}, {"facts": ("before",)}],
)
def test_a_question_about_another_day_or_other_facts_is_left_out(other):
    oldest = fact("oldest", "1 crown", "", "2021-12-31")
    with pytest.raises(ValueError, match="No question of split 'test' asks for a fact of today"):
        changes(small(NOW, BEFORE, oldest, question=replace(ASKED, **other)), "test")


def test_an_unknown_split_and_a_collection_without_such_questions_are_told():
    with pytest.raises(ValueError, match="No question has the split 'tset'"):
        changes(TOWN, "tset")
    with pytest.raises(ValueError, match="No question has the kind 'temporal'"):
        changes(small(NOW, BEFORE, question=replace(ASKED, kind="single")))
