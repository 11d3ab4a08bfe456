"""The key-value cache as a value: built once, shared by a whole batch, never changed behind its owner's back."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import DynamicCache


SLOT = -1  # stands for a token id where a learnt prefix has none; no model can read it by mistake


@dataclass(frozen=True)
class Prefix:
    """What many prompts begin with, as keys and values: a text, run through the model once, or slots that were trained.

    Attributes:
        owner: the model and number format that computed it; another one refuses it.
        text: the text itself; "" if learnt.
        ids: its n token ids; n times `SLOT` if learnt.
        layers: for each layer the keys and the values, each (1, KV heads, n, head dim). They are never written to:
            every use builds its own cache from them, so a prefix does not grow (the classic bug of reused caches).
        learnt: whether keys and values were trained (see `memcourse.weights.KVPrefix`) and belong to no text.
    """

    owner: str
    text: str
    ids: tuple[int, ...]
    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    learnt: bool = False

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"Prefix({len(self)} tokens, {self.nbytes:,} bytes)"

    @property
    def nbytes(self) -> int:
        """Bytes that the keys and values take."""
        return sum(tensor.nbytes for pair in self.layers for tensor in pair)


def cache_name(model: Any) -> str:
    """What a transformers model calls its cache, argument and output: 5.24 renamed it, and 5.15 knows only the old name."""
    return "cache" if "cache" in inspect.signature(type(model).forward).parameters else "past_key_values"


def layers_of(cache: DynamicCache) -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
    """The keys and values of every layer, each (batch, KV heads, tokens, head dim)."""
    return tuple((layer.keys, layer.values) for layer in cache.layers)


def cache_from(layers: tuple[tuple[torch.Tensor, torch.Tensor], ...], tokens: int, batch: int) -> DynamicCache:
    """A new cache that starts with the first `tokens` tokens of a one-row prefix, repeated for `batch` rows."""
    from transformers import DynamicCache

    cache = DynamicCache()
    if tokens:
        for i, (keys, values) in enumerate(layers):
            # Updating an empty layer concatenates, which copies: the prefix's own tensors stay as they are.
            cache.update(keys[:, :, :tokens].expand(batch, -1, -1, -1), values[:, :, :tokens].expand(batch, -1, -1, -1), i)
    return cache


def select_rows(cache: DynamicCache, rows: torch.Tensor) -> DynamicCache:
    """A new cache made of the given rows (repeats allowed) of another one, which stays as it is."""
    from transformers import DynamicCache

    chosen = DynamicCache()
    for i, (keys, values) in enumerate(layers_of(cache)):
        chosen.update(keys[rows], values[rows], i)
    return chosen


def common_length(a: list[int] | tuple[int, ...], b: list[int] | tuple[int, ...]) -> int:
    """How many tokens two sequences share at their beginning."""
    n = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        n += 1
    return n
