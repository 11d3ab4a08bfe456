"""A table of facts holds what its rows say, refuses what makes no sense, and finds its values in texts."""

from __future__ import annotations

import csv
import io

import pytest

from memcourse.synthesis.fact_table import FactTable, KnownValues, phrases
from memcourse.world import make_people

KITE = {
    "statements": ["{name} costs {value}.", "The price of {name} is {value}.", "For {value} you get {name}."],
    "reversed": ["{value} buys {name}."], "questions": ["How much must one pay for {name}?"], "label": "price",
}  # fmt: skip
SHAPE = {"statements": ["{name} is {value}.", "Among kites {name} is {value}."], "questions": ["Which form has {name}?"]}
KITES = FactTable(
    [("Moth", "cost", "12"), ("Moth", "shape", "round"), ("Crane", "cost", "30"), ("Crane", "shape", "round"),
     ("Ember", "cost", "12"), ("Ember", "shape", "square")],
    {"cost": KITE, "shape": SHAPE},
)  # fmt: skip


def test_what_is_near_a_question_is_left_out_of_the_table():
    near = {
        "statements": ["{name} is sold for {value}.", "For {value} you get {name}."],
        "reversed": ["{value} is what {name} is sold for."],
        "questions": ["What is {name} sold for?"], "clozes": ["For whom is {name}"],
    }  # fmt: skip
    table = FactTable([("Moth", "cost", "12")], {"cost": near})
    assert table.apart(2).wordings["cost"].statements == ("For {value} you get {name}.",)
    assert table.apart(2).wordings["cost"].reversed == () and table.apart(4).wordings == table.wordings
    with pytest.raises(ValueError, match="no statement on 'cost', or all are too near a question"):
        table.apart(1)
    assert phrases("{name} is, as all know, Red.", 3) == {
        ("{name}", "is", "as"), ("is", "as", "all"), ("as", "all", "know"), ("all", "know", "red")
    }  # fmt: skip


def test_a_table_knows_the_values_of_each_subject_and_attribute():
    assert KITES.values == {"cost": ("12", "30"), "shape": ("round", "square")}
    assert KITES.facts_of("Ember") == {"cost": "12", "shape": "square"}
    with pytest.raises(ValueError, match="no facts on 'Wasp'; its first subject is 'Moth'"):
        KITES.facts_of("Wasp")
    kit = make_people(40, 4, values=8)
    table = FactTable.of_people(kit)
    assert all(table.facts_of(person.name) == person.values for person in kit.people)
    assert {name: set(values) for name, values in table.values.items()} == {a.name: set(a.values) for a in kit.attributes}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A dark blue door, then a blue one.", ["dark blue", "blue"]),
        ("Rex Baker, a nurse, knows Rex the baker.", ["nurse", "baker"]),
        ("Blue is a crew; the Blueish and the catalogue are not.", ["blue"]),
        ("", []),
    ],
)
def test_values_are_found_as_whole_words_the_longest_first_and_not_in_names(text, found):
    known = KnownValues(
        {"colour": ["blue", "dark blue"], "trade": ["baker", "nurse"], "crew": ["Blue"]}, ["Rex Baker", "Blue"]
    )
    assert [" ".join(key) for key in known.standing_in(text)] == found
    assert known.meanings[("blue",)] == {"colour": "blue", "crew": "Blue"}


def test_a_table_finds_its_values_but_not_in_its_subjects_names():
    trade = {"statements": ["{name} is a {value}."]}
    table = FactTable([("Rex Baker", "trade", "nurse"), ("Ada Nurse", "trade", "baker")], {"trade": trade})
    assert table.known.standing_in("Rex Baker is a nurse, Ada Nurse is not.") == [("nurse",)]
    assert table.known is table.known, "made once, for many texts"


def test_a_table_comes_from_any_records():
    file = io.StringIO("kite,cost,shape\nMoth,12,round\nCrane, 30 ,\n", newline="")
    table = FactTable.of_records(csv.DictReader(file), {"cost": KITE, "shape": SHAPE}, "kite")
    assert table.rows == (("Moth", "cost", "12"), ("Moth", "shape", "round"), ("Crane", "cost", "30"))
    assert table.subjects == {"Moth": (0, 1), "Crane": (2,)} and table.wordings["cost"].name == "price"
    assert table.wordings["shape"].name == "shape" and table.wordings["cost"].values == ("12", "30")
    assert FactTable.of_records([{"name": "Moth", "cost": 0}], {"cost": KITE}).rows == (("Moth", "cost", "0"),)
    with pytest.raises(ValueError, match="must each be a text, unlike"):
        FactTable.of_records([{"cost": "12"}], {"cost": KITE})


ROW = [("Moth", "cost", "12")]


@pytest.mark.parametrize(
    ("rows", "wordings", "message"),
    [
        ([], {"cost": KITE}, "at least one row"),
        ([("Moth", "", "12")], {"": KITE}, "must each be a text, unlike"),
        ([("Moth", "cost", 12)], {"cost": KITE}, "must each be a text, unlike"),
        ([("Moth", "size", "12")], {"cost": KITE}, "attribute 'size', but no wordings for it"),
        ([*ROW, ("Moth", "cost", "13")], {"cost": KITE}, r"\('Moth', 'cost'\) stands in several rows"),
        (ROW, {"cost": {"statements": ["{name} is dear."]}}, r"'\{name\} is dear.' must have \{name\} and \{value\}"),
        (ROW, {"cost": {"statements": ["It costs {value}."]}}, r"must have \{name\} and \{value\} and no other brace"),
        (ROW, {"cost": {"statements": ["{name} costs {value}. {"]}}, "no other brace"),
        (ROW, {"cost": {"statements": ["{name!r} costs {value}."]}}, "no other brace"),
        (ROW, {"cost": {"statements": ["{name} costs {value}"]}}, "must end with a full stop"),
        (ROW, {"cost": {"statements": "{name} costs {value}."}}, "must be a list of different wordings"),
        (ROW, {"cost": {"statements": ["{name} costs {value}."] * 2}}, "must be a list of different wordings"),
        (ROW, {"cost": {"statements": []}}, "no statement on 'cost'"),
        (ROW, {"cost": {**KITE, "reversed": ["{name} costs {value}."]}}, r"must have \{value\} before \{name\}"),
        (
            ROW,
            {"cost": {**KITE, "questions": ["Does {name} cost {value}?"]}},
            r"questions .* must have \{name\} and no other",
        ),
        (ROW, {"cost": {**KITE, "question": ["What?"]}}, "those on 'cost' have {'question'}"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(rows, wordings, message):
    with pytest.raises(ValueError, match=message):
        FactTable(rows, wordings)


@pytest.mark.parametrize(
    ("values", "names", "error", "message"),
    [
        ({"a": ["C", "C++"]}, [], ValueError, r"'C' and 'C\+\+' of 'a' differ in punctuation only"),
        ({"a": ["b", "++"]}, [], ValueError, r"A value of 'a' has no words to look for: '\+\+'"),
        ({"a": "blue"}, [], TypeError, "A list of values is needed"),
        ({"a": ["blue"]}, "Rex", TypeError, "A list of names is needed"),
    ],
)
def test_values_that_cannot_be_looked_for_are_refused(values, names, error, message):
    with pytest.raises(error, match=message):
        KnownValues(values, names)
