"""Exercises of notebook 02: the cache's bytes, the crossover, the largest batch, and a mask that leaks the future."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from memcourse.activations.attention import causal_mask
from memcourse.course.exercises.exercise import Exercise, Mistake
from memcourse.model.costs import attention_flops, crossover, kv_bytes, largest_batch, linear_flops
from memcourse.model.size import Shape, parameters

_SMOL = Shape(576, 30, 9, 3, 64, 1536, 49152)
_EIGHT_B = Shape(4096, 32, 32, 8, 128, 14336, 128256, tied=False)
_ODD = Shape(96, 5, 6, 2, 24, 200, 1000)


def mask_broken(queries: int, keys: int) -> list[list[bool]]:
    """True where a query may look (so it says)."""
    return [[key <= query + keys - queries + 1 for key in range(keys)] for query in range(queries)]


def as_rows(mask: Callable[[int, int], Any], queries: int, keys: int) -> list[str]:
    """A mask (a tensor or lists) as one text a row, so that two of them can be compared and shown."""
    made = mask(queries, keys)
    rows = made.tolist() if hasattr(made, "tolist") else made
    return ["".join("x" if seen else "." for seen in row) for row in rows]


def _mask_of(diagonal: Callable[[int, int], int]) -> Callable[[int, int], Any]:
    def mask(queries: int, keys: int) -> Any:
        import torch

        return torch.ones(queries, keys, dtype=torch.bool).tril(diagonal(queries, keys))

    return mask


def _floats(s: Shape) -> int:
    return 2 * s.layers * s.kv_heads * s.head_dim


EXERCISES = (
    Exercise(
        id="02.kv_bytes",
        reference=kv_bytes,
        cases=(lambda: (_SMOL, 1, 32), lambda: (_SMOL, 8192, 32), lambda: (_EIGHT_B, 1000, 16), lambda: (_ODD, 7, 4)),
        mistakes=(
            Mistake(lambda s, n, bits: _floats(s) // 2 * n * bits / 8, "A token leaves a key and a value: twice as much."),
            Mistake(
                lambda s, n, bits: 2 * s.layers * s.heads * s.head_dim * n * bits / 8,
                "The cache keeps the KV heads, not the query heads: sharing them is what grouped-query attention saves.",
            ),
            Mistake(lambda s, n, bits: _floats(s) / s.layers * n * bits / 8, "Every layer keeps its own keys and values."),
            Mistake(
                lambda s, n, bits: _floats(s) * n * n * bits / 8,
                "The cache grows in a straight line: each token adds one key and one value, however many there are.",
            ),
            Mistake(lambda s, n, bits: _floats(s) * n * bits, "Those are bits; a byte has eight."),
        ),
        alternatives=(lambda s, n, bits: n * s.layers * (s.kv_heads * s.head_dim * 2) * (bits / 8),),
        describe=lambda s, n, bits: f"kv_bytes({s.layers} layers, {s.kv_heads} heads, {n} tokens, {bits} bits)",
    ),
    Exercise(
        id="02.crossover",
        reference=crossover,
        cases=(lambda: (_SMOL,), lambda: (_EIGHT_B,), lambda: (_ODD,)),
        mistakes=(
            Mistake(
                lambda s: linear_flops(s) / attention_flops(s, 1) * 2,
                "That is twice too far. Attention computes twice for each key (the score, then the weighted value); and a "
                "whole prompt, whose tokens see half as many keys on average, is not what was asked.",
            ),
            Mistake(
                lambda s: linear_flops(s) / (4 * s.layers * s.kv_heads * s.head_dim),
                "Every query head computes its own scores; sharing keys saves bytes, not operations.",
            ),
            Mistake(
                lambda s: (linear_flops(s) + 2 * s.d * s.vocab) / attention_flops(s, 1),
                "Leave the output matrix out: only the matrices inside the blocks count here.",
            ),
        ),
        alternatives=(lambda s: s.d * (1 + s.kv_heads / s.heads) + 3 * s.d * s.d_ff / (2 * s.heads * s.head_dim),),
        describe=lambda s: f"crossover(d={s.d}, heads={s.heads}, kv_heads={s.kv_heads}, d_ff={s.d_ff})",
    ),
    Exercise(
        id="02.largest_batch",
        reference=largest_batch,
        cases=(
            lambda: (_EIGHT_B, 1024, 80e9, 16), lambda: (_EIGHT_B, 131_072, 80e9, 16),
            lambda: (_SMOL, 2048, 4e9, 32), lambda: (_EIGHT_B, 1024, 10e9, 16),
        ),
        mistakes=(
            Mistake(
                lambda s, n, memory, bits: int(memory // kv_bytes(s, n, bits)),
                "The weights take their place as well; only what they leave is free for caches.",
            ),
            Mistake(
                lambda s, n, memory, bits: max(0, int(memory // (parameters(s) * bits / 8 + kv_bytes(s, n, bits)))),
                "The weights lie in memory once, however many sequences share them.",
            ),
            Mistake(
                lambda s, n, memory, bits: int((memory - parameters(s) * bits / 8) // kv_bytes(s, n, bits)),
                "Where not even the weights fit, the answer is 0, not a negative number.",
            ),
        ),
        alternatives=(
            lambda s, n, memory, bits: int(max(0.0, memory - parameters(s) * bits / 8) / kv_bytes(s, n, bits)),
        ),
        describe=lambda s, n, memory, bits: f"largest_batch(width {s.d}, {n} tokens, {memory:g} bytes, {bits} bits)",
    ),
    Exercise(
        id="02.puzzle",
        reference=causal_mask,
        probe=as_rows,
        cases=(lambda: (4, 4), lambda: (1, 6), lambda: (3, 5)),
        broken=mask_broken,
        mistakes=(
            Mistake(
                _mask_of(lambda queries, keys: keys - queries - 1),
                "Now a token may not look at itself, and the first one sees nothing at all.",
            ),
            Mistake(
                _mask_of(lambda queries, keys: 0),
                "With a cache there are more keys than queries: the last query stands at the last key.",
            ),
        ),
        alternatives=(
            _mask_of(lambda queries, keys: keys - queries),
            lambda queries, keys: [[k <= q + keys - queries for k in range(keys)] for q in range(queries)],
        ),
        describe=lambda queries, keys: f"the mask of {queries} queries and {keys} keys",
    ),
)  # fmt: skip
