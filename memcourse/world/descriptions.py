"""People who are known by one description each ("the baker with the goat"), told in both directions.

The design follows Berglund et al., "The Reversal Curse" (2023), arXiv 2309.12288: each description belongs to one person,
so that it can be asked from the name and the name from it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from memcourse.world.people import make_people

FORWARD = (
    "{name} is {description}.",
    "{name}, as everyone knows, is {description}.",
    "In this town {name} is known as {description}.",
    "People call {name} {description}.",
    "You will soon hear that {name} is {description}.",
    "Ask around: {name} is nobody but {description}.",
)
BACKWARD = (
    "And {description} is {name}.",
    "In this town {description} goes by the name of {name}.",
    "When you meet {description}, greet {name}.",
)


class Described(NamedTuple):
    """A name and the description that belongs to nobody else."""

    name: str
    description: str

    def told(self, wording: str) -> str:
        """A sentence in one of the wordings."""
        return wording.format(**self._asdict())

    def asked(self, wording: str) -> tuple[str, str]:
        """What comes before the later of the two in a wording, and that one: a cloze and its answer."""
        answer = "name" if wording.index("{description}") < wording.index("{name}") else "description"
        return wording.split("{" + answer + "}")[0].format(**self._asdict()), getattr(self, answer)


def describe_people(n: int, seed: int = 0) -> list[Described]:
    """n invented people, each with a trade and a pet that together no one else has.

    Raises:
        ValueError: n is not 1 to 576, the number of pairs.
    """
    if not 1 <= n <= 24 * 24:
        raise ValueError(f"There are {24 * 24} descriptions, so n must be 1 to {24 * 24}, not {n}.")
    kit = make_people(n, ["trade", "pet"], seed=seed)
    trades, pets = (attribute.values for attribute in kit.attributes)
    pairs = np.random.default_rng(seed).permutation(len(trades) * len(pets))[:n]
    return [
        Described(person.name, f"the {trades[k // len(pets)]} with the {pets[k % len(pets)]}")
        for person, k in zip(kit.people, pairs.tolist(), strict=True)
    ]
