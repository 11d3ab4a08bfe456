"""The people kit: any number of invented people, with biographies in as many wordings as wanted.

The design follows the controlled biographies of Allen-Zhu and Li, "Physics of Language Models: Part 3.1" (2023,
arXiv 2309.14316): every person has a full name and one value for each attribute, drawn independently, so that a
biography is the only place from which a value can be known.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from memcourse.world.manifest import data_path


@dataclass(frozen=True)
class Attribute:
    """One attribute of invented people.

    Attributes:
        name: "pet", say.
        values: its possible values.
        statements, reversed, questions, clozes: wordings with {name} (and {value}); `reversed` names the value first.
    """

    name: str
    values: tuple[str, ...]
    statements: tuple[str, ...]
    reversed: tuple[str, ...]
    questions: tuple[str, ...]
    clozes: tuple[str, ...]


@dataclass(frozen=True)
class Person:
    """One invented person: a name, a value for each attribute, and the split ("train" or "test")."""

    name: str
    values: Mapping[str, str]
    split: str


@dataclass(frozen=True)
class PersonQuestion:
    """A question on one attribute of one person, with its cloze, its answer and all values as choices."""

    person: str
    attribute: str
    question: str
    cloze: str
    answer: str
    choices: tuple[str, ...]
    split: str

    @property
    def gold(self) -> int:
        """Place of the answer among the choices."""
        return self.choices.index(self.answer)


@dataclass(frozen=True)
class PeopleKit:
    """Invented people over some attributes.

    Attributes:
        people: in random order; no two share a name.
        attributes: the attributes that each has.
        seed: what names, values and split were drawn with.
    """

    people: tuple[Person, ...]
    attributes: tuple[Attribute, ...]
    seed: int

    @property
    def chance(self) -> float:
        """Share of questions that a guess gets right: each value is as frequent as any other, in both splits."""
        return float(np.mean([1 / len(attribute.values) for attribute in self.attributes]))

    def select(self, split: str) -> list[Person]:
        """The people of one split."""
        return [person for person in self.people if person.split == split]

    def biographies(self, person: Person, n: int = 1, wordings: int | None = None, shuffle: bool = True) -> list[str]:
        """n texts that each state all attributes of a person, one sentence for each, with the full name in every sentence.

        Args:
            n: how many texts.
            wordings: from how many of the wordings they choose; 1 makes all sentences of one attribute the same,
                None takes all of them. Text i and text i + wordings are worded alike.
            shuffle: whether the order of the sentences changes from text to text.

        Raises:
            ValueError: n < 1, or more wordings than there are.
        """
        most = min(len(attribute.statements) for attribute in self.attributes)
        wordings = most if wordings is None else wordings
        if n < 1 or not 1 <= wordings <= most:
            raise ValueError(f"n must be at least 1 and wordings between 1 and {most}, not {n} and {wordings}.")
        rng = np.random.default_rng([self.seed, *person.name.encode()])
        start = {a.name: int(rng.integers(len(a.statements))) for a in self.attributes}
        texts = []
        for i in range(n):
            order = rng.permutation(len(self.attributes)) if shuffle else np.arange(len(self.attributes))
            chosen = [self.attributes[k] for k in order]
            sentences = [a.statements[(start[a.name] + i % wordings) % len(a.statements)] for a in chosen]
            texts.append(" ".join(_filled(s, person, a) for s, a in zip(sentences, chosen, strict=True)))
        return texts

    def reversed_statements(self, person: Person) -> list[str]:
        """One sentence for each attribute and reversed wording: the value comes first, then the name."""
        return [_filled(wording, person, a) for a in self.attributes for wording in a.reversed]

    def questions(self, split: str | None = None, wording: int = 0) -> list[PersonQuestion]:
        """One question for each person and attribute; `wording` picks how it is asked.

        Raises:
            ValueError: there is no such wording, or no one in that split.
        """
        people = self.people if split is None else self.select(split)
        most = min(min(len(a.questions), len(a.clozes)) for a in self.attributes)
        if not people or not 0 <= wording < most:
            raise ValueError(
                f"split must be 'train' or 'test' and wording between 0 and {most - 1}, not {split!r} and {wording}."
            )
        return [
            PersonQuestion(
                person.name, a.name, _filled(a.questions[wording], person, a), _filled(a.clozes[wording], person, a),
                person.values[a.name], a.values, person.split,
            )
            for person in people for a in self.attributes
        ]  # fmt: skip


def make_people(
    n: int, attributes: int | Sequence[str] = 3, values: int = 24, test_share: float = 0.5, seed: int = 0
) -> PeopleKit:
    """Invent n people; the same arguments give the same people.

    In each split every value of an attribute occurs equally often (up to one), in an order of its own, so that a
    constant guess scores `kit.chance` and no attribute tells of another.

    Args:
        attributes: how many of the kit's attributes (the first ones), or their names.
        values: how many values each attribute has, 2 to 24.
        test_share: share of the people in split "test".

    Raises:
        ValueError: more people, attributes or values than the kit has, or a share outside [0, 1].
    """
    firsts, surnames, known = _kit()
    names = list(known)[:attributes] if isinstance(attributes, int) else list(attributes)
    if not names or not set(names) <= set(known) or (isinstance(attributes, int) and attributes != len(names)):
        raise ValueError(f"attributes must be 1 to {len(known)}, or names among {', '.join(known)}; not {attributes!r}.")
    largest = min(len(known[name].values) for name in names)
    if not 1 <= n <= len(firsts) * len(surnames) or not 2 <= values <= largest or not 0 <= test_share <= 1:
        raise ValueError(
            f"n must be 1 to {len(firsts) * len(surnames)}, values 2 to {largest}, test_share 0 to 1; "
            f"not {n}, {values}, {test_share}."
        )
    rng = np.random.default_rng(seed)
    full = [
        f"{firsts[k // len(surnames)]} {surnames[k % len(surnames)]}"
        for k in rng.permutation(len(firsts) * len(surnames))[:n]
    ]
    tested = round(n * test_share)
    splits = ["test"] * tested + ["train"] * (n - tested)
    chosen = [_first_values(known[name], values) for name in names]
    drawn = {a.name: [*_balanced(a.values, tested, rng), *_balanced(a.values, n - tested, rng)] for a in chosen}
    people = [Person(full[i], {name: drawn[name][i] for name in names}, splits[i]) for i in range(n)]
    return PeopleKit(tuple(people[i] for i in rng.permutation(n)), tuple(chosen), seed)


@cache
def _kit() -> tuple[tuple[str, ...], tuple[str, ...], dict[str, Attribute]]:
    data = json.loads(data_path("people.json").read_text(encoding="utf-8"))
    parts = ("values", "statements", "reversed", "questions", "cloze")
    attributes = {name: Attribute(name, *(tuple(a[part]) for part in parts)) for name, a in data["attributes"].items()}
    return tuple(data["first_names"]), tuple(data["surnames"]), attributes


def _first_values(attribute: Attribute, k: int) -> Attribute:
    return Attribute(
        attribute.name, attribute.values[:k], attribute.statements, attribute.reversed, attribute.questions, attribute.clozes
    )


def _balanced(values: Sequence[str], n: int, rng: np.random.Generator) -> list[str]:
    """n values in random order, each as often as any other (up to one)."""
    whole = [values[i % len(values)] for i in rng.permutation(len(values)).tolist() * (n // len(values) + 1)][:n]
    return [whole[i] for i in rng.permutation(n)]


def _filled(wording: str, person: Person, attribute: Attribute) -> str:
    return wording.format(name=person.name, value=person.values[attribute.name])
