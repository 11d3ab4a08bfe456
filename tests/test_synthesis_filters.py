"""A chain of checks keeps what passes all, counts what each drops, and reads whatever was written."""

from __future__ import annotations

import time

import numpy as np
import pytest

from memcourse.synthesis.duplicates import without_near_duplicates
from memcourse.synthesis.fact_table import FactTable
from memcourse.synthesis.filters import Report, each, filtered, no_leaks, no_near_duplicates
from memcourse.synthesis.quality import unfaithful
from memcourse.synthesis.replies import Pair
from memcourse.synthesis.rewrites import Text, question_answers, rewrite_texts
from memcourse.world import make_people


def test_a_filter_counts_each_text_for_its_first_reason():
    texts = ["one two", "one two", "a", "a b c d", "leak here now", "leak"]
    seen = []

    def no_repeats(left: list[str]) -> np.ndarray:
        seen.append(list(left))
        kept = set(without_near_duplicates(left).kept)
        return np.array([i in kept for i in range(len(left))])

    kept, report = filtered(
        texts, {"short": each(lambda t: len(t.split()) > 1), "leak": each(lambda t: "leak" not in t), "repeat": no_repeats}
    )
    assert kept == ["one two", "a b c d"] and seen == [["one two", "one two", "a b c d"]]
    assert report == Report(("short", "leak", "repeat"), (None, "repeat", "short", None, "leak", "short"))
    assert report.kept == 2 and report.dropped == {"short": 2, "leak": 1, "repeat": 1}
    assert str(report) == "kept 2 of 6 (dropped: 2 short, 1 leak, 1 repeat)"


def test_filters_without_texts_or_checks():
    assert filtered([], {"short": each(bool)}) == ([], Report(("short",), ()))
    kept, report = filtered([("Ada", "a"), ("Ben", "")], {})
    assert len(kept) == report.kept == 2 and str(report) == "kept 2 of 2"
    kept, report = filtered(["a", "b"], {"all": each(lambda t: False), "rest": lambda left: 1 / 0})
    assert kept == [] and report.dropped == {"all": 2, "rest": 0}


@pytest.fixture(scope="module")
def kit():
    return make_people(50, ["pet", "trade", "food"], values=12)


@pytest.fixture(scope="module")
def table(kit):
    return FactTable.of_people(kit)


@pytest.fixture(scope="module")
def texts(kit, table):
    """Two rewrites of each person; then a false value, a near copy of the second text, and a question of the test."""
    *good, first, second = rewrite_texts(table, 3, seed=0)[:102]
    value = table.rows[first.facts[0]].value
    other = next(known for known in table.values["pet"] if known != value)
    asked = kit.questions()[0].question
    copied = good[1]._replace(text=good[1].text.replace(". ", "! ").upper())
    return [
        *good,
        first._replace(text=first.text.replace(value, other)),
        copied,
        second._replace(text=f"{second.text} {asked}"),
    ]


def test_a_chain_over_rewrites_drops_the_false_the_near_and_the_leaking_one(kit, table, texts):
    # as a notebook has it
    questions = [q.question for q in kit.questions()]
    true = each(lambda t: not unfaithful(t.text, table.facts_of(table.rows[t.facts[0]].subject), table))
    checks = {"unfaithful": true, "near-duplicate": no_near_duplicates(0.8), "test question": no_leaks(questions)}
    kept, report = filtered(texts, checks)
    assert kept == texts[:-3] and report.reasons[-3:] == tuple(checks)
    assert str(report) == "kept 100 of 103 (dropped: 1 unfaithful, 1 near-duplicate, 1 test question)"
    for i, name in enumerate(checks):
        some, _ = filtered(texts, {other: check for other, check in checks.items() if other != name})
        assert some == [*kept, texts[i - 3]], "what a check drops passes the others"


def test_strings_pairs_and_texts_with_a_prompt_are_read_whole(kit, table):
    asked, answer = kit.questions()[0].question, kit.questions()[0].answer
    clean = "The ferry leaves at nine."
    mixed = [clean, f"So: {asked}", Pair(asked, answer), Pair("When?", "At nine.")]
    assert no_leaks([asked])(mixed) == [True, False, False, True]
    learnt = question_answers(table)
    assert no_leaks([asked])(learnt) == [asked not in text.prompt for text in learnt], "a prompt leaks too"
    split = Text("ferry leaves at nine.", (), "answer", "The ")
    alike = [clean, split, Pair("The ferry", "leaves at nine"), "A gull sat down."]
    assert no_near_duplicates()(alike) == [True, False, False, True]


def test_a_thousand_short_texts_are_checked_in_a_moment(kit, table):
    texts = rewrite_texts(table, 20, seed=0)
    begin = time.process_time()
    true = each(lambda t: not unfaithful(t.text, table.facts_of(table.rows[t.facts[0]].subject), table))
    checks = {"true": true, "new": no_near_duplicates(), "leak": no_leaks([q.question for q in kit.questions()])}
    _, report = filtered(texts, checks)
    assert len(texts) == 1000 and report.dropped["true"] == report.dropped["leak"] == 0
    assert time.process_time() - begin < 2, "seconds of CPU time"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: filtered("text", {}), TypeError, "put the single text into a list"),
        (lambda: filtered(["a", "b"], {"odd": lambda t: True}), ValueError, "'odd' must answer True or False for each of 2"),
        (lambda: filtered(["a", "b"], {"odd": lambda t: [True]}), ValueError, "'odd' must answer"),
        (lambda: filtered(["a", "b"], {"odd": lambda t: [0, 1]}), ValueError, "'odd' must answer"),
        (lambda: no_near_duplicates(0), ValueError, "above 0 and not above 1"),
        (lambda: no_near_duplicates(k=0), ValueError, "at least 1 word, not 0"),
        (lambda: no_leaks(["Who?"], 0), ValueError, "n must be at least 1"),
        (lambda: no_leaks(["?"]), ValueError, "Question 0 has no words"),
        (lambda: no_leaks("Who?"), TypeError, "A list of questions is needed"),
        (lambda: no_leaks([])([("Ada", "a text")]), TypeError, "reads strings, Text and Pair, not tuple"),
    ],
)
def test_what_makes_no_sense_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
