"""Python's language reference as a test collection: spans, relevance, questions that this version of Python can't answer."""

from __future__ import annotations

import json
import re
import sys
import types
from collections import Counter

import pytest

from memcourse import world
from memcourse.errors import CourseError

from .conftest import ROOT

FILE = ROOT / "data" / "python_questions.jsonl"
ROWS = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
REFERENCE = world.load_python_reference()
ASKED = pytest.mark.parametrize("question", REFERENCE.questions, ids=lambda question: question.id)
ROW = {row["id"]: row for row in ROWS}


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def one_line(text: str) -> str:
    """The text without line breaks; topics never break a word except after its own hyphen."""
    return re.sub(r"\s+", " ", re.sub(r"-\n\s*", "-", text))


# ---- the file


def test_the_file_is_plain_and_nothing_in_it_stands_twice():
    raw = FILE.read_bytes()
    assert raw.isascii() and b"\r" not in raw and raw.endswith(b"}\n")
    assert [row["id"] for row in ROWS] == [f"py{number:02}" for number in range(1, 41)]
    assert len({row["question"] for row in ROWS}) == 40
    every = [answer.lower() for row in ROWS for answer in row["answers"]]
    assert len(set(every)) == len(every), "two questions share an answer"


def test_fields_and_splits_are_those_of_the_datasheet():
    assert Counter(row["split"] for row in ROWS) == {"dev": 12, "test": 28}
    for row in ROWS:
        assert set(row) == {"id", "question", "answers", "topics", "split"}
        assert re.fullmatch(r"[A-Z][^?]*\?", row["question"]) and "  " not in row["question"]
        assert 1 <= len(row["topics"]) <= 2 and all(1 <= len(answer.split()) <= 4 for answer in row["answers"])


def test_no_question_gives_its_answer_away():
    for row in ROWS:
        assert not any(re.search(rf"(?<!\w){re.escape(a)}(?!\w)", row["question"], re.I) for a in row["answers"]), row["id"]


# ---- the collection on the Python that runs


def test_there_is_a_document_for_each_topic_and_spans_hold():
    from pydoc_data.topics import topics

    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert {d.id: d.text for d in REFERENCE.documents} == topics
    for document in REFERENCE.documents:
        assert document.title == document.id
        assert document.metadata == {"source": "pydoc_data.topics", "python": version}
        assert all(document.text[p.start : p.end] == p.text for p in document.passages)
    assert len(REFERENCE.passages) > 2000, "the reference is no toy"


def test_most_questions_are_usable_and_the_rest_is_named():
    assert len(REFERENCE.questions) >= 36
    there = [question.id for question in REFERENCE.questions]
    assert sorted([*there, *REFERENCE.left_out]) == list(ROW)
    assert len(REFERENCE.select(split="dev")) >= 10 and len(REFERENCE.select(split="test")) >= 25


@ASKED
def test_an_answer_stands_in_each_relevant_passage_and_a_topic_of_the_question_holds_one(question):
    row = ROW[question.id]
    assert (question.text, list(question.answers), question.split) == (row["question"], row["answers"], row["split"])
    passages = [REFERENCE.passages[name] for name in question.passages]
    assert all(any(answer in one_line(passage.text) for answer in question.answers) for passage in passages)
    assert {passage.document for passage in passages} & set(row["topics"])
    assert 1 <= len({one_line(passage.text) for passage in passages}) <= 4, "the answer would be everywhere"


@ASKED
def test_no_question_copies_six_words_in_a_row_from_its_passage(question):
    asked = words(question.text)
    runs = {tuple(asked[i : i + 6]) for i in range(len(asked) - 5)}
    for name in question.passages:
        text = words(REFERENCE.passages[name].text)
        assert not runs & {tuple(text[i : i + 6]) for i in range(len(text) - 5)}


def test_a_passage_that_stands_in_several_topics_is_relevant_in_each():
    pep = next(question for question in REFERENCE.questions if question.answer == "PEP 343")
    assert {"with", "context-managers", "compound"} <= {name.partition("#")[0] for name in pep.passages}


# ---- other texts


TOPICS = {
    "return": 'Ends.\n\n  A generator raises\n  "StopIteration" then.\n\nStopIterations are no such thing.\n',
    "copy": 'More.\n\nA generator\nraises "StopIteration" then.\n\nStopIteration in other words.',
    "objects": "It has a reference-\ncounting scheme.\n\nA Reference-counting one.",
}


def small(topics: dict[str, str] = TOPICS) -> dict[str, tuple[str, ...]]:
    return {question.answer: question.passages for question in world.load_python_reference(topics).questions}


def test_relevance_is_the_answer_as_a_word_in_the_topic_or_a_copy_of_that_passage():
    assert small() == {"StopIteration": ("return#2", "copy#2"), "reference-counting": ("objects#1",)}


def test_a_changed_topic_drops_its_question_and_it_is_counted():
    before = world.load_python_reference(TOPICS)
    after = world.load_python_reference(TOPICS | {"objects": "It counts."})
    assert (len(before.questions), len(before.left_out)) == (2, 38)
    lost = next(question.id for question in before.questions if question.answer == "reference-counting")
    assert set(after.left_out) - set(before.left_out) == {lost} and len(after.questions) == 1
    without = {name: text for name, text in TOPICS.items() if name != "objects"}
    assert world.load_python_reference(without).left_out == after.left_out


@pytest.mark.parametrize("fake", [None, types.ModuleType("pydoc_data.topics")], ids=["missing", "hollow"])
def test_a_python_without_the_reference_says_what_to_install(monkeypatch, fake):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", fake)
    with pytest.raises(CourseError, match=r"pydoc_data\.topics.*install.*libpython3-stdlib") as caught:
        world.load_python_reference()
    assert len(re.findall(r"[.!?](?:\s|$)", str(caught.value))) == 1, "one sentence"
    assert world.load_python_reference(TOPICS).questions, "texts that are handed over need no module"


@pytest.mark.parametrize(("topics", "named"), [({}, "empty"), ({"if": 3}, r"'if', 3"), ({1: "text"}, r"1, 'text'")])
def test_topics_that_are_no_texts_are_refused(topics, named):
    with pytest.raises(ValueError, match=rf"topics must map names to texts.*{named}"):
        world.load_python_reference(topics)
