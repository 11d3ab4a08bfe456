"""Quality of synthetic texts: measures as computed by hand and by torchmetrics, leaks and wrong facts found, none twice."""

from __future__ import annotations

import gzip
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.text import bleu_score

from memcourse.synthesis.diversity import compression_ratio, distinct_n, self_bleu
from memcourse.synthesis.fact_table import FactTable, KnownValues
from memcourse.synthesis.quality import Leak, overlapping, refuse_leaks, unfaithful
from memcourse.world import make_people

ROWS = st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=8), min_size=2, max_size=7)


def test_distinct_n_by_hand():
    texts = ["The ferry leaves.", "the ferry waits"]
    assert distinct_n(texts, 1) == 4 / 6 and distinct_n(texts, 2) == 3 / 4 and distinct_n(texts, 3) == 1
    assert distinct_n(["a b", "b a"], 2) == 1, "no n-gram goes from one text to the next"
    assert distinct_n(["a a a a", ""], 2) == 1 / 3


def test_self_bleu_by_hand():
    # "a a b c" against "a b c c c" and "a b d": clipped a:1 b:1 c:1 of 4; ab, bc of 3; abc of 2; 0.1 of 1 four-gram.
    # The lengths 5 and 3 are equally near to 4: the shorter one is the reference, so there is no penalty.
    first = (3 / 4 * 2 / 3 * 1 / 2 * 0.1 / 1) ** (1 / 4)
    second = (3 / 5 * 2 / 4 * 1 / 3 * 0.1 / 2) ** (1 / 4)  # a, b, one c; ab, bc; abc
    third = (2 / 3 * 1 / 2 * 0.1 / 1) ** (1 / 3) * math.exp(1 - 4 / 3)  # no four-gram; the closest has 4 words
    assert self_bleu(["a a b c", "a b c c c", "A b, d."]) == pytest.approx((first + second + third) / 3, rel=1e-12)


def slow_self_bleu(rows: list[list[str]], n: int) -> float:
    """The definition, with every other text as a reference of its own."""

    def grams(row: list[str], order: int) -> Counter[tuple[str, ...]]:
        return Counter(tuple(row[i : i + order]) for i in range(len(row) - order + 1))

    scores = []
    for i, row in enumerate(rows):
        others, product, orders = rows[:i] + rows[i + 1 :], 1.0, min(n, len(row))
        for order in range(1, orders + 1):
            allowed: Counter[tuple[str, ...]] = Counter()
            for other in others:
                allowed |= grams(other, order)
            product *= ((grams(row, order) & allowed).total() or 0.1) / (len(row) - order + 1)
        closest = min((abs(len(other) - len(row)), len(other)) for other in others)[1]
        scores.append(product ** (1 / orders) * min(1.0, math.exp(1 - closest / len(row))))
    return float(np.mean(scores))


@given(ROWS, st.integers(1, 5))
@settings(max_examples=200, deadline=None)
def test_self_bleu_follows_its_definition(rows, n):
    assert self_bleu([" ".join(row) for row in rows], n) == pytest.approx(slow_self_bleu(rows, n), rel=1e-9)


def test_self_bleu_is_that_of_torchmetrics_where_nothing_is_smoothed():
    people = make_people(3, 4, seed=0)
    texts = [text for person in people.people for text in people.biographies(person, 4, wordings=2)]
    plain = [text.lower().replace(".", "").replace(",", "").replace("'", " ") for text in texts]
    theirs = [float(bleu_score([plain[i]], [plain[:i] + plain[i + 1 :]])) for i in range(len(plain))]
    assert min(theirs) > 0.2 and self_bleu(texts) == pytest.approx(np.mean(theirs), rel=1e-5)


def test_diversity_falls_with_fewer_wordings():
    people = make_people(20, 4, seed=0)
    few, many = ([t for p in people.people for t in people.biographies(p, 6, wordings=w)] for w in (1, 6))
    assert distinct_n(few) < distinct_n(many) and compression_ratio(few) > compression_ratio(many)
    assert self_bleu(few) > self_bleu(many) and self_bleu(["the same few words"] * 3) == pytest.approx(1)


def test_compression_ratio_is_bytes_before_by_bytes_after():
    texts = ["The quay is long, and é has two bytes.", "Nine gulls sat on the office."] * 40
    raw = "\n".join(texts).encode()
    after = len(gzip.compress(raw, 9)) - 12  # gzip's header and tail are 12 bytes longer than zlib's
    assert compression_ratio(texts) == len(raw) / after > 20


QUESTIONS = ["Which pet does Ada Quillovel keep in the old house by the quay?", "Who rings the bell?"]


@pytest.mark.parametrize(
    ("text", "n", "leak"),
    [
        ("Tell me, which PET does Ada Quillovel keep in the old barn?", 8, (0, "which pet does ada quillovel keep in the")),
        ("Tell me, which pet does Ada Quillovel keep?", 8, None),
        ("Tell me, which pet does Ada Quillovel keep?", 6, (0, "which pet does ada quillovel keep")),
        ("Nobody knows who rings the bell at night.", 8, (1, "who rings the bell")),
        ("Nobody knows who rings the bell at night.", 3, (1, "who rings the")),
        ("The bell rings; who hears it in the old house by the quay?", 8, None),
        ("", 8, None),
    ],
)
def test_leaks_are_runs_of_n_words_or_whole_short_questions(text, n, leak):
    assert overlapping(["A gull sat down.", text], QUESTIONS, n) == ([Leak(1, *leak)] if leak else [])


