"""Exercises: right answers pass, every known mistake meets its own message, and whatever else is tried gets a sentence."""

from __future__ import annotations

import copy
import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memcourse.course import notes
from memcourse.course.exercises import EXERCISES, check, judge, solution
from memcourse.course.exercises.exercise import Exercise, Mistake, same

each = pytest.mark.parametrize("exercise", EXERCISES.values(), ids=lambda exercise: exercise.id)
PUZZLES = [exercise for exercise in EXERCISES.values() if exercise.broken]
MISTAKES = [(exercise, mistake) for exercise in EXERCISES.values() for mistake in exercise.mistakes]
RIGHT = [(exercise, right) for exercise in EXERCISES.values() for right in exercise.alternatives]


def stub(*arguments):
    raise NotImplementedError


@pytest.fixture(autouse=True)
def nothing_noted(fresh_home, monkeypatch):
    monkeypatch.setattr(notes, "_unwritten", {})


# ---- The exercises of the course -------------------------------------------------------------------------------


@each
def test_o25_the_reference_passes(exercise):
    assert judge(exercise, exercise.reference) == ("passed", f"passed ({len(exercise.cases)} checks).")


@pytest.mark.parametrize(("exercise", "right"), RIGHT, ids=[f"{one.id}-{i}" for i, (one, _) in enumerate(RIGHT)])
def test_o25_a_right_answer_written_differently_passes(exercise, right):
    assert judge(exercise, right)[0] == "passed"


@pytest.mark.parametrize(("exercise", "mistake"), MISTAKES, ids=[f"{one.id}-{i}" for i, (one, _) in enumerate(MISTAKES)])
def test_o25_a_mistake_is_refused_with_its_own_message(exercise, mistake):
    status, text = judge(exercise, mistake.answer)
    assert status == "wrong" and text.endswith(mistake.message)
    others = [other.message for other in exercise.mistakes if other is not mistake]
    assert not any(message in text for message in others) and len(set(others)) == len(others)


@each
def test_o25_the_empty_stub_is_not_attempted(exercise):
    assert judge(exercise, stub) == ("not attempted", "not attempted yet.")


@each
def test_each_exercise_is_complete(exercise):
    assert exercise.alternatives and len(exercise.mistakes) >= 2 and len(exercise.cases) >= 2
    assert inspect.getdoc(exercise.reference)
    assert all(len(mistake.message) > 20 and mistake.message[-1] in ".?" for mistake in exercise.mistakes)
    assert all(exercise.describe(*case()) for case in exercise.cases)
    assert all(len(text) < 700 for text in (judge(exercise, m.answer)[1] for m in exercise.mistakes))


@pytest.mark.parametrize("exercise", PUZZLES, ids=lambda exercise: exercise.id)
def test_the_puzzle_is_still_broken_and_its_fix_works(exercise):
    """As it was given it counts as not attempted: what is wrong is shown, a hint is not."""
    status, text = judge(exercise, exercise.broken)
    assert status == "not attempted" and text.startswith("still broken as given: ") and " should be " in text
    assert not any(mistake.message in text for mistake in exercise.mistakes)
    assert judge(exercise, exercise.reference)[0] == "passed"


def test_each_notebook_has_three_exercises_and_one_puzzle():
    for notebook in {key[:2] for key in EXERCISES}:
        ours = [exercise for key, exercise in EXERCISES.items() if key.startswith(notebook)]
        assert [exercise.id for exercise in ours if exercise.broken] == [f"{notebook}.puzzle"]
        assert len(ours) >= 4


@each
def test_each_attempt_is_told_apart(exercise):
    for attempt, said in {
        "text": "a function is needed, not 'text'.", 3: "a function is needed, not 3.", None: "not None.",
    }.items():  # fmt: skip
        assert judge(exercise, attempt)[0] == "wrong" and judge(exercise, attempt)[1].endswith(said)
    texts = {
        "none": judge(exercise, lambda *args: None), "raises": judge(exercise, lambda *args: 1 / 0),
        "signature": judge(exercise, lambda: 0), "type": judge(exercise, lambda *args: object),
    }  # fmt: skip
    assert {status for status, _ in texts.values()} == {"wrong"}
    assert "raised ZeroDivisionError: division by zero" in texts["raises"][1]
    assert "raised TypeError" in texts["signature"][1]
    if exercise.probe is Exercise.probe:
        assert texts["none"][1].endswith("but is None. Did you forget `return`?")
    assert len({text for _, text in texts.values()}) >= 3


# ---- How an attempt is judged ----------------------------------------------------------------------------------

SORT = Exercise(
    id="99.sort",
    reference=sorted,
    cases=(lambda: ([3, 1, 2],), lambda: ([2, 1],)),
    mistakes=(Mistake(lambda x: sorted(x, reverse=True), "From small to large."),),
)
HALF = Exercise("99.half", lambda x: x / 2, (lambda: (1.0,), lambda: (5.0,)), (Mistake(lambda x: x, "Divide."),))
ROWS = Exercise("99.rows", lambda x: x.sum(0), (lambda: (np.ones((2, 3)),),), (Mistake(lambda x: x.sum(1), "Over rows."),))


class Spiteful:
    """An answer that resists being looked at."""

    def __eq__(self, other):
        raise RuntimeError("no")

    __hash__ = None

    def __repr__(self):
        raise RuntimeError("no")

    def __deepcopy__(self, memo):
        raise RuntimeError("no")


class Mute(Exception):
    """An error whose text can't be had."""

    def __str__(self):
        raise RuntimeError("no")


def test_arguments_that_an_attempt_spoils_do_no_harm():
    def spoils(x):
        made = sorted(x)
        x.clear()
        return made

    assert judge(SORT, spoils)[0] == "passed"
    assert judge(SORT, lambda x: x.sort())[1] == "f([3, 1, 2]) should be [1, 2, 3], but is None. Did you forget `return`?"


