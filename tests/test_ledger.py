"""The ledger: predictions, records, expectations; what is refused; and the rows read back from stored notebooks."""

from __future__ import annotations

import json

import IPython.display
import numpy as np
import pytest

from memcourse.course import ledger, notes
from memcourse.course.ledger import FIELDS, MIME, expect, ledger_rows, predict, record, show_ledger, table
from memcourse.errors import CourseError
from memcourse.metrics import share

from .course_support import ROW, book_of, code, shown, store, turn_dial


@pytest.fixture(autouse=True)
def clean(fresh_home, monkeypatch):
    """Notebook 00 on profile laptop, nothing recorded, predicted or noted yet."""
    turn_dial(monkeypatch)
    for name in ("_rows", "_predictions"):
        monkeypatch.setattr(ledger, name, {})
    monkeypatch.setattr(notes, "_unwritten", {})


@pytest.fixture
def outputs(monkeypatch):
    """What a cell would show, in order."""
    seen = []
    monkeypatch.setattr(IPython.display, "display", lambda data, raw=False: seen.append(data if raw else data.data))
    return seen


# ---- record ----------------------------------------------------------------------------------------------------


def test_a_record_is_one_row_and_one_line(outputs):
    record("right", 0.123456, unit="share", n=24, seeds=3, interval=(0.1, 0.23456), paper="0.2 [@key2024]")
    row = outputs[0][MIME]
    assert tuple(row) == FIELDS
    assert row == {**ROW, "notebook": "00", "value": 0.123, "unit": "share", "n": 24, "seeds": 3,
                   "interval": [0.1, 0.235], "paper": "0.2 [@key2024]"}  # fmt: skip
    assert outputs[0]["text/plain"] == "ledger: right = 0.123 share (n = 24, 3 seeds, 95 % interval 0.1 to 0.235)"


def test_an_estimate_brings_n_and_interval_along(outputs):
    estimate = share(13, 24)
    record("right", estimate)
    row = outputs[0][MIME]
    assert (row["value"], row["n"], row["interval"]) == (0.542, 24, [0.351, 0.721])
    assert row["interval"] == [float(f"{x:.3g}") for x in estimate.interval]


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (0.123456, 0.1235), (123456.7, 123500), (134_515_008, 134_515_008), (np.int64(134_515_008), 134_515_008),
        (999.96, 1000), (12.0, 12.0), (0.0, 0.0), (-1.23456e-7, -1.235e-7), (np.float32(0.5), 0.5), (np.array(3), 3),
        (-3, -3),
    ],
)  # fmt: skip
def test_figures_without_an_interval_keep_four_digits_and_counts_all(outputs, value, kept):
    record("x", value)
    stored = outputs[0][MIME]["value"]
    assert stored == kept and isinstance(stored, int | float) and not isinstance(stored, np.generic)
    assert json.loads(json.dumps(outputs[0][MIME])) == outputs[0][MIME]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), np.nan, 10**400, np.float32("inf")])
def test_what_is_not_finite_is_refused(outputs, value):
    for use in (record, predict):
        with pytest.raises(ValueError, match="'x' needs a finite number, not"):
            use("x", value)
    assert outputs == [] and notes.load()["predictions"] == {}


@pytest.mark.parametrize("value", [True, False, np.True_, "0.5", [0.5], np.array([0.5]), 1 + 2j, (1, 2)])
def test_what_is_no_number_is_refused(outputs, value):
    for use in (record, predict):
        with pytest.raises(TypeError, match="'x' needs a number, not"):
            use("x", value)
    with pytest.raises(TypeError, match="needs a number, not None"):
        record("x", None)
    assert outputs == []


@pytest.mark.parametrize(
    "interval", [(0.7, 0.3), (0.3,), (1, 2, 3), 5, "ab", (float("nan"), 1), (0, float("inf")), (True, 2)]
)
def test_an_interval_is_two_numbers_in_order(outputs, interval):
    with pytest.raises(ValueError, match=r"The interval of 'x' must be \(low, high\), not"):
        record("x", 0.5, interval=interval)
    assert outputs == []


def test_counts_are_whole(outputs):
    record("x", 0.5, n=np.int64(24), seeds=np.int32(3))
    assert json.dumps(outputs[0][MIME]) and outputs[0][MIME]["n"] == 24
    for wrong in ({"n": 2.5}, {"seeds": "3"}):
        with pytest.raises(TypeError):
            record("x", 0.5, **wrong)


