"""Exercises that check themselves, and puzzles that are broken on purpose.

Each exercise is one object: its reference (the package's own code), cases, right answers written differently, and
wrong answers with the misconception behind each. The same list refuses a learner's answer and tests the exercise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from memcourse.course.exercises import nb00, nb01, nb02, nb03, nb04, nb05, nb06, nb07, nb08
from memcourse.course.exercises.exercise import Exercise, judge, source_of
from memcourse.course.notes import load, note

EXERCISES: dict[str, Exercise] = {
    exercise.id: exercise for room in (nb00, nb01, nb02, nb03, nb04, nb05, nb06, nb07, nb08) for exercise in room.EXERCISES
}


def _find(exercise_id: str) -> Exercise:
    if exercise_id not in EXERCISES:
        raise ValueError(f"There is no exercise {exercise_id!r}; there are {', '.join(sorted(EXERCISES))}.")
    return EXERCISES[exercise_id]


def check(exercise_id: str, attempt: Callable[..., Any]) -> None:
    """Check your function: prints "not attempted", "passed", or what is wrong and the misconception behind it."""
    exercise = _find(exercise_id)
    status, text = judge(exercise, attempt)
    if status != "not attempted":
        earlier = load()["exercises"].get(exercise_id)
        note("exercises", exercise_id, "passed" if earlier == "passed" else status)
    mark = {"not attempted": "[ ]", "passed": "[x]", "wrong": "[!]"}[status]
    print(f"{mark} {exercise_id}: {text}")


def solution(exercise_id: str, anyway: bool = False) -> None:
    """Show the solution (the package's own code) once you have attempted the exercise; `anyway=True` shows it at once."""
    exercise = _find(exercise_id)
    if not anyway and exercise_id not in load()["exercises"]:
        print(f"Try {exercise_id} first: fill in the function and run its check.")
        print(f'course.solution("{exercise_id}", anyway=True) shows it at once.')
        return
    print(source_of(exercise))