@given(ROWS, ROWS, st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_leaks_follow_their_definition(texts, questions, n):
    def runs(row: list[str], size: int) -> set[tuple[str, ...]]:
        return {tuple(row[i : i + size]) for i in range(len(row) - size + 1)}

    expected = [i for i, t in enumerate(texts) if any(runs(t, m) & runs(q, m) for q in questions for m in [min(n, len(q))])]
    found = overlapping([" ".join(t) for t in texts], [" ".join(q) for q in questions], n)
    assert [leak.text for leak in found] == expected
    for leak in found:
        size = min(n, len(questions[leak.question]))
        assert tuple(leak.shared.split()) in runs(texts[leak.text], size) & runs(questions[leak.question], size)


def test_leaks_are_refused_by_name():
    clean = ["A gull sat down.", "The ferry leaves at nine."]
    refuse_leaks(clean, QUESTIONS)
    with pytest.raises(ValueError, match=r"2 of 4 texts .* text 2 shares 'who rings the bell' with question 1"):
        refuse_leaks([*clean, "Guess who rings the bell.", QUESTIONS[0]], QUESTIONS)


VALUES = {
    "colour": ["blue", "dark", "dark blue", "red"],
    "born": ["Lund", "Ystad"],
    "works": ["Ystad", "St. Ives"],
    "fee": ["2,400", "400"],
}
FACTS = {"colour": "blue", "born": "Lund", "works": "Ystad", "fee": "400"}


@pytest.mark.parametrize(
    ("text", "wrong", "missing"),
    [
        ("Blue is the door in Lund; the way to Ystad costs 400.", (), ()),
        ("A dark blue door in Lund; the way to Ystad costs 400.", (("colour", "dark blue"),), ("colour",)),
        ("A blue door, a red one, a red one, in Lund and Ystad: 400.", (("colour", "red"),), ()),
        ("Blueish Lunds, ystadian 4000.", (), ("colour", "born", "works", "fee")),
        ("Blue, Lund, Ystad: 2,400 crowns.", (("fee", "2,400"),), ("fee",)),
        ("Blue, 400, in Lund, and works at ST  IVES", (("works", "St. Ives"),), ("works",)),
        ("", (), ("colour", "born", "works", "fee")),
    ],
)
def test_wrong_and_missing_values_are_found(text, wrong, missing):
    found = unfaithful(text, FACTS, VALUES)
    assert found == (wrong, missing) == unfaithful(text, FACTS, KnownValues(VALUES))
    assert bool(found) == bool(wrong or missing)


def test_only_what_was_promised_is_missing_and_a_name_is_no_value():
    table = KnownValues({"trade": ["baker", "nurse"], "pet": ["fox"]})
    facts = {"trade": "nurse", "pet": "fox"}
    assert unfaithful("Rex Baker is a nurse.", facts, table, ["trade"]).wrong == (("trade", "baker"),)
    assert not unfaithful("Rex Baker is a nurse.", facts, table, ["trade"], ignored=["Rex Baker", "..."])
    assert unfaithful("Rex Baker is a baker.", facts, table, [], ["Rex Baker"]).wrong == (("trade", "baker"),)
    assert not unfaithful("Nothing at all.", facts, table, promised=[])


def test_every_true_biography_is_faithful_and_another_persons_is_not():
    people = make_people(200, 6, seed=1)
    table = FactTable.of_people(people)
    for person, other in zip(people.people, people.people[1:], strict=False):
        (text,) = people.biographies(person)
        assert not unfaithful(text, table.facts_of(person.name), table), text
        wrong, missing = unfaithful(text, other.values, table)
        differing = {name for name in person.values if person.values[name] != other.values[name]}
        assert set(missing) == differing and {name for name, _ in wrong} >= differing


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: distinct_n(["a b"], 0), ValueError, "n must be at least 1, not 0"),
        (lambda: distinct_n(["a b"], 3), ValueError, "No text has 3 words"),
        (lambda: distinct_n("a b"), TypeError, "put the single text into a list"),
        (lambda: self_bleu(["a b"]), ValueError, "at least two texts with words; of 1, 0 have none"),
        (lambda: self_bleu(["a b", "?"]), ValueError, "of 2, 1 have none"),
        (lambda: self_bleu(["a", "b"], 0), ValueError, "n must be at least 1"),
        (lambda: compression_ratio(["", ""]), ValueError, "no text to compress"),
        (lambda: overlapping(["a"], ["?"]), ValueError, "Question 0 has no words"),
        (lambda: overlapping(["a"], [], 0), ValueError, "n must be at least 1"),
        (lambda: overlapping(["a"], "a question"), TypeError, "A list of questions is needed"),
        (lambda: unfaithful("", {"colour": "green"}, VALUES), ValueError, "no value 'green' of 'colour'"),
        (lambda: unfaithful("", {"size": "blue"}, VALUES), ValueError, "no value 'blue' of 'size'"),
        (lambda: unfaithful("", FACTS, VALUES, ["size"]), ValueError, "'size' is promised, but .* colour, born"),
    ],
)
def test_what_makes_no_sense_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
