"""Real countries and their capitals: what a model may know, from the head to the tail."""

from __future__ import annotations

import csv
from dataclasses import dataclass

from memcourse.world.manifest import data_path


@dataclass(frozen=True)
class Country:
    """A country as it is written inside a sentence, its capital, and its population in millions (a popularity proxy)."""

    name: str
    capital: str
    population_millions: float


def load_capitals() -> list[Country]:
    """All countries of data/capitals.csv, the most populous first."""
    with data_path("capitals.csv").open(encoding="utf-8", newline="") as file:
        return [Country(row["country"], row["capital"], float(row["population_millions"])) for row in csv.DictReader(file)]
