"""How many bits fit into weights: random strings, what they offer, and what a trained model has kept of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from memcourse.progress import Label, silent
from memcourse.weights.gpt import GPTShape, TinyGPT, n_parameters
from memcourse.weights.loss import Batch, row_nll
from memcourse.weights.quantise import quantised
from memcourse.weights.stack import Stack
from memcourse.weights.training import Recipe, constant, train

VOCAB, LENGTH = 64, 16  # of the experiments below: a string offers 15 * 6 = 90 bits
BITS = (8, 6, 4, 3)  # to which the weights are rounded


def random_strings(n: int, length: int, vocab: int, seed: int = 0) -> Tensor:
    """n strings (n, length) of tokens that are all equally likely: nothing about one follows from any other.

    The first strings of a longer list are those of a shorter one.

    Raises:
        ValueError: n < 1, length < 2 or vocab < 2.
    """
    if n < 1 or length < 2 or vocab < 2:
        raise ValueError(f"Random strings need n >= 1, length >= 2 and vocab >= 2, not {n}, {length} and {vocab}.")
    return torch.randint(vocab, (n, length), generator=torch.Generator().manual_seed(seed))


def bits_offered(strings: Tensor, vocab: int) -> float:
    """Bits of n strings (..., n, length) whose first token is given: n (length - 1) log2 vocab."""
    n, length = strings.shape[-2:]
    return bits_stored(0.0, n, length, vocab)


def bits_stored(nll: float, n: int, length: int, vocab: int) -> float:
    """What n random strings offer less what they still cost, in bits; nll is their summed loss in nats.

    Raises:
        ValueError: n < 1, length < 2 or vocab < 2.
    """
    if n < 1 or length < 2 or vocab < 2:
        raise ValueError(f"Random strings need n >= 1, length >= 2 and vocab >= 2, not {n}, {length} and {vocab}.")
    return n * (length - 1) * math.log2(vocab) - nll / math.log(2)


def bits_kept(model: nn.Module, strings: Tensor, vocab: int) -> Tensor:
    """Bits that a model has stored of the strings (n, length), or each member of a `Stack` of its own: (members,).

    Source: Morris et al., "How much do language models memorize?" (2025), arXiv 2505.24832; their unintended
    memorisation, with the uniform distribution (which is the true one here) as the reference model.
    """
    still = row_nll(model, Batch(strings, strings)).sum(-1).reshape(-1) / math.log(2)
    return bits_offered(strings, vocab) - still


def memorise(
    d: int, load: float, steps: int, seeds: Sequence[int], device: str = "cpu", progress: Label = silent
) -> tuple[Stack, Tensor]:
    """Models of width d, one a seed, trained on strings (seeds, n, 16) that offer `load` bits for each parameter.

    Every step sees all strings. The learning rate and the betas were chosen on seed 100, for short trainings.
    """
    shape = GPTShape(VOCAB, d, layers=2, heads=d // 4, d_ff=2 * d, window=LENGTH)
    stack = Stack.built(lambda: TinyGPT(shape), seeds).to(device)
    n = max(1, round(load * n_parameters(TinyGPT(shape)) / bits_offered(torch.zeros(1, LENGTH), VOCAB)))
    strings = torch.stack([random_strings(n, LENGTH, VOCAB, seed) for seed in seeds])
    batch = Batch(strings, strings).to(torch.device(device))
    recipe = Recipe(steps, lr=0.08, betas=(0.8, 0.95))
    train(stack, constant(batch), recipe, progress=progress(f"width {d}, {load} bits/parameter, {steps} steps"))
    return stack, strings


def capacity_by_width(
    widths: Sequence[int], loads: Sequence[float], steps: int, seeds: Sequence[int], device: str = "cpu",
    progress: Label = silent, round_at: Sequence[float] = (0.9, 3.6),
) -> dict[str, Any]:  # fmt: skip
    """Memorise at every width and load.

    Returns arrays: "parameters" (widths,); "offered" (widths, loads); "kept", and "first", which counts only the strings
    that the smallest load has too, (widths, loads, seeds); "rounded", bits kept at the loads `round_at` by the weights as
    they are, then rounded to 8, 6, 4 and 3 bits, (widths, 2, 5, seeds).

    Raises:
        ValueError: a load of `round_at` that is not among the loads.
    """
    if not set(round_at) <= set(loads):
        raise ValueError(f"Weights are rounded at loads that are trained: {round_at} are not all among {loads}.")
    found: dict[str, list[Any]] = {name: [] for name in ("parameters", "offered", "kept", "first", "rounded")}
    for d in widths:
        offered, kept, first, rounds, few = [], [], [], [], None
        for load in loads:
            stack, strings = memorise(d, load, steps, seeds, device, progress)
            few = len(strings[0]) if few is None else few
            offered.append(bits_offered(strings[0], VOCAB))
            kept.append(bits_kept(stack, strings, VOCAB).tolist())
            first.append(bits_kept(stack, strings[:, :few], VOCAB).tolist())
            if load in round_at:
                after = [bits_kept(quantised(stack, bits), strings, VOCAB).tolist() for bits in BITS]
                rounds.append([kept[-1], *after])
        row = {"parameters": n_parameters(stack.member(0)), "offered": offered, "kept": kept, "first": first}
        row["rounded"] = rounds
        for name, value in row.items():
            found[name].append(value)
    return {name: np.array(values) for name, values in found.items()}


def capacity_by_time(
    steps: Sequence[int], d: int, load: float, seeds: Sequence[int], device: str = "cpu", progress: Label = silent
) -> dict[str, Any]:
    """Bits kept per parameter by models that were trained for so many steps: "kept" (steps, seeds)."""
    kept = []
    for n in steps:
        stack, strings = memorise(d, load, n, seeds, device, progress)
        kept.append((bits_kept(stack, strings, VOCAB) / n_parameters(stack.member(0))).tolist())
    return {"kept": np.array(kept)}
