"""What an exercise is, and how an attempt is judged."""

from __future__ import annotations

import copy
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Mistake:
    """A wrong answer that people really give, and what to tell them."""

    answer: Callable[..., Any]
    message: str


@dataclass(frozen=True)
class Exercise:
    """One exercise or puzzle.

    Attributes:
        id: "01.kv_cache" and so on; the first two characters name the notebook.
        reference: the package's own function.
        cases: calls () -> arguments, made anew for each run so that an attempt can't spoil them.
        mistakes: wrong answers that must be refused with their message; diagnosis compares an attempt with them.
        alternatives: right answers written differently, which must pass.
        broken: for a puzzle, the code that the notebook shows.
        probe: how an answer is called with the arguments of a case; a puzzle may ask more than for its return value.
        describe: turns arguments into the words of the message.
    """

    id: str
    reference: Callable[..., Any]
    cases: tuple[Callable[[], tuple[Any, ...]], ...]
    mistakes: tuple[Mistake, ...]
    alternatives: tuple[Callable[..., Any], ...] = ()
    broken: Callable[..., Any] | None = None
    probe: Callable[..., Any] = lambda answer, *args: answer(*args)
    describe: Callable[..., str] = field(default=lambda *args: f"f({', '.join(_short(a) for a in args)})")


def judge(exercise: Exercise, attempt: Callable[..., Any]) -> tuple[str, str]:
    """("not attempted" | "passed" | "wrong", text) for an attempt; never raises for what the attempt does.

    A puzzle that behaves as it was given counts as not attempted, and gets no hint.
    """
    if not callable(attempt):
        return "wrong", f"a function is needed, not {_short(attempt)}."
    answers = []
    for case in exercise.cases:
        try:
            answers.append(_kept(exercise.probe(attempt, *case())))
        except NotImplementedError:
            return "not attempted", "not attempted yet."
        except (Exception, SystemExit) as error:
            return "wrong", f"{exercise.describe(*case())} raised {type(error).__name__}: {_said(error)}"
    wanted = [exercise.probe(exercise.reference, *case()) for case in exercise.cases]
    for case, got, want in zip(exercise.cases, answers, wanted, strict=True):
        if not same(got, want):
            wrong = f"{exercise.describe(*case())} should be {_short(want)}, but is {_short(got)}{_gap(got, want)}."
            if exercise.broken and _answers_like(exercise, answers, exercise.broken):
                return "not attempted", f"still broken as given: {wrong}"
            return "wrong", wrong + _reason(exercise, answers, got, want)
    return "passed", f"passed ({len(answers)} checks)."


def _kept(answer: Any) -> Any:
    """A copy that later calls can't change, where one can be made (there is none of a generator)."""
    try:
        return copy.deepcopy(answer)
    except Exception:
        return answer


def _said(error: BaseException) -> str:
    try:
        return textwrap.shorten(str(error), 300, placeholder=" ...") or "nothing more"
    except Exception:
        return "a message that can't be shown"


def _reason(exercise: Exercise, answers: list[Any], got: Any, want: Any) -> str:
    if got is None:
        return " Did you forget `return`?"
    for mistake in exercise.mistakes:
        if _answers_like(exercise, answers, mistake.answer):
            return " " + mistake.message
    if isinstance(want, int | float) and not isinstance(want, bool) and not _is_number(got):
        return f" A number is needed, and this is of type {type(got).__name__}."
    return ""


def _answers_like(exercise: Exercise, answers: list[Any], other: Callable[..., Any]) -> bool:
    """Whether an attempt answered every case as another function does."""
    theirs = [exercise.probe(other, *case()) for case in exercise.cases]
    return all(same(a, b) for a, b in zip(answers, theirs, strict=True))


def same(a: Any, b: Any) -> bool:
    """Whether answer `a` agrees with `b`: floats and arrays to a relative 1e-4, everything else exactly.

    Lists, tuples and dictionaries agree if all that they hold does. Never raises, whatever `a` is.
    """
    try:
        return _same(a, b)
    except Exception:
        return False


def _same(a: Any, b: Any) -> bool:
    if isinstance(b, dict):
        return isinstance(a, dict) and a.keys() == b.keys() and all(_same(a[key], b[key]) for key in b)
    if isinstance(b, list | tuple) and isinstance(a, list | tuple):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(b, int) and getattr(a, "shape", None) == ():
        a = a.item()
    if isinstance(b, bool | str | int) or b is None:
        return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)
    if not (isinstance(b, float | list | tuple) or hasattr(b, "shape")):
        return bool(a == b)
    x, y = _array(a), _array(b)
    return x.shape == y.shape and bool(np.allclose(x, y, rtol=1e-4, atol=1e-6, equal_nan=False))


def _is_number(value: Any) -> bool:
    if isinstance(value, int | float):
        return not isinstance(value, bool)
    try:
        return _array(value).shape == ()
    except Exception:
        return False


def _array(value: Any) -> np.ndarray:
    if isinstance(value, bool | str) or value is None:
        raise TypeError("no number")
    if hasattr(value, "detach"):
        value = value.detach().cpu().float().numpy()
    return np.asarray(value, dtype=float)


def _gap(got: Any, want: Any) -> str:
    """For two arrays of one shape, which look alike in words: how far apart they are."""
    try:
        if want.ndim and got.shape == want.shape:
            return f" with values up to {float(abs(_array(got) - _array(want)).max()):.3g} away"
    except Exception:
        pass
    return ""


def _short(value: Any) -> str:
    """A value in at most 60 characters."""
    try:
        if getattr(value, "shape", None) == () and hasattr(value, "item"):
            value = value.item()
        if hasattr(value, "shape") and hasattr(value, "ndim") and value.ndim:
            text = f"an array of shape {tuple(value.shape)}"
        elif isinstance(value, bool) or not isinstance(value, int | float):
            text = repr(value)
        else:
            text = f"{value:,.6g}" if isinstance(value, float) else f"{value:,}"
    except Exception:
        text = f"something of type {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def source_of(exercise: Exercise) -> str:
    """The reference's source code, without its docstring's indentation trouble."""
    return textwrap.dedent(inspect.getsource(exercise.reference)).rstrip()