def test_an_answer_that_is_used_again_is_judged_as_it_was_given():
    shared: list = []

    def reuses(x):
        shared[:] = sorted(x)
        return shared

    assert judge(SORT, reuses)[0] == "passed"


def test_a_known_mistake_must_agree_in_every_case():
    assert judge(SORT, lambda x: sorted(x, reverse=True))[1].endswith("From small to large.")
    assert judge(SORT, lambda x: sorted(x, reverse=len(x) == 3))[1].endswith("but is [3, 2, 1].")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("0.5", "but is '0.5'. A number is needed, and this is of type str."),
        ([0.5], "but is [0.5]. A number is needed, and this is of type list."),
        (Spiteful(), "but is something of type Spiteful. A number is needed, and this is of type Spiteful."),
        ((x for x in "ab"), "A number is needed, and this is of type generator."),
        (0.6, "f(1) should be 0.5, but is 0.6."), (True, "of type bool."), (10**400, "but is 10,000,000,"),
        (10**9999, "something of type int"), (float("nan"), "but is nan."),
        (np.float32(0.6), "should be 0.5, but is 0.6."), (np.array(["a"]), "an array of shape (1,)"),
        ("x" * 100_000, "of type str."),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else type(value).__name__,
)  # fmt: skip
def test_every_answer_gets_a_sentence(answer, said):
    status, text = judge(HALF, lambda x: answer)
    assert status == "wrong" and said in text and len(text) < 400


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("x\n" * 10_000), "f(1) raised ValueError: x x"), (SystemExit(3), "raised SystemExit: 3"),
        (AssertionError(), "raised AssertionError: nothing more"), (RecursionError("deep"), "raised RecursionError: deep"),
        (Mute(), "raised Mute: a message that can't be shown"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_every_error_gets_a_sentence(error, said):
    def raises(x):
        raise error

    status, text = judge(HALF, raises)
    assert status == "wrong" and said in text and len(text) < 400 and "\n" not in text


def test_ctrl_c_still_stops_a_check():
    def stops(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge(HALF, stops)


def test_arrays_are_told_how_far_they_are_off():
    assert judge(ROWS, lambda x: x.sum(0) * 1.5)[1].endswith("with values up to 1 away.")
    assert judge(ROWS, lambda x: x.sum(1))[1].endswith("is an array of shape (2,). Over rows.")
    assert judge(ROWS, lambda x: np.array(["a", "b", "c"]))[0] == "wrong"
    assert judge(ROWS, lambda x: [2, 2, 2])[0] == "passed"


@pytest.mark.parametrize(
    ("a", "b", "alike"),
    [
        (1.00005, 1.0, True), (1.001, 1.0, False), (np.float32(1), 1.0, True), (1, 1.0, True), (True, 1.0, False),
        (2.0, 2, True), (True, 1, False), (1, True, False), (np.True_, True, True), (np.int64(2), 2, True),
        (np.int64(134_515_009), 134_515_008, False), (134_515_009, 134_515_008, False), ("a", "a", True), ("a", "b", False),
        (None, None, True), (0, None, False), ([1, 2], (1, 2), True), ([1, 2], [1, 2, 3], False), (["a"], ["a"], True),
        ({"a": 1.0}, {"a": 1.00001}, True), ({"a": 1}, {"b": 1}, False), (float("nan"), float("nan"), False),
        (np.ones(3), np.ones(3), True), (np.ones((3, 1)), np.ones(3), False), ({1}, {1}, True), (Spiteful(), 1, False),
        ([[1.0], [2.0, 3.0]], [[1.0], [2.0, 3.0]], True),
    ],
)  # fmt: skip
def test_what_counts_as_the_same(a, b, alike):
    assert same(a, b) is alike


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
nested = st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))


@settings(deadline=None, max_examples=50)
@given(nested, nested)
def test_same_never_raises_and_knows_a_copy(a, b):
    assert same(copy.deepcopy(a), a)
    assert isinstance(same(a, b), bool)


# ---- check and solution ----------------------------------------------------------------------------------------


def test_check_prints_and_notes(capsys):
    key, exercise = "00.weight_bytes", EXERCISES["00.weight_bytes"]
    check(key, stub)
    assert notes.load()["exercises"] == {}
    check(key, exercise.mistakes[0].answer)
    assert notes.load()["exercises"] == {key: "wrong"}
    check(key, exercise.reference)
    check(key, exercise.mistakes[0].answer)
    check(key, stub)
    assert notes.load()["exercises"] == {key: "passed"}
    lines = capsys.readouterr().out.splitlines()
    assert [line[:3] for line in lines] == ["[ ]", "[!]", "[x]", "[!]", "[ ]"]
    assert all(f" {key}: " in line for line in lines)


@each
def test_the_solution_shows_after_an_attempt(exercise, capsys):
    solution(exercise.id)
    assert f"Try {exercise.id} first" in capsys.readouterr().out
    check(exercise.id, lambda *args: None)
    capsys.readouterr()
    solution(exercise.id)
    assert capsys.readouterr().out.startswith(f"def {exercise.reference.__name__}(")


def test_the_solution_shows_at_once_to_who_insists(capsys):
    solution("00.weight_bytes", anyway=True)
    assert "return n_parameters * bits / 8" in capsys.readouterr().out and notes.load()["exercises"] == {}


def test_an_unknown_exercise_is_named_with_those_that_are():
    for use in (lambda: check("00.nothing", stub), lambda: solution("00.nothing")):
        with pytest.raises(ValueError, match=r"There is no exercise '00.nothing'; there are 00.chat_tokens, "):
            use()
