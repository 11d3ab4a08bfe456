"""Attention tile by tile against torch's fused kernel and the naive square, in one process: seconds and peak bytes.

Run by hand: python tests/benchmarks/tiled_attention.py [tokens ...]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import torch
from torch.nn.functional import scaled_dot_product_attention

from memcourse.activations.attention import attention, repeat_heads, tiled_attention, tiled_bytes
from memcourse.model.memory import peak_bytes

HEADS, GROUPS, D = 9, 3, 64  # SmolLM2-135M
NAIVE_UP_TO = 4096


def main(lengths: list[int]) -> None:
    """One line for each length: the best of five runs, taken in turn so that a busy moment hits all arms."""
    for tokens in lengths:
        torch.manual_seed(0)
        q, k, v = (torch.randn(1, heads, tokens, D) for heads in (HEADS, GROUPS, GROUPS))
        wide = repeat_heads(k, HEADS), repeat_heads(v, HEADS)
        arms: dict[str, Callable[[], torch.Tensor]] = {
            "sdpa": lambda: scaled_dot_product_attention(q, *wide, is_causal=True),  # noqa: B023
            "tiled": lambda: tiled_attention(q, k, v),  # noqa: B023
        }
        if tokens <= NAIVE_UP_TO:
            arms["naive"] = lambda: attention(q, k, v)  # noqa: B023
        best = dict.fromkeys(arms, float("inf"))
        for _ in range(5):
            for name, run in arms.items():
                start = time.perf_counter()
                run()
                best[name] = min(best[name], time.perf_counter() - start)
        held = peak_bytes(arms["tiled"]) - q.nbytes
        print(
            f"{tokens:>6} tokens", *(f"{name} {seconds * 1e3:.0f} ms" for name, seconds in best.items()), sep="  ", end="  "
        )
        print(f"tiled/sdpa {best['tiled'] / best['sdpa']:.2f}  temporary bytes/formula {held / tiled_bytes(HEADS, D):.3f}")


if __name__ == "__main__":
    main([int(x) for x in sys.argv[1:]] or [1024, 2048, 4096, 8192])
