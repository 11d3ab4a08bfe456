"""Rounding weights to a few bits after training."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


def rounded(matrix: Tensor, bits: int) -> Tensor:
    """The nearest of 2**bits - 1 evenly spaced values, symmetric around 0, with one scale for each row (..., rows, columns).

    Source: the usual symmetric absmax rounding, see Dettmers et al., "LLM.int8()" (2022), arXiv 2208.07339.

    Raises:
        ValueError: fewer than 2 bits.
    """
    if bits < 2:
        raise ValueError(f"Symmetric rounding needs at least 2 bits (three values), not {bits}.")
    most = 2 ** (bits - 1) - 1
    scale = matrix.abs().amax(-1, keepdim=True).clamp(min=torch.finfo(matrix.dtype).tiny) / most
    return (matrix / scale).round().clamp(-most, most) * scale


@torch.no_grad()
def quantised(model: nn.Module, bits: int) -> nn.Module:
    """A copy of a model, or of a `Stack`, whose matrices are rounded; the norms' scales, a few numbers, stay as they are."""
    model = copy.deepcopy(model)
    single = 2 if not hasattr(model, "members") else 3  # a stack's matrices have the members in front
    for weight in model.parameters():
        if weight.dim() == single:
            weight.copy_(rounded(weight, bits))
    return model
