"""A memory layer: a large table of values, of which each token reads a few; and updates that touch chosen rows only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from memcourse.weights.gpt import TinyGPT


class ProductKeyMemory(nn.Module):
    """Takes the place of a feed-forward part: (batch, tokens, d) to (batch, tokens, d) through keys^2 slots.

    A query is cut in two; each half meets `keys` half-keys, and slot (i, j) scores the sum of both. So the best of keys^2
    slots are found with 2 * keys comparisons. The `top` best slots' values are mixed by the softmax of their scores.
    Source: Lample et al., "Large Memory Layers with Product Keys" (2019), arXiv 1907.05242.

    Raises:
        ValueError: top is larger than keys, or d is odd.
    """

    def __init__(self, d: int, keys: int = 32, top: int = 8) -> None:
        super().__init__()
        if not 1 <= top <= keys or d % 2:
            raise ValueError(f"A memory needs an even width, and top between 1 and its {keys} half-keys; not {d} and {top}.")
        self.n_keys, self.top = keys, top
        self.query = nn.Linear(d, d, bias=False)
        self.keys = nn.Parameter(torch.randn(2, keys, d // 2) * (d // 2) ** -0.5)
        self.values = nn.Parameter(torch.randn(keys * keys, d) * d**-0.5)

    def find(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Slots (batch, tokens, top) that each token reads, and their weights, which add up to 1."""
        halves = self.query(x).unflatten(-1, (2, -1))
        score, place = torch.einsum("...hd,hkd->...hk", halves, self.keys).topk(self.top)
        pairs = score[..., 0, :, None] + score[..., 1, None, :]
        best, flat = pairs.flatten(-2).topk(self.top)
        first = place[..., 0, :].gather(-1, flat // self.top)
        second = place[..., 1, :].gather(-1, flat % self.top)
        return first * self.n_keys + second, best.softmax(-1)

    def forward(self, x: Tensor) -> Tensor:
        slots, weights = self.find(x)
        return (weights[..., None] * self.values[slots]).sum(-2)


def add_memory(model: TinyGPT, block: int = -1, keys: int = 32, top: int = 8) -> TinyGPT:
    """Put a `ProductKeyMemory` in the place of one block's feed-forward part, in place; returns the model."""
    model.blocks[block].mlp = ProductKeyMemory(model.shape.d, keys, top)
    return model


def only_values(model: nn.Module) -> nn.Module:
    """Freeze everything but the values of the memory layers, in place; returns the model."""
    model.requires_grad_(False)
    for memory in model.modules():
        if isinstance(memory, ProductKeyMemory):
            memory.values.requires_grad_(True)
    return model


@torch.no_grad()
def slot_reads(model: nn.Module, ids: Tensor, block: int = -1) -> Tensor:
    """How often each text (rows, tokens) reads each slot: (rows, slots).

    Raises:
        ValueError: the block has no memory layer.
    """
    blocks: Any = model.blocks
    memory = blocks[block].mlp
    if not isinstance(memory, ProductKeyMemory):
        raise ValueError(f"Block {block} of this model has no memory layer; call add_memory first.")
    seen: list[Tensor] = []
    hook = memory.register_forward_pre_hook(lambda _, inputs: seen.append(memory.find(inputs[0])[0]))
    try:
        model(ids)
    finally:
        hook.remove()
    slots = seen[0].flatten(1)
    return torch.zeros(len(ids), len(memory.values), device=ids.device).scatter_add_(
        1, slots, torch.ones_like(slots).float()
    )


def tf_idf(new: Tensor, old: Tensor) -> Tensor:
    """Score of each slot: its share of the new texts' reads, times log((old texts + 1) / (old texts that read it + 1)).

    High where the new texts read and the old ones don't. Source: Lin et al., "Continual Learning via Sparse Memory
    Finetuning" (2025), arXiv 2510.15103.

    Args:
        new, old: `slot_reads` of both kinds of text.
    """
    share = new.sum(0) / new.sum().clamp(min=1)
    return share * torch.log((len(old) + 1) / ((old > 0).sum(0) + 1))


def train_rows_only(table: nn.Parameter, rows: Sequence[Tensor]) -> None:
    """Let training change only these rows of a stacked table (members, slots, d), one set of rows for each member."""
    chosen = torch.zeros(table.shape[:2], device=table.device)
    for member, row in enumerate(rows):
        chosen[member, row] = 1.0
    table.register_hook(lambda grad: grad * chosen[..., None])
