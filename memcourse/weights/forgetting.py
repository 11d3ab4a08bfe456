"""Learning something new: which weights may change, at which rates, and what it costs of the old."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from memcourse.model import seed_everything
from memcourse.progress import Label, silent
from memcourse.weights.gpt import GPTShape, TinyGPT
from memcourse.weights.lora import add_lora
from memcourse.weights.loss import Batch, recalled
from memcourse.weights.slots import add_memory, only_values, slot_reads, tf_idf, train_rows_only
from memcourse.weights.stack import Stack
from memcourse.weights.training import Recipe, constant, train
from memcourse.weights.words import WordTokenizer, side_by_side
from memcourse.world import make_people


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
    """What an arm keeps of the old where it has learned `least` of the new: (seeds,), from two of (rates, seeds).

    For each seed, on the straight line between the first rate that learns so much and the rate before. A seed that learns
    so much at no rate gives what it keeps where it learns most, which speaks for the arm.
    """
    found = []
    for x, y in zip(learned.T, kept.T, strict=True):
        enough = (x >= least).nonzero().flatten()
        if len(enough) == 0:
            found.append(y[x.argmax()])
        elif (i := int(enough[0])) == 0:
            found.append(y[0])
        else:
            found.append(torch.lerp(y[i - 1], y[i], (least - x[i - 1]) / (x[i] - x[i - 1])))
    return torch.stack(found)


# How each arm changes the model before it learns, and the learning rates at which it is run (chosen on seed 100)
ARMS: Mapping[str, tuple[Callable[[nn.Module], nn.Module], tuple[float, ...]]] = {
    "all weights": (lambda model: model, (1e-4, 2e-4, 4e-4, 1e-3)),
    "LoRA, rank 1": (partial(add_lora, rank=1), (2e-3, 4e-3, 1e-2, 2e-2)),
    "LoRA, rank 4": (partial(add_lora, rank=4), (5e-4, 1e-3, 2e-3, 4e-3)),
    "LoRA, rank 16": (partial(add_lora, rank=16), (2e-4, 5e-4, 1e-3, 2e-3)),
    "all slots": (only_values, (2e-3, 5e-3, 1e-2, 3e-2)),
    "few slots": (only_values, (2e-3, 5e-3, 1e-2, 3e-2)),
}


def learn_and_forget(
    old: int, new: int, half_keys: int, few: int, steps: tuple[int, int], seeds: Sequence[int], device: str = "cpu",
    progress: Label = silent,
) -> dict[str, Any]:  # fmt: skip
    """Learn the pets of `old` people, then those of `new` others, each arm at each of its rates.

    The model is a TinyGPT whose first feed-forward part is a memory of half_keys^2 slots; `few` of them may change in the
    arm "few slots". Only the pets count in the loss; every step sees all facts.

    Args:
        steps: for the old facts and for the new ones.

    Returns: "start" (2, seeds), shares of the old and of the new facts known before; "after" (arms, 2, rates, seeds),
    shares of the new and of the old facts known afterwards.
    """
    kits = [make_people(old + new, ["pet"], seed=seed) for seed in seeds]
    pairs = [[(f"{person.name} keeps a", person.values["pet"]) for person in kit.people] for kit in kits]
    tokenizer = WordTokenizer([" ".join(pair) for some in pairs for pair in some])
    a = side_by_side([tokenizer.answers(some[:old]) for some in pairs]).to(torch.device(device))
    b = side_by_side([tokenizer.answers(some[old:]) for some in pairs]).to(torch.device(device))
    shape = GPTShape(len(tokenizer), d=64, d_ff=32, window=8)
    base = Stack.built(lambda: add_memory(TinyGPT(shape), 0, half_keys, top=4), seeds).to(device)
    train(base, constant(a), Recipe(steps[0], lr=5e-3, betas=(0.9, 0.98)), progress=progress("old facts"))
    after = []
    for arm, (change, rates) in ARMS.items():
        stack = sweep(base, change, rates, seeds)
        if arm == "few slots":
            rows = free_slots(base, a.ids[..., :-1], b.ids[..., :-1], 0, few)
            train_rows_only(stack.stacked()["blocks.0.mlp.values"], rows * len(rates))
        a_each, b_each = (Batch(*(part.repeat(len(rates), 1, 1) for part in batch)) for batch in (a, b))
        recipe = Recipe(steps[1], lr=np.repeat(rates, len(seeds)).tolist(), betas=(0.9, 0.98))
        train(stack, constant(b_each), recipe, progress=progress(f"new facts, {arm}"))
        after.append(learned_and_kept(stack, b_each, a_each, len(rates)).tolist())
    start = [recalled(base, batch).float().mean(-1).tolist() for batch in (a, b)]
    return {"start": np.array(start), "after": np.array(after)}
