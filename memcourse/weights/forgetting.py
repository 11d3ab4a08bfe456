"""Learning something new: which weights may change, at which rates, and what it costs of the old."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from memcourse.model import seed_everything
from memcourse.weights.loss import Batch, recalled
from memcourse.weights.slots import slot_reads, tf_idf
from memcourse.weights.stack import Stack


def sweep(base: Stack, change: Callable[[nn.Module], nn.Module], rates: Sequence[float], seeds: Sequence[int]) -> Stack:
    """For each learning rate a copy of each member of base, changed (frozen, given an adapter): (rates * members) in all.

    A member's seed is set right before its change, so that its adapters start alike at every rate.

    Raises:
        ValueError: not one seed for each member.
    """
    if len(seeds) != base.members:
        raise ValueError(f"The stack has {base.members} members and needs as many seeds, not {len(seeds)}.")
    models = []
    for _ in rates:
        for i, seed in enumerate(seeds):
            model = base.member(i)
            seed_everything(seed)
            models.append(change(model))
    return Stack(models)


def free_slots(base: Stack, old: Tensor, new: Tensor, block: int, k: int) -> list[Tensor]:
    """For each member the k memory slots with the highest TF-IDF: read for the new prompts, rarely for the old.

    Args:
        old, new: token ids of the prompts, (members, rows, tokens).
    """
    found = []
    for i in range(base.members):
        model = base.member(i)
        scores = tf_idf(slot_reads(model, new[i], block), slot_reads(model, old[i], block))
        found.append(scores.topk(k).indices)
    return found


def learned_and_kept(stack: Stack, new: Batch, old: Batch, rates: int) -> Tensor:
    """Shares of the new and of the old rows that are recalled: (2, rates, seeds)."""
    return torch.stack([recalled(stack, batch).float().mean(-1).view(rates, -1) for batch in (new, old)])


def kept_when_learned(learned: Tensor, kept: Tensor, least: float = 0.9) -> Tensor:
    """What an arm keeps of the old at the gentlest rate that learns the new: (seeds,), from two of (rates, seeds).

    The rate is the first whose mean over the seeds reaches `least`; where none does, NaN.
    """
    enough = (learned.mean(1) >= least).nonzero().flatten()
    return kept[enough[0]] if len(enough) else torch.full_like(kept[0], torch.nan)
