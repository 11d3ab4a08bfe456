"""Quiz questions: every choice is explained, the wrong ones too. One TOML file a notebook lies beside this one."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True)
class Question:
    """One question: its choices by letter, why each is right or wrong, and the right letter."""

    id: str
    text: str
    choices: dict[str, str]
    why: dict[str, str]
    right: str


@cache
def load_questions() -> dict[str, Question]:
    """Every question of the course by its id ("01.2")."""
    found: dict[str, Question] = {}
    for file in sorted(resources.files(__name__).iterdir(), key=lambda f: f.name):
        if file.name.endswith(".toml"):
            for row in tomllib.loads(file.read_text(encoding="utf-8"))["question"]:
                found[row["id"]] = Question(row["id"], row["text"], row["choices"], row["why"], row["right"])
    return found


def quiz(question_id: str, answer: str | None = None) -> None:
    """Print a question; with an answer ("b"), say whether it is right and why."""
    questions = load_questions()
    if question_id not in questions:
        raise ValueError(f"There is no question {question_id!r}; there are {', '.join(sorted(questions))}.")
    question = questions[question_id]
    if answer is None:
        print(f"Question {question.id}: {question.text}")
        for letter, text in question.choices.items():
            print(f"  {letter}) {text}")
        print(f'Answer with course.quiz("{question.id}", "a").')
        return
    letter = str(answer).strip().lower()
    if letter not in question.choices:
        raise ValueError(f"Question {question_id} has the choices {', '.join(question.choices)}, not {answer!r}.")
    print(f"{'Right' if letter == question.right else 'Not quite'}: {question.why[letter]}")
