"""Changing activations while the model computes: knocking parts out, and patching in states of another run.

Sources: Meng et al., "Locating and Editing Factual Associations in GPT" (2022, arXiv 2202.05262) for patching hidden
states at single tokens; Geva et al., "Dissecting Recall of Factual Associations" (2023, arXiv 2304.14767) for
knocking out attention and MLP parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch

Part = Literal["mlp", "attention"]
_ATTRIBUTE = {"mlp": "mlp", "attention": "self_attn"}


@contextmanager
def knockout(lm: Any, layers: Sequence[int], part: Part, tokens: torch.Tensor) -> Iterator[None]:
    """Let a part of some blocks write nothing into the residual stream, at one token of each row.

    Args:
        layers: numbers of the blocks, from 0.
        part: "mlp" or "attention".
        tokens: (rows,) position in the padded batch at which the part's output is set to zero.

    Raises:
        ValueError: an unknown part or layer.
    """
    if part not in _ATTRIBUTE:
        raise ValueError(f"Unknown part {part!r}; use 'mlp' or 'attention'.")
    blocks = lm.model.model.layers
    _check_layers(layers, len(blocks))

    def hook(module: Any, inputs: Any, output: Any) -> Any:
        return _overwritten(output, tokens, 0)

    handles = [getattr(blocks[i], _ATTRIBUTE[part]).register_forward_hook(hook) for i in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def cut(lm: Any, layers: Sequence[int], viewer: torch.Tensor, viewed: torch.Tensor) -> Iterator[None]:
    """Forbid one token of each row to look at another one, in the attention of some blocks; all else stays.

    Args:
        layers: numbers of the blocks, from 0.
        viewer: (rows,) position of the token whose view is cut.
        viewed: (rows,) position that it may no longer see.

    Raises:
        ValueError: an unknown layer, or positions of different length.
    """
    _check_layers(layers, len(lm.model.model.layers))
    if viewer.shape != viewed.shape:
        raise ValueError(f"{len(viewer)} viewers but {len(viewed)} viewed tokens; give one of each for each row.")

    def hook(module: Any, inputs: Any, named: dict[str, Any]) -> Any:
        hidden = named["hidden_states"] if "hidden_states" in named else inputs[0]
        rows, width = hidden.shape[:2]
        mask = named.get("attention_mask")
        if mask is None:  # no padding in this batch: the attention is causal and nothing more
            mask = torch.ones(rows, 1, width, width, dtype=torch.bool, device=hidden.device).tril()
        mask = mask.expand(rows, -1, -1, -1).clone()
        never = False if mask.dtype == torch.bool else torch.finfo(mask.dtype).min
        mask[torch.arange(rows), :, viewer.to(mask.device), viewed.to(mask.device)] = never
        return inputs, {**named, "attention_mask": mask}

    blocks = lm.model.model.layers
    handles = [blocks[i].self_attn.register_forward_pre_hook(hook, with_kwargs=True) for i in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def patched(lm: Any, layer: int, tokens: torch.Tensor, states: torch.Tensor) -> Iterator[None]:
    """Replace the residual stream after a block, at one token of each row, by states of another run.

    Args:
        layer: number of the block, from 0.
        tokens: (rows,) position in the padded batch.
        states: (rows, d) what to put there.

    Raises:
        ValueError: an unknown layer, or states of another shape.
    """
    blocks = lm.model.model.layers
    _check_layers([layer], len(blocks))
    if states.shape[0] != tokens.shape[0]:
        raise ValueError(f"{tokens.shape[0]} tokens but {states.shape[0]} states; give one state for each row.")

    def hook(module: Any, inputs: Any, output: Any) -> Any:
        return _overwritten(output, tokens, states)

    handle = blocks[layer].register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _overwritten(output: Any, tokens: torch.Tensor, value: Any) -> Any:
    """A module's output with another value at one token of each row; the output itself stays as it is."""
    tensor = output[0] if isinstance(output, tuple) else output
    changed = tensor.clone()
    rows = torch.arange(len(tokens), device=tensor.device)
    changed[rows, tokens.to(tensor.device)] = value.to(tensor) if isinstance(value, torch.Tensor) else value
    return (changed, *output[1:]) if isinstance(output, tuple) else changed


def _check_layers(layers: Sequence[int], n: int) -> None:
    for layer in layers:
        if not 0 <= layer < n:
            raise ValueError(f"Layer {layer} does not exist; the model has blocks 0 to {n - 1}.")
