"""What one attention layer of the model computes from its input: queries, keys, values, and their mixture."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from memcourse.model.lm import LanguageModel


class Layer(NamedTuple):
    """The inside of one attention layer for one text of T tokens, positions already turned in.

    q: (heads, T, head_dim). k, v: (KV heads, T, head_dim). mixed: (heads, T, head_dim), what the model's own attention
    made of them.
    """

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    mixed: torch.Tensor


@torch.no_grad()
def layer_attention(lm: LanguageModel, text: str, layer: int) -> Layer:
    """Read queries, keys and values of a Llama-style layer for a text, and what its attention returned.

    Raises:
        ValueError: there is no such layer.
    """
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    blocks = lm.model.model.layers
    if not 0 <= layer < len(blocks):
        raise ValueError(f"The model has layers 0 to {len(blocks) - 1}, not {layer}.")
    module = blocks[layer].self_attn
    seen: dict[str, Any] = {}
    hooks = [
        module.register_forward_pre_hook(lambda m, args, kwargs: seen.update(kwargs), with_kwargs=True),
        module.o_proj.register_forward_pre_hook(lambda m, args: seen.update(mixed=args[0])),
    ]
    try:
        lm.model(torch.tensor([lm.encode(text)], device=lm.device), logits_to_keep=1)
    finally:
        for hook in hooks:
            hook.remove()
    x = seen["hidden_states"]

    def heads(y: torch.Tensor) -> torch.Tensor:
        return y.view(*x.shape[:2], -1, module.head_dim).transpose(1, 2)

    q, k, v = (heads(project(x)) for project in (module.q_proj, module.k_proj, module.v_proj))
    q, k = apply_rotary_pos_emb(q, k, *seen["position_embeddings"])
    return Layer(q[0], k[0], v[0], heads(seen["mixed"])[0])