def test_the_ledger_shows_the_notebooks_last_figures(outputs, monkeypatch):
    record("a", 1)
    record("b", 2)
    record("a", 3, paper="4 | 5\n6")
    turn_dial(monkeypatch, notebook="01")
    record("c", 9)
    turn_dial(monkeypatch)
    show_ledger()
    rows = outputs[-1].splitlines()[2:]
    assert rows == ["| a | 3 |  |  | 4 / 5 6 |", "| b | 2 |  |  |  |"]


# ---- predict and expect ----------------------------------------------------------------------------------------


def test_a_prediction_is_compared_with_the_record(outputs, capsys):
    predict("x", 10, "ms")
    predict("y")
    predict("zero", 0)
    assert capsys.readouterr().out.splitlines() == [
        "x: you predict 10 ms.", "y: no prediction yet; put a number in place of None.", "zero: you predict 0.",
    ]  # fmt: skip
    record("x", 40)
    record("y", 40)
    record("zero", 0.25)
    texts = [data["text/plain"] for data in outputs]
    assert texts[0] == "ledger: x = 40; you predicted 10, off by a factor of 4.0"
    assert texts[1:] == ["ledger: y = 40", "ledger: zero = 0.25; you predicted 0, off by 0.25"]


def test_a_prediction_is_noted_and_can_be_taken_back(outputs):
    predict("x", 10)
    assert notes.load()["predictions"] == {"00.x": 10}
    predict("x", None)
    record("x", 40)
    assert "predicted" not in outputs[0]["text/plain"]


def test_laptop_asserts_and_prints_the_reference(capsys):
    predict("x", 2)
    expect("x", 1.0049, 1.0, tol=0.005, unit="s")
    assert capsys.readouterr().out.splitlines()[1] == "x: 1 s (within 0.005); you predicted 2, off by a factor of 2.0"
    for off in (1.0051, 0.99, float("nan")):
        with pytest.raises(AssertionError, match=r"x: measured .* but the stored run had 1 \(tolerance 0.005\)"):
            expect("x", off, 1.0, tol=0.005)


@pytest.mark.parametrize("profile", ["smoke", "gpu"])
def test_other_profiles_print_their_own_figure_and_assert_nothing(monkeypatch, capsys, profile):
    turn_dial(monkeypatch, profile)
    expect("x", 7.123456, 1.0, tol=0.005, unit="s")
    assert capsys.readouterr().out == "x: 7.123 s (profile laptop: 1 s)\n"


def test_nothing_works_before_the_set_up_cell(monkeypatch):
    monkeypatch.setattr("memcourse.course.profile._current", None)
    for use in (lambda: predict("x", 1), lambda: record("x", 1), lambda: expect("x", 1, 1, 0), show_ledger):
        with pytest.raises(RuntimeError, match="Run the set-up cell first"):
            use()


# ---- Rows of stored notebooks ----------------------------------------------------------------------------------


def row_cell(**changes):
    return code("record()", shown({MIME: {**ROW, **changes}, "text/plain": "ledger"}), shown({"text/plain": "else"}))


def test_rows_come_back_in_the_notebooks_order(tmp_path, outputs):
    record("own", 12345.6, n=3, interval=(1, 2))
    first = store(tmp_path / "00_a.ipynb", book_of(code("x"), code("y", shown(outputs[0]))))
    second = store(tmp_path / "01_b.ipynb", book_of(row_cell(name="b"), row_cell(name="a")))
    rows = ledger_rows([first, second])
    assert [row["name"] for row in rows] == ["own", "b", "a"]
    assert rows[0] == outputs[0][MIME]
    assert ledger_rows([]) == ledger_rows([store(tmp_path / "02_c.ipynb", book_of())]) == []


def test_the_table_shows_every_field():
    count = {**ROW, "value": 134_515_008, "interval": None, "n": None}
    lines = table([{**ROW, "seeds": 3, "unit": "s", "paper": "1 s"}, count]).splitlines()
    assert lines == [
        "| Notebook | Figure | We measured | n | 95 % interval | The paper found |", "|---|---|---|---|---|---|",
        "| 02 | right | 0.52 s | 24 (3 seeds) | 0.3 to 0.7 | 1 s |", "| 02 | right | 134,515,008 |  |  |  |",
    ]  # fmt: skip
    assert len(table([]).splitlines()) == 2


@pytest.mark.parametrize(
    "row",
    [None, 3, [], {}, {**ROW, "value": None}, {**ROW, "value": "0.5"}, {**ROW, "interval": [1]}, {**ROW, "interval": 3}],
    ids=str,
)
def test_a_damaged_row_is_named(tmp_path, row):
    path = store(tmp_path / "00_a.ipynb", book_of(code("x", shown({MIME: row}))))
    with pytest.raises(CourseError, match=r"00_a.ipynb holds a damaged row .*make it anew: `memcourse run --inplace`"):
        ledger_rows([path])
