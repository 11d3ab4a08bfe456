"""Quizzes: every question has choices that are all explained, and every answer gets a useful one."""

from __future__ import annotations

import tomllib
from importlib import resources

import pytest

from memcourse.course import quizzes
from memcourse.course.quizzes import load_questions, quiz

FILES = {
    file.name.removesuffix(".toml"): tomllib.loads(file.read_text(encoding="utf-8"))["question"]
    for file in resources.files(quizzes).iterdir()
    if file.name.endswith(".toml")
}
ROWS = [(notebook, row) for notebook, rows in FILES.items() for row in rows]
each = pytest.mark.parametrize(("notebook", "row"), ROWS, ids=[row["id"] for _, row in ROWS])


def test_ids_are_unique_and_numbered():
    for notebook, rows in FILES.items():
        assert [row["id"] for row in rows] == [f"{notebook}.{i}" for i in range(1, len(rows) + 1)]
        assert 3 <= len(rows) <= 5
    assert list(load_questions()) == sorted(row["id"] for _, row in ROWS)


@each
def test_every_choice_is_explained(notebook, row):
    assert set(row) == {"id", "text", "right", "choices", "why"}
    assert list(row["choices"]) == list(row["why"]) == list("abcde"[: len(row["choices"])])
    assert len(row["choices"]) >= 3 and row["right"] in row["choices"]
    assert len(set(row["choices"].values())) == len(set(row["why"].values())) == len(row["choices"])
    assert row["text"].endswith("?") and all(len(why) >= 20 and why.endswith(".") for why in row["why"].values())
    assert not any(why.startswith(("Right", "Wrong", "Not quite")) for why in row["why"].values())  # `quiz` says that


def test_the_right_letter_is_not_always_the_same():
    for rows in FILES.values():
        assert len({row["right"] for row in rows}) > 1


@each
def test_a_question_is_asked_and_each_answer_explained(notebook, row, capsys):
    quiz(row["id"])
    asked = capsys.readouterr().out
    assert asked.startswith(f"Question {row['id']}: {row['text']}\n") and f'quiz("{row["id"]}", "a")' in asked
    for letter, text in row["choices"].items():
        assert f"  {letter}) {text}\n" in asked
        quiz(row["id"], letter)
        said = "Right" if letter == row["right"] else "Not quite"
        assert capsys.readouterr().out == f"{said}: {row['why'][letter]}\n"


def test_an_answer_may_be_written_large_and_with_spaces(capsys):
    quiz("00.1", " B ")
    assert capsys.readouterr().out.startswith("Right: ")


@pytest.mark.parametrize("answer", ["d", "", "ab", "(a)", 1, True, ["a"], "x" * 50], ids=str)
def test_a_letter_that_is_no_choice_is_refused(answer):
    with pytest.raises(ValueError, match=r"Question 00\.1 has the choices a, b, c, not "):
        quiz("00.1", answer)


@pytest.mark.parametrize("question", ["00.99", "", "1", None, 0.1], ids=str)
def test_an_unknown_question_is_named_with_those_that_are(question):
    with pytest.raises(ValueError, match=r"There is no question .*; there are 00\.1, 00\.2"):
        quiz(question)
