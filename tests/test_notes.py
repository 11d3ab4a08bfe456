"""A learner's progress: kept in one file that may be damaged, unwritable or on a full disk; and the line of long cells."""

from __future__ import annotations

import json

import pytest

from memcourse.course import notes
from memcourse.course.exercises import check, solution
from memcourse.course.notes import load, note, progress, progress_file
from memcourse.errors import CourseError

EMPTY: dict = {"predictions": {}, "exercises": {}}


@pytest.fixture(autouse=True)
def nothing_noted(fresh_home, monkeypatch):
    monkeypatch.setattr(notes, "_unwritten", {})


def test_notes_are_kept_as_readable_text(fresh_home):
    assert load() == EMPTY
    note("predictions", "00.x", 0.5)
    note("exercises", "00.\u8bb0", "passed")
    note("predictions", "00.x", 1)
    assert load() == {"predictions": {"00.x": 1}, "exercises": {"00.\u8bb0": "passed"}}
    assert "\u8bb0" in progress_file().read_text(encoding="utf-8")
    assert [path.name for path in fresh_home.iterdir()] == ["progress.json"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"3", b"\xff\xfe", b'{"exercises": 3, "predictions": []}', b'{"else": {}}'],
    ids=str,
)
def test_a_damaged_file_counts_as_empty_and_is_written_anew(fresh_home, content):
    fresh_home.mkdir()
    progress_file().write_bytes(content)
    assert load() == EMPTY
    note("exercises", "00.a", "passed")
    assert load()["exercises"] == json.loads(progress_file().read_text(encoding="utf-8"))["exercises"] == {"00.a": "passed"}


def test_one_damaged_part_costs_that_part_only(fresh_home):
    fresh_home.mkdir()
    progress_file().write_text('{"exercises": {"00.a": "passed"}, "predictions": 3}', encoding="utf-8")
    note("predictions", "00.x", 1)
    assert load() == {"predictions": {"00.x": 1}, "exercises": {"00.a": "passed"}}


def block(fresh_home, how, monkeypatch):
    """Make the notes unwritable: the home is a file, progress.json is a folder, or the disk is full."""
    if how == "home":
        fresh_home.write_text("", encoding="utf-8")
    elif how == "folder":
        (progress_file() / "x").mkdir(parents=True)
    else:

        def full(*_, **__):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("pathlib.Path.write_text", full)


@pytest.mark.parametrize("how", ["home", "folder", "full disk"])
def test_a_home_that_cannot_be_written_never_stops_the_lesson(fresh_home, monkeypatch, capsys, how):
    block(fresh_home, how, monkeypatch)
    check("00.weight_bytes", lambda n, bits: n * bits)
    solution("00.weight_bytes")
    assert "return n_parameters * bits / 8" in capsys.readouterr().out  # the attempt is remembered while Python runs
    note("predictions", "00.x", 1)
    assert load() == {"predictions": {"00.x": 1}, "exercises": {"00.weight_bytes": "wrong"}}


def test_what_the_disk_refused_is_written_with_the_next_note(fresh_home, monkeypatch):
    with monkeypatch.context() as patch:
        block(fresh_home, "full disk", patch)
        note("exercises", "00.a", "passed")
        assert [path.name for path in fresh_home.iterdir()] == []
    note("exercises", "00.b", "wrong")
    assert notes._unwritten == {}
    assert load()["exercises"] == {"00.a": "passed", "00.b": "wrong"}


def test_a_full_disk_is_a_sentence_and_the_old_file_stays(fresh_home):
    note("exercises", "00.a", "passed")
    with pytest.raises(CourseError, match=r"Cannot write to .*No space left.*Free some disk space"):  # noqa: SIM117
        with notes.written_whole(progress_file()):
            raise OSError(28, "No space left on device")
    assert load()["exercises"] == {"00.a": "passed"} and len(list(fresh_home.iterdir())) == 1


def test_the_line_of_progress_is_silent_where_outputs_are_stored(monkeypatch, capsys):
    progress("tracing")(1, 2)
    assert capsys.readouterr().out == ""
    monkeypatch.delenv("MEMCOURSE_QUIET")
    show = progress("tracing")
    show(0, 2000)
    for done in range(1, 2001):  # quick steps: a line for each of them would cost more than the steps
        show(done, 2000)
    said = capsys.readouterr().out
    assert 2 <= said.count("\rtracing: ") <= 20 and said.count("\n") == 1
    assert "0 of 2000, 0 s" in said and "2000 of 2000, 0 s, about 0 s left" in said
