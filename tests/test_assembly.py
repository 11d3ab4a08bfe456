"""Assembly: the question stays whole, the answer keeps its room, the worst passages go first, and what went is told."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memcourse.model import Example
from memcourse.model.prompts import open_question, prompt_head
from memcourse.retrieval import Record, assemble

from .model_support import tiny_lm

QUESTION = "Who keeps the lamp of Port Ember?"
HEAD = prompt_head([Example("Who sings?", "Rex", "Rex sings.")], "Answer from the passage.")
WORDS = ["lamp", "keeper", " ", "\n", "Ember", "1999", "é", "漢字", "🐕", "👩‍🚀", "--", "unbelievably"]


def record(text, number=0, start=0):
    return Record(f"{number:032x}", f"d{number}", start, start + len(text), text)


RECORDS = [record(text, i) for i, text in enumerate(["Ada keeps it.", "The lamp is old and bright.", "Ember lies far off."])]


def size(lm, records, question=QUESTION, head=""):
    return len(lm.encode(head + open_question(question, " ".join(r.text.strip() for r in reversed(records)) or None)))


def test_all_fit_and_the_best_stands_next_to_the_question(lm):
    found = assemble(lm, QUESTION, RECORDS, head=HEAD)
    assert found.text == (
        "Passage: Ember lies far off. The lamp is old and bright. Ada keeps it.\n"
        "Question: Who keeps the lamp of Port Ember?\nAnswer:"
    )
    assert found.used == tuple(RECORDS) and found.cut == ()
    assert found.tokens == len(lm.encode(HEAD + found.text)) == size(lm, RECORDS, head=HEAD)


def test_without_passages_there_is_the_question_alone(lm):
    assert assemble(lm, QUESTION, []) == (open_question(QUESTION), (), (), size(lm, []))


@pytest.mark.parametrize("kept", [3, 2, 1])
def test_o48_the_worst_are_left_out_as_soon_as_one_token_is_missing(lm, kept):
    exact = size(lm, RECORDS[:kept], head=HEAD) + 7
    found = assemble(lm, QUESTION, RECORDS, head=HEAD, room=7, limit=exact)
    assert found.used == tuple(RECORDS[:kept]) and found.cut == tuple(RECORDS[kept:]) and found.tokens == exact - 7
    fewer = assemble(lm, QUESTION, RECORDS, head=HEAD, room=7, limit=exact - 1)
    assert len(fewer.used) == max(kept - 1, 1) and fewer.tokens <= exact - 8
    assert fewer.cut == tuple(RECORDS[kept - 1 :])


def test_passages_between_one_that_is_kept_and_a_long_one_come_back(lm):
    """A long passage at the end makes the guess drop too many; those that fit are taken again."""
    records = [*RECORDS, record("Very long. " * 400, 9)]
    found = assemble(lm, QUESTION, records, room=8, limit=size(lm, RECORDS) + 8)
    assert found.used == tuple(RECORDS) and found.cut == (records[-1],)


def test_o48_the_end_of_the_best_is_cut_off_where_not_even_it_fits(lm):
    document = "Preface. " + "The lamp of Port Ember is kept by Ada Byrne, 漢字 🐕 and others. " * 9
    long = record(document[9:], 3, start=9)
    limit = size(lm, []) + 20
    found = assemble(lm, QUESTION, [long, *RECORDS], room=4, limit=limit)
    (shorter,) = found.used
    assert found.cut == (long, *RECORDS), "what is shortened is reported, too"
    assert document[shorter.start : shorter.end] == shorter.text and shorter.start == 9 < shorter.end < long.end
    assert (shorter.id, shorter.document) == (long.id, long.document)
    assert found.text == open_question(QUESTION, shorter.text) and found.tokens == size(lm, [shorter]) <= limit - 4
    longer = lm.encode(open_question(QUESTION, document[9 : shorter.end + 12]))
    assert len(longer) > limit - 4, "as much as fits is kept"


def test_o48_where_no_token_of_a_passage_fits_only_the_question_is_left(lm):
    found = assemble(lm, QUESTION, RECORDS, room=0, limit=size(lm, []))
    assert found == (open_question(QUESTION), (), tuple(RECORDS), size(lm, []))


@pytest.mark.parametrize("limit", [None, 64, 65, 10**9])
def test_o48_no_limit_goes_beyond_the_window(limit):
    lm = tiny_lm(window=64)
    records = [record("The lamp is old. " * 3, i) for i in range(9)]
    found = assemble(lm, QUESTION, records, room=10, limit=limit)
    assert 40 < found.tokens <= 54 and len(found.used) < 9
    assert lm.generate(found.text, 10) is not None, "the model has room for it and the answer"


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=25).map(" ".join), max_size=6),
    st.lists(st.sampled_from(WORDS), max_size=6),
    st.integers(0, 120),
    st.integers(0, 30),
)
def test_o48_whatever_the_lengths_the_question_is_whole_and_the_answer_has_room(texts, words, limit, room):
    lm = tiny_lm()
    question = " ".join(["Who?", *words])
    records = [record(text, i) for i, text in enumerate(texts) if text.strip()]
    limit = min(limit + size(lm, [], question, HEAD) + room, 200)
    lm = Wide(lm)
    found = assemble(lm, question, records, head=HEAD, room=room, limit=limit)
    assert found.text.endswith(open_question(question))
    assert found.tokens == len(lm.encode(HEAD + found.text)) <= limit - room
    n = len(records) - len(found.cut)
    assert found.cut == tuple(records[n:])
    if n or not records:
        assert found.used == tuple(records[:n])
        assert n == len(records) or size(lm, records[: n + 1], question, HEAD) > limit - room, "one more doesn't fit"
    for one in found.used[n:]:
        assert records[0].text.startswith(one.text) and one.end == len(one.text) < records[0].end


class Wide:
    """The real tokenizer with a window of 200, without a model."""

    def __init__(self, lm):
        self.window, self.tokenizer, self.encode = 200, lm.tokenizer, lm.encode


@pytest.mark.parametrize("limit", [0, 5, -3])
def test_o48_a_question_that_does_not_fit_is_refused_and_not_cut(lm, limit):
    with pytest.raises(
        ValueError, match=rf"begins with 'Who keeps.* takes \d+ tokens .* 3 for the .* more than the {limit} "
    ):
        assemble(lm, QUESTION, RECORDS, room=3, limit=limit)


def test_a_question_for_which_the_examples_leave_no_room_is_refused(lm):
    assemble(lm, QUESTION, [], room=3, limit=size(lm, [], head=HEAD) + 3, head=HEAD)
    with pytest.raises(ValueError, match="give fewer examples"):
        assemble(lm, QUESTION, [], room=3, limit=size(lm, [], head=HEAD) + 2, head=HEAD)
    with pytest.raises(ValueError, match="question is empty"):
        assemble(lm, " \n", RECORDS)
    with pytest.raises(ValueError, match="0 tokens or more, not -1"):
        assemble(lm, QUESTION, RECORDS, room=-1)
