"""The ledger: every figure that a notebook measures, with n, seeds and interval, kept inside the notebook itself."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from memcourse.course.notebooks import read
from memcourse.course.notes import note
from memcourse.course.profile import current
from memcourse.errors import CourseError
from memcourse.metrics import Estimate

MIME = "application/vnd.memcourse.metric+json"
FIELDS = ("notebook", "name", "value", "unit", "n", "seeds", "interval", "paper", "profile")


def predict(name: str, value: float | None = None, unit: str = "") -> None:
    """Write down what you expect before you measure; None is allowed. `record` and `expect` compare it later.

    Raises:
        TypeError, ValueError: the value is neither None nor a finite number.
    """
    value = None if value is None else _number(name, value)
    key = f"{current().notebook}.{name}"
    if value is None:
        print(f"{name}: no prediction yet; put a number{f' of {unit}' if unit else ''} in place of None.")
    else:
        note("predictions", key, value)
        print(f"{name}: you predict {value:g}{f' {unit}' if unit else ''}.")
    _predictions[key] = value


_predictions: dict[str, float | None] = {}


def _verdict(name: str, value: float) -> str:
    """How far off the learner's prediction was, or nothing where there is none."""
    guess = _predictions.get(f"{current().notebook}.{name}")
    if guess is None:
        return ""
    if guess > 0 and value > 0:
        factor = max(guess / value, value / guess)
        return f"; you predicted {guess:g}, off by a factor of {factor:.1f}"
    return f"; you predicted {guess:g}, off by {abs(guess - value):.3g}"


def _number(name: str, value: Any) -> float | int:
    """A value as one of Python's own numbers, also where NumPy or torch brings it as a scalar."""
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name!r} needs a number, not {value!r}.")
    if not abs(value) < 1e300:  # NaN, infinity, and what no figure can be
        raise ValueError(f"{name!r} needs a finite number, not {str(value)[:20]}.")
    return value


def record(
    name: str, value: float | Estimate, *, unit: str = "", n: int | None = None, seeds: int | None = None,
    interval: Sequence[float] | None = None, paper: str | None = None,
) -> None:  # fmt: skip
    """Put one measured figure into the ledger (as an output of this cell) and show it in one line.

    Args:
        name: what was measured; the same name as in `predict`, so that both are compared.
        value: the figure, kept to three or four significant digits; an `Estimate` brings its n and interval along.
        n: how many questions, facts or prompts stand behind it.
        seeds: how many seeds, where something was trained.
        interval: its 95 % interval (low, high).
        paper: what a paper reports, with its key in references.bib.

    Raises:
        TypeError: the value is no number, or n or seeds are not whole.
        ValueError: the value is not finite, or the interval doesn't contain two finite numbers in order.
    """
    from IPython.display import display

    if isinstance(value, Estimate):
        n, interval, value = value.n, value.interval, value.value
    value = _number(name, value)
    setup = current()
    row = dict(zip(FIELDS, (
        setup.notebook, name, _rounded(value, 4 if interval is None else 3), unit,
        *(None if x is None else operator.index(x) for x in (n, seeds)),
        None if interval is None else _interval(name, interval), paper, setup.profile,
    ), strict=True))  # fmt: skip
    _rows[(setup.notebook, name)] = row
    text = f"ledger: {name} = {_cell(row)}{_verdict(name, value)}"
    display({MIME: row, "text/plain": text}, raw=True)


_rows: dict[tuple[str, str], dict[str, Any]] = {}


def _interval(name: str, interval: Sequence[float]) -> list[float | int]:
    try:
        low, high = (_number(name, x) for x in interval)
    except (TypeError, ValueError):
        low, high = 1, 0
    if low > high:
        raise ValueError(f"The interval of {name!r} must be (low, high), not {interval!r}.")
    return [_rounded(low, 3), _rounded(high, 3)]


def show_ledger() -> None:
    """Show what the running notebook has measured so far, beside what the papers found."""
    from IPython.display import Markdown, display

    notebook = current().notebook
    display(Markdown(table([row for row in _rows.values() if row["notebook"] == notebook], False)))


def expect(name: str, value: float, reference: float, tol: float, unit: str = "") -> None:
    """Assert that a measured figure is the stored one, and print the stored one (the same on every machine).

    Only profile laptop is asserted; the others print their own figure beside the laptop's.

    Raises:
        AssertionError: |value - reference| > tol.
    """
    tail = f" {unit}" if unit else ""
    if current().profile != "laptop":
        print(f"{name}: {value:.4g}{tail} (profile laptop: {reference:g}{tail})")
        return
    if not abs(value - reference) <= tol:
        raise AssertionError(
            f"{name}: measured {value:.6g}{tail}, but the stored run had {reference:g}{tail} (tolerance {tol:g}). "
            "Another library version or a changed cell moves figures: run the notebook from the top, or say so in an issue."
        )
    print(f"{name}: {reference:g}{tail} (within {tol:g}){_verdict(name, value)}")


def ledger_rows(notebooks: Sequence[Path]) -> list[dict[str, Any]]:
    """Every row in the outputs of stored notebooks, in their order.

    Raises:
        CourseError: a file that is no notebook, or a row that `record` didn't write.
    """
    rows = []
    for path in notebooks:
        for cell in read(path)["cells"]:
            for output in cell.get("outputs", []):
                if MIME in output.get("data", {}):
                    rows.append(_checked(output["data"][MIME], path))
    return rows


def _checked(row: Any, path: Path) -> dict[str, Any]:
    try:
        row = {field: row[field] for field in FIELDS}
        _number(row["name"], row["value"])
        if row["interval"] is not None:
            _interval(row["name"], row["interval"])
    except (KeyError, TypeError, ValueError):
        raise CourseError(f"{path} holds a damaged row of the ledger; make it anew: `memcourse run --inplace`.") from None
    return row


def table(rows: Sequence[dict[str, Any]], with_notebook: bool = True) -> str:
    """The ledger as a Markdown table: what the paper found beside what we measured."""
    heads = ["Notebook"] * with_notebook + ["Figure", "We measured", "n", "95 % interval", "The paper found"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in rows:
        interval = f"{row['interval'][0]:g} to {row['interval'][1]:g}" if row["interval"] else ""
        n = f"{row['n']}" if row["n"] is not None else ""
        n += f" ({_seeds(row['seeds'])})" if row["seeds"] else ""
        cells = [row["notebook"]] * with_notebook + [row["name"], _value(row), n, interval, row["paper"] or ""]
        lines.append("| " + " | ".join(" ".join(str(c).replace("|", "/").split()) for c in cells) + " |")
    return "\n".join(lines)


def _value(row: dict[str, Any]) -> str:
    number = f"{row['value']:,}" if abs(row["value"]) >= 10_000 else f"{row['value']:g}"
    return f"{number} {row['unit']}".strip()


def _cell(row: dict[str, Any]) -> str:
    facts = [f"n = {row['n']}"] if row["n"] is not None else []
    facts += [_seeds(row["seeds"])] if row["seeds"] else []
    facts += [f"95 % interval {row['interval'][0]:g} to {row['interval'][1]:g}"] if row["interval"] else []
    return _value(row) + (f" ({', '.join(facts)})" if facts else "")


def _seeds(n: int) -> str:
    return "1 seed" if n == 1 else f"{n} seeds"


def _rounded(value: float | int, digits: int) -> float | int:
    """So many significant digits; counts stay exact."""
    if isinstance(value, int):
        return value
    short = float(f"{float(value):.{digits}g}")
    return int(short) if short.is_integer() and abs(short) >= 1000 else short
