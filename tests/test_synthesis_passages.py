"""Question-answer pairs on the passages of any folder of documents."""

from __future__ import annotations

import pytest

from memcourse.retrieval import sentences
from memcourse.synthesis.replies import Pair, parse_json_reply
from memcourse.synthesis.writer import grounded, passage_requests, write
from memcourse.world import read_documents

PASSAGE = "The old crane at Dock 4 lifts 12.5 tonnes. It was painted green."
[REQUEST] = passage_requests([PASSAGE])


def test_a_folder_becomes_pairs_that_stand_in_its_passages(lm, tmp_path):
    (tmp_path / "crane.md").write_text("# Crane\n\nThe old crane at Dock 4 lifts twelve tonnes.\n", encoding="utf-8")
    (tmp_path / "ferry.txt").write_text("The ferry to the lighthouse leaves at noon on Sundays.", encoding="utf-8")
    passages = [chunk.text for document in read_documents(tmp_path) for chunk in sentences(document.text)]
    written = write(lm, passage_requests(passages), 1, 3, parse=parse_json_reply, check=grounded)
    assert sum(written.outcomes.values()) == written.asked <= 3 * len(passages) and written.texts
    for pair, source in zip(written.texts, written.sources, strict=True):
        assert pair.answer.casefold() in passages[source].casefold()


@pytest.mark.parametrize(
    ("pair", "passes"),
    [
        (Pair("What does the crane at Dock 4 lift?", "12.5 tonnes"), True),
        (Pair("Which colour has the CRANE?", "Green."), True),
        (Pair("What does the crane lift?", "12 tonnes"), False),
        (Pair("What does the crane lift?", "14 tonnes"), False),
        (Pair("Does the crane lift 12.5 tonnes?", "12.5 tonnes"), False),
        (Pair("What is the capital of France?", "green"), False),
        (Pair("What does the crane lift?", "..."), False),
    ],
)
def test_a_pair_is_grounded_where_its_answer_stands_and_its_question_is_about_the_passage(pair, passes):
    assert grounded(REQUEST, pair) is passes


def test_the_passage_stands_in_one_line_before_its_json():
    [request] = passage_requests(["The crane\n  is green."])
    assert request.prompt.endswith("\n\nText: The crane is green.\nJSON:")


def test_what_is_no_passage_is_refused_before_anything_is_written():
    with pytest.raises(ValueError, match="Passage 1 has no words"):
        passage_requests([PASSAGE, " ... "])
    with pytest.raises(TypeError, match="list"):
        passage_requests(PASSAGE)
    with pytest.raises(TypeError, match="parse_json_reply"):
        grounded(REQUEST, "The crane is green.")
