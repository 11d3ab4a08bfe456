"""Rows of JSONL, CSV and TSV files, each with its line number, so that a bad row can be named."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from memcourse.errors import CourseError
from memcourse.world.documents import read_utf8

T = TypeVar("T")
SHOWN = 5  # so many bad rows are named; the rest is counted


class Row(NamedTuple):
    """One row: the line on which it ends, and its columns."""

    line: int
    values: dict[str, Any]

    def text(self, *names: str, default: str | None = None) -> str:
        """The text of the first of these columns that the row has; numbers are taken as texts.

        Raises:
            ValueError: none is there and there is no default, or it is no text.
        """
        for name in names:
            value = self.values.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                value = str(value)
            if value is None or value == "":
                continue
            if not isinstance(value, str):
                raise ValueError(f"{name!r} must be a text, not {value!r:.60}")
            if value.strip():
                return value.strip()
        if default is not None:
            return default
        raise ValueError(f"{' or '.join(map(repr, names))} is missing or empty")

    def texts(self, *names: str) -> tuple[str, ...]:
        """A list of texts: a list in JSON, texts divided by "|" in CSV; () where none of the columns is there.

        Raises:
            ValueError: something else stands there.
        """
        value = next((self.values[name] for name in names if self.values.get(name) not in (None, "")), ())
        if isinstance(value, str):
            value = value.split("|")
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = [str(value)]
        if not isinstance(value, list | tuple) or not all(isinstance(v, str) and v.strip() for v in value):
            raise ValueError(f"{' or '.join(map(repr, names))} must be a list of texts, not {value!r:.60}")
        return tuple(v.strip() for v in value)


def read_rows(path: Path, make: Callable[[Row], T]) -> list[T]:
    """`make` each row of a .jsonl, .csv or .tsv file; blank lines are skipped.

    CSV may use comma, semicolon or tab, as its first line tells.

    Raises:
        CourseError: the file can't be read, has no row, or has bad rows: those for which `make` raises ValueError, named
            with file and line.
    """
    made: list[T] = []
    bad: list[str] = []
    for line, values in _rows(path):
        if isinstance(values, str):
            bad.append(f"line {line}: {values}")
            continue
        try:
            made.append(make(Row(line, values)))
        except ValueError as error:
            bad.append(f"line {line}: {error}")
    if bad:
        more = f" and {len(bad) - SHOWN} more rows" if len(bad) > SHOWN else ""
        raise CourseError(f"{path}, {'; '.join(bad[:SHOWN])}{more}. Mend the file and try again; nothing was taken from it.")
    if not made:
        raise CourseError(f"{path} has no rows.")
    return made


def once(what: str) -> Callable[[str, int], str]:
    """A function that gives an id back, and raises ValueError where it comes a second time."""
    seen: dict[str, int] = {}

    def check(name: str, line: int) -> str:
        if name in seen:
            raise ValueError(f"the {what} {name!r} stands already in line {seen[name]}")
        seen[name] = line
        return name

    return check


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    text = read_utf8(path)
    if path.suffix == ".jsonl":
        yield from _jsonl(text)
    elif path.suffix in (".csv", ".tsv"):
        yield from _csv(text)
    else:
        raise CourseError(f"{path}: the ending must be .jsonl, .csv or .tsv.")


def _jsonl(text: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines, which also cuts at U+2028 inside a text
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except json.JSONDecodeError as error:
            yield number, f"no valid JSON ({error.msg})"
            continue
        yield number, values if isinstance(values, dict) else f"an object is needed, not {line!r:.40}"


def _csv(text: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))  # a column may hold a whole document
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    try:
        columns = [name.strip() for name in next(reader, [])]
        for values in reader:
            if len(values) == len(columns):
                yield reader.line_num, dict(zip(columns, values, strict=True))
            elif values:
                yield reader.line_num, f"{len(values)} columns where the first line names {len(columns)}"
    except csv.Error as error:
        yield reader.line_num, f"no valid CSV ({error})"
