"""An explorer of costs: sliders in a live notebook, a fixed table wherever nothing can be moved."""

from __future__ import annotations

import os
from importlib.util import find_spec

from memcourse.model.costs import SHAPES, crossover, decode_rate, kv_bytes, largest_batch
from memcourse.model.size import parameters

LENGTHS = (1_024, 8_192, 131_072)
FORMULAS = (
    "cache = 2 x layers x KV heads x head_dim x tokens x bits / 8 bytes; batch = (memory - weights) / cache; "
    "tokens/s = batch x bandwidth / (weights + batch x cache)"
)


def explore_costs(memory: float = 80e9, bandwidth: float = 3.35e12, bits: int = 16) -> None:
    """Show cache, batch and tokens per second of well-known models for three lengths, and sliders where they work.

    Args:
        memory: bytes of the card; bandwidth: bytes per second; bits: of a weight and of a number in the cache.
    """
    from IPython.display import Markdown, display

    display(Markdown(table(memory, bandwidth, bits)))
    print(f"card of {memory / 1e9:g} GB that reads {bandwidth / 1e12:g} TB/s, {bits} bits a number")
    print(FORMULAS)
    if not os.environ.get("MEMCOURSE_QUIET") and find_spec("ipywidgets"):
        _sliders(memory, bandwidth, bits)


def table(memory: float, bandwidth: float, bits: int) -> str:
    """The table in Markdown: one row for each model, and for each length its cache, batch and tokens per second."""
    heads = ["Model", "weights", "crossover"] + [f"{n:,} tokens: cache, batch, tokens/s" for n in LENGTHS]
    rows = [
        [name, f"{parameters(shape) * bits / 8e9:.2f} GB", f"{crossover(shape):,.0f}"]
        + [line(name, n, memory, bandwidth, bits) for n in LENGTHS]
        for name, shape in SHAPES.items()
    ]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [heads, ["---"] * len(heads), *rows])


def line(name: str, tokens: int, memory: float, bandwidth: float, bits: int) -> str:
    """Cache of one sequence, the largest batch, and the tokens per second of all together, in words."""
    shape = SHAPES[name]
    cache, batch = kv_bytes(shape, tokens, bits), largest_batch(shape, tokens, memory, bits)
    if not batch:
        return f"{cache / 1e9:.3g} GB, does not fit"
    return f"{cache / 1e9:.3g} GB, {batch:,}, {decode_rate(shape, tokens, batch, bandwidth, bits):,.0f}"


def _sliders(memory: float, bandwidth: float, bits: int) -> None:
    from ipywidgets import Dropdown, FloatLogSlider, IntSlider, interact

    def show(model: str, tokens: float, memory_gb: int, tb_per_second: float, bits: int) -> None:
        print(line(model, int(tokens), memory_gb * 1e9, tb_per_second * 1e12, bits), "(cache of one, batch, tokens/s)")

    interact(
        show,
        model=Dropdown(options=list(SHAPES), value="Llama 3 8B"),
        tokens=FloatLogSlider(value=1024, base=2, min=7, max=20, step=1, readout_format=",.0f"),
        memory_gb=IntSlider(value=int(memory / 1e9), min=4, max=192),
        tb_per_second=(0.05, 8.0, 0.05),
        bits=Dropdown(options=[4, 8, 16, 32], value=bits),
    )
