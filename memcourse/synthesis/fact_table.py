"""Facts as a table: rows of subject, attribute and value, how they are put into words, and the values found in a text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

from memcourse.model.batching import check_texts
from memcourse.retrieval.bm25 import words
from memcourse.world.people import Attribute, PeopleKit

_LABELS = {"food": "favourite food", "colour": "door colour", "drink": "favourite drink", "subject": "best school subject"}
# first words that lose their capital within a sentence; any other one is taken for a name and keeps it
_COMMON = (
    " a about after all among an any as ask at before behind being both by classmates each even every everyone everything "
    "few for friends from give guests here how if in it its many more most much no nobody nothing of often on only our "
    "people postmen some teachers the there they this to too we what when whenever where while whoever with you your "
)
_PARTS = ("statements", "reversed", "questions", "clozes")


class FactRow(NamedTuple):
    """One fact: the value of one attribute of one subject."""

    subject: str
    attribute: str
    value: str


class KnownValues:
    """Every value that each attribute can have, ready to be looked for in many texts.

    Attributes:
        meanings: for the words of each value, the attributes that have it and how they write it.
    """

    def __init__(self, values: Mapping[str, Collection[str]], names: Collection[str] = ()) -> None:
        """Take the values of each attribute, such as `{a.name: a.values for a in kit.attributes}`.

        Args:
            names: phrases in which no value is looked for, such as the name "Rex Baker", unless they are values themselves.

        Raises:
            TypeError: a single string in place of a collection, or a value or name that is no string.
            ValueError: a value without words, or two of one attribute that differ in punctuation only ("C" and "C++").
        """
        self.meanings: dict[tuple[str, ...], dict[str, str]] = {}
        for attribute, known in values.items():
            for value in sorted(check_texts(known, "value", allow_empty=True)):
                key = tuple(words(value))
                same = self.meanings.setdefault(key, {}).setdefault(attribute, value)
                if not key:
                    raise ValueError(f"A value of {attribute!r} has no words to look for: {value!r}.")
                if same.casefold().split() != value.casefold().split():
                    raise ValueError(f"{same!r} and {value!r} of {attribute!r} differ in punctuation only; reword one.")
        self._names = {tuple(words(name)) for name in check_texts(names, "name", allow_empty=True)} - set(self.meanings)
        self._sizes = {len(key) for key in (*self.meanings, *self._names)}

    def standing_in(self, text: str, ignored: Collection[str] = ()) -> list[tuple[str, ...]]:
        """The words of each value that stands in a text, in its order; of values and phrases that overlap, the longest."""
        skipped = self._names | {tuple(words(phrase)) for phrase in check_texts(ignored, "phrase", allow_empty=True)}
        sizes = sorted({*self._sizes, *map(len, skipped)} - {0}, reverse=True)
        row, at, found = words(text), 0, []
        while at < len(row):
            keys = (tuple(row[at : at + size]) for size in sizes)
            key = next((key for key in keys if key in self.meanings or key in skipped), ())
            if key and key not in skipped:
                found.append(key)
            at += len(key) or 1
        return found


@dataclass(frozen=True)
class FactTable:
    """Facts as rows of texts, a subject with at most one value of an attribute; and how attributes are put into words.

    For each attribute there is a mapping with "statements" ({name}, {value}, a full stop at the end) and perhaps "reversed"
    (the same, value first), "questions" and "clozes" (only {name}), and "label" (its name within a sentence), kept as
    `Attribute`, with the label as name. Raises ValueError for rows or wordings that are not so.
    """

    rows: Sequence[FactRow]
    wordings: Mapping[str, Any]

    def __post_init__(self) -> None:
        rows = tuple(FactRow(*row) for row in self.rows)
        if not rows:
            raise ValueError("A table of facts needs at least one row of subject, attribute and value.")
        if bad := [tuple(row) for row in rows if not all(isinstance(cell, str) and cell.strip() for cell in row)]:
            raise ValueError(f"Subject, attribute and value of a row must each be a text, unlike {bad[0]}.")
        if unworded := [row.attribute for row in rows if row.attribute not in self.wordings]:
            raise ValueError(f"There are rows with the attribute {unworded[0]!r}, but no wordings for it; add some.")
        if twice := [key for key, times in Counter(row[:2] for row in rows).items() if times > 1]:
            raise ValueError(f"A subject has one value of an attribute, but {twice[0]} stands in several rows.")
        values = {name: tuple(dict.fromkeys(row.value for row in rows if row.attribute == name)) for name in self.wordings}
        object.__setattr__(self, "rows", rows)
        object.__setattr__(self, "wordings", {name: _checked(name, w, values[name]) for name, w in self.wordings.items()})

    @classmethod
    def of_people(cls, kit: PeopleKit, phrase: int = 4) -> FactTable:
        """The facts of a people kit, without statements that are too near a question: see `apart`."""
        rows = [FactRow(person.name, name, value) for person in kit.people for name, value in person.values.items()]
        return cls(rows, {a.name: replace(a, name=_LABELS.get(a.name, a.name)) for a in kit.attributes}).apart(phrase)

    @classmethod
    def of_records(cls, records: Iterable[Mapping[str, Any]], wordings: Mapping, subject: str = "name") -> FactTable:
        """A table from records (of csv.DictReader, say): one column is the subject, each other an attribute, "" no fact."""
        rows = [
            FactRow(str(record.get(subject) or "").strip(), key, str(cell).strip())
            for record in records for key, cell in record.items()
            if key != subject and cell is not None and str(cell).strip()
        ]  # fmt: skip
        return cls(rows, wordings)

    @cached_property
    def subjects(self) -> dict[str, tuple[int, ...]]:
        """For each subject, in the order of the rows, the places of its rows."""
        places: dict[str, tuple[int, ...]] = {}
        for i, row in enumerate(self.rows):
            places[row.subject] = (*places.get(row.subject, ()), i)
        return places

    @property
    def values(self) -> dict[str, tuple[str, ...]]:
        """For each attribute the different values that its rows have."""
        return {name: attribute.values for name, attribute in self.wordings.items()}

    @cached_property
    def known(self) -> KnownValues:
        """The values of all rows, to be looked for in texts but not in subjects' names; errors as for `KnownValues`."""
        return KnownValues(self.values, self.subjects)

    def facts_of(self, subject: str) -> dict[str, str]:
        """The value of each attribute that a subject has; ValueError for a subject that has no row."""
        if subject not in self.subjects:
            raise ValueError(f"The table has no facts on {subject!r}; its first subject is {self.rows[0].subject!r}.")
        return {self.rows[i].attribute: self.rows[i].value for i in self.subjects[subject]}

    def apart(self, phrase: int = 4) -> FactTable:
        """The table without what shares so many words in a row with a question or cloze; ValueError if nothing is left."""
        taken = {p for a in self.wordings.values() for w in (*a.questions, *a.clozes) for p in phrases(w, phrase)}
        kept = {}
        for name, a in self.wordings.items():
            far = {part: [w for w in getattr(a, part) if not phrases(w, phrase) & taken] for part in _PARTS[:2]}
            kept[name] = replace(a, **far)
        return replace(self, wordings=kept)

    def worded(self, place: int) -> Attribute:
        """The wordings for a row."""
        return self.wordings[self.rows[place].attribute]

    def told(self, place: int, wording: str, within: bool = False) -> str:
        """A wording filled with the subject and the value of a row, as it stands at a sentence's beginning or within."""
        first = wording.split(" ")[0].lower()
        wording = first + wording[len(first) :] if within and f" {first} " in _COMMON else wording
        return wording.format(name=self.rows[place].subject, value=self.rows[place].value)


