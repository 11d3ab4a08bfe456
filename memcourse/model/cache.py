"""The key-value cache as a value: built once, shared by a whole batch, never changed behind its owner's back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import DynamicCache


@dataclass(frozen=True)
class Prefix:
    """A text that many prompts begin with, run through the model once.

    Attributes:
        owner: the model and number format that computed it; another one refuses it.
        text: the text itself.
        ids: its n token ids.
        layers: for each layer the keys and the values, each (1, KV heads, n, head dim). They are never written to:
            every use builds its own cache from them, so a prefix does not grow (the classic bug of reused caches).
    """

    owner: str
    text: str
    ids: tuple[int, ...]
    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"Prefix({len(self)} tokens, {self.nbytes:,} bytes)"

    @property
    def nbytes(self) -> int:
        """Bytes that the keys and values take."""
        return sum(tensor.nbytes for pair in self.layers for tensor in pair)


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
