"""LoRA: beside a frozen matrix stands a trainable one of low rank, which starts as zero."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_BLOCK = re.compile(r"(?:^|\.)(?:layers|blocks)\.(\d+)(?:\.|$)")


class LoRALinear(nn.Module):
    """A frozen linear layer plus (alpha / rank) * B A, with A (rank, in) random and B (out, rank) zero.

    So the layer begins as what it was, and rank * (in + out) numbers are trained in place of in * out. While `active` is
    False it is what it was (see `without_lora`).
    Source: Hu et al., "LoRA" (2021), arXiv 2106.09685. Tested equal to PEFT's.
    """

    def __init__(self, layer: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.down = nn.Parameter(torch.empty(rank, layer.in_features, dtype=layer.weight.dtype, device=layer.weight.device))
        self.up = nn.Parameter(torch.zeros(layer.out_features, rank, dtype=layer.weight.dtype, device=layer.weight.device))
        self.rank, self.alpha, self.scale = rank, alpha, alpha / rank
        self.active = True
        nn.init.kaiming_uniform_(self.down, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        if not self.active:
            return self.layer(x)
        return self.layer(x) + self.scale * (x @ self.down.mT) @ self.up.mT


def add_lora(
    model: nn.Module,
    rank: int,
    alpha: float | None = None,
    targets: Sequence[str] | None = None,
    layers: Collection[int] | None = None,
) -> nn.Module:
    """Freeze a model and put a `LoRALinear` around its linear layers, in place; returns the model.

    Call `seed_everything` right before: the adapters start at random. There is no second model afterwards: to compare
    with what was before, use `without_lora`.

    Args:
        rank: of the added matrices.
        alpha: strength of the update; 2 * rank by default, so that all ranks start equally strong.
        targets: last parts of the names of the layers to adapt; by default all linear layers but the output layer of a
            transformers model (PEFT's "all-linear").
        layers: decoder blocks, by number, in which to adapt; all of them, and what stands outside, by default.

    Raises:
        ValueError: rank below 1, a target or a block that isn't there, or a model with LoRA layers.
    """
    chosen = _chosen(model, rank, targets, layers)
    if lora_layers(model):
        raise ValueError("This model has LoRA layers already: call remove_lora or merge_lora first.")
    return put_lora(model, dict.fromkeys(chosen, (rank, 2.0 * rank if alpha is None else alpha)))


def put_lora(model: nn.Module, strengths: Mapping[str, tuple[int, float]]) -> nn.Module:
    """Freeze a model and adapt the linear layers of these names, each with its own (rank, alpha), in place."""
    model.requires_grad_(False)
    for name, (rank, alpha) in strengths.items():
        layer = model.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        model.set_submodule(name, LoRALinear(layer, rank, alpha).train(layer.training))
    return model


def lora_parameters(
    model: nn.Module, rank: int, targets: Sequence[str] | None = None, layers: Collection[int] | None = None
) -> int:
    """How many numbers `add_lora` with these arguments would train; the model stays as it is.

    Raises:
        ValueError: as `add_lora`, but a model that has LoRA layers is counted as if it had none.
    """
    chosen = _chosen(model, rank, targets, layers).values()
    return sum(rank * (layer.in_features + layer.out_features) for layer in chosen)


def lora_layers(model: nn.Module) -> dict[str, LoRALinear]:
    """The LoRA layers of a model by the names of the layers that they stand around; empty where there are none."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, LoRALinear)}


def linear_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """The linear layers of a model by name, as if there were no LoRA around any."""
    adapted = lora_layers(model)
    found = {}
    for name, module in model.named_modules():
        if name.rpartition(".")[0] in adapted:
            continue
        layer = module.layer if isinstance(module, LoRALinear) else module
        if isinstance(layer, nn.Linear) and name:  # a bare layer has nothing in which it could be replaced
            found[name] = layer
    return found


def block_number(name: str) -> int | None:
    """The decoder block that a layer belongs to: the number after "layers." or "blocks." in its name, if there is one."""
    match = _BLOCK.search(name)
    return int(match[1]) if match else None


@contextmanager
def without_lora(model: nn.Module) -> Iterator[None]:
    """Within this block the model answers as if it had no LoRA; afterwards, also after an error, all is as before.

    Wrapping changes a model in place, so "the base" and "the adapted model" are one object. This is the comparison of
    before and after that needs no second copy. Blocks may stand within blocks.
    """
    before = [(layer, layer.active) for layer in lora_layers(model).values()]
    try:
        for layer, _ in before:
            layer.active = False
        yield
    finally:
        for layer, active in before:
            layer.active = active


def remove_lora(model: nn.Module) -> nn.Module:
    """Put the original linear layers back, in place, and return the model, frozen; without any LoRA do nothing.

    The weights are bit for bit what they were before `add_lora`: training never touched them.
    """
    adapted = lora_layers(model)
    if adapted:
        model.requires_grad_(False)
    for name, layer in adapted.items():
        model.set_submodule(name, layer.layer)
    return model


@torch.no_grad()
def merge_lora(model: nn.Module) -> nn.Module:
    """Add (alpha / rank) * B A to the weights and take the LoRA layers away, in place; returns the model, frozen.

    A merged model costs no more than the base, and no longer knows what it had learned: in half precision the sum is
    rounded to the weights' own grid, so an update of less than half a step (a relative 0.4 % in bfloat16) is lost, and
    nothing gives the base back exactly, not even subtracting. Keep the adapter, or the base, if you may need either.
    The sum is computed in float32 (float64 for such a model) and rounded once.

    Raises:
        ValueError: an adapted layer shares its weight with another (a tied output layer), which would change too.
    """
    adapted = lora_layers(model)
    uses: dict[int, int] = {}
    for _, each in model.named_parameters(remove_duplicate=False):
        uses[id(each)] = uses.get(id(each), 0) + 1
    shared = [name for name, layer in adapted.items() if uses[id(layer.layer.weight)] > 1]
    if shared:
        raise ValueError(f"The weight of {', '.join(shared)} is shared with another layer, which merging would change too.")
    for layer in adapted.values():
        weight = layer.layer.weight
        exact = torch.promote_types(weight.dtype, torch.float32)
        weight.copy_(weight.to(exact) + layer.scale * (layer.up.to(exact) @ layer.down.to(exact)))
    return remove_lora(model)


def lora_weights(model: nn.Module) -> dict[str, Tensor]:
    """The adapter's tensors under PEFT's names, detached, not copied.

    For each adapted layer NAME: "NAME.lora_A.weight" (rank, in) and "NAME.lora_B.weight" (out, rank).
    """
    found = {}
    for name, layer in lora_layers(model).items():
        found[f"{name}.lora_A.weight"] = layer.down.detach()
        found[f"{name}.lora_B.weight"] = layer.up.detach()
    return found


def _chosen(
    model: nn.Module, rank: int, targets: Sequence[str] | None, layers: Collection[int] | None
) -> dict[str, nn.Linear]:
    """The layers that these arguments of `add_lora` name, or a ValueError."""
    linear = linear_layers(model)
    blocks = {number for name, _ in model.named_modules() if (number := block_number(name)) is not None}
    if layers is not None and not set(layers) <= blocks:
        there = f"the blocks 0 to {max(blocks)}" if blocks else "no numbered blocks"
        raise ValueError(f"The model has {there}; LoRA can't be put into {sorted(set(layers) - blocks)}.")
    wanted = None if targets is None else {targets} if isinstance(targets, str) else set(targets)
    output = _output_layer(model)
    chosen = {
        name: layer for name, layer in linear.items()
        if (layer is not output if wanted is None else name.split(".")[-1] in wanted)
        and (layers is None or block_number(name) in layers)
    }  # fmt: skip
    missing = (wanted or set()) - {name.split(".")[-1] for name in chosen}
    if rank < 1 or not chosen or missing:
        where = "" if layers is None else f" in the blocks {sorted(layers)}"
        raise ValueError(f"LoRA needs a rank of at least 1 and linear layers to adapt; not {rank} and {targets!r}{where}.")
    return chosen


def _output_layer(model: Any) -> nn.Module | None:
    """The layer that gives the logits of a transformers model; None for other models."""
    output = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    return output.layer if isinstance(output, LoRALinear) else output
