"""What a search returns, and how the results of several searches become one: reciprocal rank fusion. Notebook 05."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

Id = TypeVar("Id", bound=Hashable)


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """What one search found, the best first.

    Attributes:
        ids: (n,) int64; n may be less than was asked for.
        scores: (n,) float32; higher is better.
    """

    ids: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


def reciprocal_rank_fusion(
    rankings: Sequence[Sequence[Id]], k: float = 60, weights: Sequence[float] | None = None
) -> list[tuple[Id, float]]:
    """One ranking of everything that several rankings found, with its fused scores, best first.

    Rank r (from 1 on) in a ranking of weight w adds w / (k + r); the sum is divided by what a first place everywhere would
    give. So the score lies in (0, 1] and is 1 for what is first in every ranking. It tells ranks, not similarity: what
    stands first in one of two rankings and in no other has 0.5, however alike or unlike it is, and a threshold that was
    chosen for cosines has no meaning here. Equal scores keep the order of the rankings.

    Source: Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning
    Methods" (2009).

    Args:
        rankings: ids, best first; a ranking may be empty, and may have any length.
        k: how little the first places count more than the following ones; 60 is the paper's choice.
        weights: one for each ranking; all 1 by default.

    Raises:
        ValueError: no ranking, an id twice in one ranking, k < 0, or weights that are not positive, one for each ranking.
    """
    weights = [1.0] * len(rankings) if weights is None else [float(w) for w in weights]
    if not rankings or len(weights) != len(rankings) or not all(0 < w < math.inf for w in weights) or not 0 <= k < math.inf:
        raise ValueError(
            f"Fusion needs at least one ranking, a weight above 0 for each, and k >= 0; "
            f"not {len(rankings)} rankings, weights {weights}, k = {k}."
        )
    most = sum(weights) / (k + 1)
    fused: dict[Id, float] = {}
    for number, (ranking, weight) in enumerate(zip(rankings, weights, strict=True)):
        items = [item.item() if isinstance(item, np.generic) else item for item in ranking]
        if len(set(items)) < len(items):
            raise ValueError(f"Ranking {number} holds an id twice; each may stand in it once.")
        for rank, item in enumerate(items, 1):
            fused[item] = fused.get(item, 0.0) + weight / (k + rank) / most
    return sorted(fused.items(), key=lambda pair: -pair[1])
