"""How many bits fit into weights: random strings, what they offer, and what a trained model has kept of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from memcourse.weights.loss import Batch, row_nll


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


def most_bits(n: int, length: int, vocab: int) -> float:
    """The most that can be kept of n strings: what the first token leaves open can't be known by heart.

    Where many strings begin alike, even a perfect memory must still be told which one is meant, log2(n / vocab) bits.
    """
    return n * (length - 1) * math.log2(vocab) - n * max(0.0, math.log2(n / vocab))


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
