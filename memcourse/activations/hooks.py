"""Looking at activations while a model computes: forward hooks that are always taken off again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from memcourse.model.batching import Batch, check_texts


@dataclass(frozen=True)
class Activation:
    """One tensor that a module produced.

    Attributes:
        module: the module's path inside the model, such as "model.layers.0.mlp".
        shape: its shape, (batch, tokens, width) for most modules.
        nbytes: the bytes it takes.
    """

    module: str
    shape: tuple[int, ...]
    nbytes: int


@contextmanager
def watch(model: Any, keep: Sequence[str] = ()) -> Iterator[tuple[list[Activation], dict[str, torch.Tensor]]]:
    """Note what every leaf module and every block produces inside the `with` block; built by hand in notebook 01.

    Args:
        model: any torch module.
        keep: module paths whose output tensors are kept (detached); without being kept, a tensor is freed as usual.

    Yields:
        a list of `Activation`, in the order of computing, and a dictionary from the kept paths to tensors.

    Raises:
        ValueError: a path in `keep` names no module.
    """
    modules = dict(model.named_modules())
    for path in keep:
        if path not in modules:
            raise ValueError(f"The model has no module {path!r}.")
    seen: list[Activation] = []
    kept: dict[str, torch.Tensor] = {}
    handles = []

    def hook_for(path: str) -> Any:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            tensor = output[0] if isinstance(output, tuple) else output
            if isinstance(tensor, torch.Tensor):
                seen.append(Activation(path, tuple(tensor.shape), tensor.nbytes))
                if path in keep:
                    kept[path] = tensor.detach()

        return hook

    try:
        for path, module in modules.items():
            if path in keep or not list(module.children()):
                handles.append(module.register_forward_hook(hook_for(path)))
        yield seen, kept
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def last_logits(lm: Any, batch: Batch) -> torch.Tensor:
    """(rows, vocab) logits behind the last token of a padded batch, in one plain pass that hooks can watch or change."""
    return lm.model(
        input_ids=batch.ids, attention_mask=batch.mask, position_ids=batch.positions, use_cache=False, logits_to_keep=1
    ).logits[:, -1]


@torch.no_grad()
def hidden_states(lm: Any, prompts: Sequence[str]) -> torch.Tensor:
    """The residual stream at the last token of every prompt, after the embedding and after each block.

    Returns:
        (layers + 1, prompts, d): row 0 is the embedding, row L the output of block L, before the final norm.
    """
    check_texts(prompts, "prompt")
    batch = Batch.of([lm.encode(p) for p in prompts], lm.device)
    blocks = [f"model.layers.{i}" for i in range(lm.model.config.num_hidden_layers)]
    with watch(lm.model, keep=["model.embed_tokens", *blocks]) as (_, kept):
        last_logits(lm, batch)
    return torch.stack([kept[path][:, -1] for path in ["model.embed_tokens", *blocks]])
