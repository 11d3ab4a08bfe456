"""What a language model costs to run, by formula: operations, cache bytes, tokens per second. See notebook 02."""

from __future__ import annotations

from memcourse.model.size import Shape, kv_floats_per_token, parameters

# Shapes of well-known open models, as their published configurations state them.
SHAPES = {
    "SmolLM2 135M": Shape(576, 30, 9, 3, 64, 1536, 49152),
    "SmolLM2 360M": Shape(960, 32, 15, 5, 64, 2560, 49152),
    "SmolLM2 1.7B": Shape(2048, 24, 32, 32, 64, 8192, 49152),
    "Llama 2 7B": Shape(4096, 32, 32, 32, 128, 11008, 32000, tied=False),
    "Llama 3 8B": Shape(4096, 32, 32, 8, 128, 14336, 128256, tied=False),
    "Llama 3 70B": Shape(8192, 80, 64, 8, 128, 28672, 128256, tied=False),
    "Qwen2.5 7B": Shape(3584, 28, 28, 4, 128, 18944, 152064, tied=False),
}


def linear_flops(shape: Shape) -> int:
    """Floating-point operations of all matrices in the blocks for one token (a multiplication and an addition each).

    The embedding costs nothing, the output matrix is left out, since a prompt needs it for its last token only.
    """
    attention = 2 * shape.d * shape.head_dim * (shape.heads + shape.kv_heads)
    return 2 * shape.layers * (attention + 3 * shape.d * shape.d_ff)


def attention_flops(shape: Shape, keys: int) -> int:
    """Floating-point operations of one token's attention to so many keys: scores q k^T, then the weighted sum of values."""
    return 4 * shape.layers * shape.heads * shape.head_dim * keys


def prefill_flops(shape: Shape, tokens: int) -> int:
    """Operations of reading a prompt: token t attends to t keys, so attention grows with the square of the length."""
    return tokens * linear_flops(shape) + attention_flops(shape, 1) * tokens * (tokens + 1) // 2


def crossover(shape: Shape) -> float:
    """The position at which a token's attention costs as much as all matrices of the blocks.

    For a whole prompt, attention costs as much as the matrices at twice this length: its tokens see half as many keys
    on average.
    """
    return linear_flops(shape) / attention_flops(shape, 1)


def kv_bytes(shape: Shape, tokens: int, bits: float = 32) -> float:
    """Bytes of the key-value cache for one sequence of so many tokens."""
    return kv_floats_per_token(shape.layers, shape.kv_heads, shape.head_dim) * tokens * bits / 8


def largest_batch(shape: Shape, tokens: int, memory: float, bits: float = 16) -> int:
    """How many sequences of so many tokens fit into `memory` bytes beside the weights (0 where not one does)."""
    free = memory - parameters(shape) * bits / 8
    return max(0, int(free // kv_bytes(shape, tokens, bits)))


def decode_rate(shape: Shape, tokens: int, batch: int, bandwidth: float, bits: float = 16) -> float:
    """Upper bound on tokens per second of a batch, where reading memory is the limit (the memory side of the roofline).

    Every step reads the weights once and the cache of each sequence once, and gives one token to each.

    Args:
        tokens: length of each sequence. bandwidth: bytes per second.

    Source: Williams, Waterman and Patterson, "Roofline" (2009).

    Raises:
        ValueError: no sequence, or no bandwidth.
    """
    if batch < 1 or bandwidth <= 0:
        raise ValueError(f"At least one sequence and a bandwidth above 0 are needed, not {batch} and {bandwidth}.")
    read = parameters(shape) * bits / 8 + batch * kv_bytes(shape, tokens, bits)
    return batch * bandwidth / read
