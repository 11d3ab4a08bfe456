"""Training speed of TinyGPT against transformers' Llama and GPT-2 of the same shape, in one process: tokens a second.

Also what it brings to train members side by side (`Stack`) rather than one after the other.
Run by hand: python tests/benchmarks/tiny_gpt.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from memcourse.weights import Batch, GPTShape, Recipe, Stack, TinyGPT, train

SHAPES = {
    "width 8": (GPTShape(vocab=64, d=8, layers=2, heads=2, d_ff=16, window=16), 20),
    "width 16": (GPTShape(vocab=64, d=16, layers=2, heads=4, d_ff=32, window=16), 249),
    "width 64": (GPTShape(vocab=400, d=64, layers=2, heads=4, d_ff=128, window=32), 64),
    "width 256": (GPTShape(vocab=2000, d=256, layers=4, heads=8, d_ff=512, window=128), 16),
}


def llama(s: GPTShape) -> torch.nn.Module:
    """transformers' Llama with the very shape."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=s.vocab, hidden_size=s.d, intermediate_size=s.d_ff, num_hidden_layers=s.layers,
            num_attention_heads=s.heads, max_position_embeddings=s.window, tie_word_embeddings=True, use_cache=False,
            bos_token_id=None, eos_token_id=None,
        )
    )  # fmt: skip


def gpt2(s: GPTShape) -> torch.nn.Module:
    """transformers' GPT-2 with as many feed-forward parameters (its two matrices are half as wide again)."""
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=s.vocab, n_embd=s.d, n_inner=s.d_ff * 3 // 2, n_layer=s.layers, n_head=s.heads,
            n_positions=s.window, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, use_cache=False,
            bos_token_id=None, eos_token_id=None,
        )
    )  # fmt: skip


def seconds(model: torch.nn.Module, batch: Batch, steps: int) -> float:
    """Of so many steps, with the course's own loop."""
    start = time.perf_counter()
    train(model, lambda step: batch, Recipe(steps))
    return time.perf_counter() - start


def main(steps: int = 20, rounds: int = 5) -> None:
    """One line for each shape: the best of several rounds, the arms taken in turn so that a busy moment hits all."""
    for name, (shape, rows) in SHAPES.items():
        torch.manual_seed(0)
        ids = torch.randint(shape.vocab, (rows, shape.window))
        three = ids.expand(3, *ids.shape)
        arms: dict[str, tuple[Callable[[], torch.nn.Module], torch.Tensor]] = {
            "TinyGPT": (lambda: TinyGPT(shape), ids),  # noqa: B023
            "Llama": (lambda: llama(shape), ids),  # noqa: B023
            "GPT-2": (lambda: gpt2(shape), ids),  # noqa: B023
            "3 side by side": (lambda: Stack([TinyGPT(shape) for _ in range(3)]), three),  # noqa: B023
        }
        best: dict[str, float] = {}
        for _ in range(rounds):
            for arm, (make, x) in arms.items():
                took = seconds(make(), Batch(x, x), steps) / (steps * x.numel())
                best[arm] = min(best.get(arm, took), took)
        rates = "  ".join(f"{arm} {1 / per_token / 1000:.0f}K tokens/s" for arm, per_token in best.items())
        ratios = (best[arm] / best["TinyGPT"] for arm in ("Llama", "GPT-2"))
        print(f"{name}: {rates}  TinyGPT is {' and '.join(f'{r:.2f}' for r in ratios)} times as fast as Llama and GPT-2")


if __name__ == "__main__":
    main()