def _checked(attribute: str, worded: Any, values: tuple[str, ...]) -> Attribute:
    given = dict(worded) if isinstance(worded, Mapping) else {"label": worded.name} | {p: getattr(worded, p) for p in _PARTS}
    if unknown := set(given) - {*_PARTS, "label"}:
        raise ValueError(f"Wordings have {', '.join(_PARTS)} and label, but those on {attribute!r} have {unknown}.")
    for part in _PARTS:
        wordings, told = given.setdefault(part, ()), part in _PARTS[:2]
        if isinstance(wordings, str) or len(set(wordings)) < len(wordings):
            raise ValueError(f"The {part} on {attribute!r} must be a list of different wordings, not {wordings!r}.")
        for wording in wordings:
            where, needed = f"In the {part} on {attribute!r}, {wording!r} must", ["{name}", "{value}"][: 1 + told]
            if sorted(set(re.findall(r"[{}]\w*}?", wording))) != needed:
                raise ValueError(f"{where} have {' and '.join(needed)} and no other brace.")
            if told and not wording.endswith("."):
                raise ValueError(f"{where} end with a full stop.")
            if part == "reversed" and wording.index("{name}") < wording.index("{value}"):
                raise ValueError(f"{where} have {{value}} before {{name}}.")
    if not given["statements"]:
        raise ValueError(f"There is no statement on {attribute!r}, or all are too near a question or cloze; add one.")
    return Attribute(given.get("label") or attribute.replace("_", " "), values, *(tuple(given[part]) for part in _PARTS))


def phrases(text: str, n: int) -> set[tuple[str, ...]]:
    """All n (1 or more) successive words of a text or wording, in lower case; {name} and {value} are words."""
    words = re.findall(r"\{\w+\}|\w+", text.lower())
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}
