"""LoRA: beside a frozen matrix stands a trainable one of low rank, which starts as zero."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class LoRALinear(nn.Module):
    """A frozen linear layer plus (alpha / rank) * B A, with A (rank, in) random and B (out, rank) zero.

    So the layer begins as what it was, and rank * (in + out) numbers are trained in place of in * out.
    Source: Hu et al., "LoRA" (2021), arXiv 2106.09685. Tested equal to PEFT's.
    """

    def __init__(self, layer: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.down = nn.Parameter(torch.empty(rank, layer.in_features, dtype=layer.weight.dtype, device=layer.weight.device))
        self.up = nn.Parameter(torch.zeros(layer.out_features, rank, dtype=layer.weight.dtype, device=layer.weight.device))
        self.scale = alpha / rank
        nn.init.kaiming_uniform_(self.down, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + self.scale * (x @ self.down.mT) @ self.up.mT


def add_lora(model: nn.Module, rank: int, alpha: float | None = None, targets: Sequence[str] | None = None) -> nn.Module:
    """Freeze a model and put a `LoRALinear` around its linear layers, in place; returns the model.

    Call `seed_everything` right before: the adapters start at random.

    Args:
        rank: of the added matrices.
        alpha: strength of the update; 2 * rank by default, so that all ranks start equally strong.
        targets: last parts of the names of the layers to adapt; all linear layers by default.

    Raises:
        ValueError: rank below 1, or no such layer.
    """
    layers = {
        name: layer for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and (targets is None or name.split(".")[-1] in targets)
    }  # fmt: skip
    if rank < 1 or not layers:
        raise ValueError(f"LoRA needs a rank of at least 1 and linear layers to adapt; not {rank} and {targets!r}.")
    model.requires_grad_(False)
    for name, layer in layers.items():
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, LoRALinear(layer, rank, 2.0 * rank if alpha is None else alpha))
    return model
