"""Seconds and bytes of attention in three ways, for growing lengths. See notebook 02."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch.nn.functional import scaled_dot_product_attention

from memcourse.activations.attention import attention, repeat_heads, tiled_attention
from memcourse.model.memory import fastest, fits, peak_bytes
from memcourse.model.size import Shape

NAIVE_UP_TO = 4096  # beyond, the square of scores takes gigabytes


class Cost(NamedTuple):
    """Causal attention over so many tokens: seconds of the fastest run, and bytes at the peak, inputs included."""

    way: str
    tokens: int
    seconds: float
    nbytes: int


def attention_costs(
    shape: Shape, lengths: Sequence[int], device: str = "cpu", repeats: int = 3, seed: int = 0
) -> list[Cost]:
    """Measure "naive" (`attention`), "tiled" (`tiled_attention`) and "sdpa" (torch's kernel) for each length.

    The naive way holds the square of scores twice; it is left out beyond 4,096 tokens and where memory lacks.
    """
    costs = []
    for n in lengths:
        torch.manual_seed(seed)
        q, k, v = (
            torch.randn(1, h, n, shape.head_dim, device=device) for h in (shape.heads, shape.kv_heads, shape.kv_heads)
        )
        ways: dict[str, Callable[..., torch.Tensor]] = {"tiled": tiled_attention, "sdpa": _fused}
        if n <= NAIVE_UP_TO and fits(2.2 * 4 * shape.heads * n * n):
            ways["naive"] = attention
        for name, run in ways.items():
            nbytes = q.nbytes + k.nbytes + v.nbytes + peak_bytes(run, q, k, v, device=device)
            costs.append(Cost(name, n, fastest(run, q, k, v, repeats=repeats), nbytes))
    return costs


def _fused(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    heads = q.shape[-3]
    return scaled_dot_product_attention(q, repeat_heads(k, heads), repeat_heads(v, heads), is_causal=True)
