"""How large a language model is, by formula: parameters, bytes, cache, operations. Built by hand in notebook 01."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

BITS = {"fp32": 32, "bf16": 16, "int8": 8, "int4": 4}


@dataclass(frozen=True)
class Shape:
    """The numbers that fix the size of a Llama-style model.

    d: width of the residual stream. layers: number of blocks. heads, kv_heads: query heads, and heads that keep keys
    and values. head_dim: width of a head. d_ff: inner width of the MLP. vocab: number of token ids. tied: whether input
    and output embedding are one matrix.
    """

    d: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    d_ff: int
    vocab: int
    tied: bool = True

    @classmethod
    def of(cls, config: Any) -> Shape:
        """Read the shape off a transformers configuration of a Llama-style model."""
        heads = config.num_attention_heads
        return cls(
            d=config.hidden_size, layers=config.num_hidden_layers, heads=heads,
            kv_heads=getattr(config, "num_key_value_heads", None) or heads,
            head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
            d_ff=config.intermediate_size, vocab=config.vocab_size, tied=config.tie_word_embeddings,
        )  # fmt: skip


def block_parameters(d: int, heads: int, kv_heads: int, head_dim: int, d_ff: int) -> int:
    """Parameters of one Llama block: attention (Q, K, V, O), gated MLP (gate, up, down), two norms; no biases.

    Built by hand in notebook 01.
    """
    attention = 2 * d * heads * head_dim + 2 * d * kv_heads * head_dim
    mlp = 3 * d * d_ff
    norms = 2 * d
    return attention + mlp + norms


def parameters(shape: Shape) -> int:
    """Parameters of a whole Llama-style model: embedding, blocks, last norm, and an output matrix unless tied."""
    block = block_parameters(shape.d, shape.heads, shape.kv_heads, shape.head_dim, shape.d_ff)
    embeddings = shape.vocab * shape.d * (1 if shape.tied else 2)
    return embeddings + shape.layers * block + shape.d


def parameter_shares(shape: Shape) -> dict[str, int]:
    """Parameters by what they are for, the largest first: MLPs, embedding, attention, norms."""
    shares = {
        "MLPs": shape.layers * 3 * shape.d * shape.d_ff,
        "embedding": shape.vocab * shape.d * (1 if shape.tied else 2),
        "attention": shape.layers * 2 * shape.d * shape.head_dim * (shape.heads + shape.kv_heads),
        "norms": (2 * shape.layers + 1) * shape.d,
    }
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def weight_bytes(n_parameters: int, bits: float) -> float:
    """Bytes that n parameters take at so many bits each. Built by hand in notebook 00."""
    return n_parameters * bits / 8


def chat_tokens(turns: int, tokens_per_turn: int) -> int:
    """Tokens that a model reads during a whole chat, when every turn sends all turns so far. Notebook 00.

    Turn t reads t turns, so the total is tokens_per_turn * (1 + 2 + ... + turns): it grows with the square of the turns.
    """
    return tokens_per_turn * turns * (turns + 1) // 2


def kv_floats_per_token(layers: int, kv_heads: int, head_dim: int) -> int:
    """Numbers that the key-value cache keeps for each token: a key and a value, per KV head and layer.

    Built by hand in notebook 01.
    """
    return 2 * layers * kv_heads * head_dim


def weights_sha256(model: Any) -> str:
    """The SHA-256 over name and bytes of every parameter and buffer, in order of name. Built by hand in notebook 01."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode("utf-8"))
        digest.update(tensor.detach().cpu().contiguous().flatten().view(dtype=_bytes()).numpy().data)
    return digest.hexdigest()


def _bytes() -> Any:
    import torch

    return torch.uint8
