"""The notes of rival card brands, which differ in the brand's name and in one rule (the Visa/Mastercard problem)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import numpy as np

from memcourse.world.manifest import data_path


@dataclass(frozen=True)
class CardNote:
    """One rule of one invented card brand.

    Attributes:
        brand: "Corvel Card", say.
        topic: what the rule is about; each brand has one note on it.
        value: the answer to the question; every other brand loaded with this one has another.
        text: the note; it holds the brand once and the value once.
        bare: the same with "card" for the brand, as a chunk of a longer page whose title alone names the brand.
        title: the brand and the topic ("Corvel Card: lost card").
        question: asks for the value, and names the brand.
    """

    brand: str
    topic: str
    value: str
    text: str
    bare: str
    title: str
    question: str


def load_card_notes(brands: int = 2, first: int = 0, seed: int = 0) -> tuple[CardNote, ...]:
    """The 40 notes of each of some rival brands, topic by topic: notes that differ in brand and value stand side by side.

    In every topic the values of the brands differ. Those of one brand depend on `seed` alone, not on who its rivals are.

    Args:
        brands: how many brands, 1 to 6 (a topic has six values).
        first: place of the first of them in the file, from 0 on.
        seed: what the values are drawn with.

    Raises:
        ValueError: a number of brands outside that range, or more than the file has from `first` on.
        CourseError: the file is missing or was changed.
    """
    data = json.loads(data_path("cards.json").read_text(encoding="utf-8"))
    most, known = min(len(note["values"]) for note in data["notes"]), len(data["brands"])
    if not 1 <= brands <= most or not 0 <= first <= known - brands:
        raise ValueError(
            f"brands must be 1 to {most}, first at least 0, and their sum at most {known}; not {brands} and {first}."
        )
    rng = np.random.default_rng(seed)
    found = []
    for note in data["notes"]:
        drawn = rng.permutation(note["values"]).tolist()
        for place in range(first, first + brands):
            brand, value = data["brands"][place], drawn[place % most]  # neighbours in a cycle of six never share a value
            found.append(
                CardNote(
                    brand, note["topic"], value, _named(note["text"], brand).format(value=value),
                    _named(note["text"], "card").format(value=value), f"{brand}: {note['topic']}",
                    _named(note["question"], brand),
                )
            )  # fmt: skip
    return tuple(found)


def _named(wording: str, brand: str) -> str:
    """The wording with the brand in its place, and "an" where an "a" stands before a vowel ("an Ombry Card")."""
    article = r"\1n" if brand[0] in "AEIOU" else r"\1"
    return re.sub(r"\b([Aa])(?= \{brand\})", article, wording).replace("{brand}", brand)
