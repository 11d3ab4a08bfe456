"""Rows of different lengths in one tensor: which rows go together, where padding stands, and what hides it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

MAX_TOKENS = 16_384  # tokens of one batch, padding included: bounds memory (about 0.75 GB of cache for SmolLM2 in fp32)
LOGITS_COST = 6  # a token whose logits are wanted takes about as much memory as this many tokens of the cache
PAD = 0  # any valid id: the mask hides it


def check_texts(texts: Iterable[str], what: str, allow_empty: bool = False) -> list[str]:
    """The texts as a list; raises TypeError or ValueError, naming the place, for one that is no string or is empty."""
    if isinstance(texts, str):
        raise TypeError(f"A list of {what}s is needed; put the single text into a list.")
    texts = list(texts)
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"{what.capitalize()} {i} is of type {type(text).__name__}, not str.")
        if not text and not allow_empty:
            raise ValueError(f"{what.capitalize()} {i} is empty; at least one character is needed.")
    return texts


def make_batches(lengths: Sequence[int], batch_size: int, max_tokens: int = MAX_TOKENS) -> list[list[int]]:
    """Group row numbers so that rows of like length go together, at most `batch_size` rows and `max_tokens` tokens.

    The longest rows come first, so that a batch that doesn't fit into memory fails at once and not at the end.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}.")
    batches: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        last = batches[-1] if batches else None
        if last and len(last) < batch_size and (len(last) + 1) * lengths[last[0]] <= max_tokens:
            last.append(i)
        else:
            batches.append([i])
    return batches


@dataclass(frozen=True)
class Batch:
    """The inputs of one forward pass.

    Attributes:
        ids: (rows, new tokens), padded on the left.
        mask: (rows, all tokens so far), 1 where a real token stands; cached tokens come first.
        positions: (rows, new tokens), counting real tokens only, so that padding moves nothing.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    positions: torch.Tensor

    @property
    def width(self) -> int:
        """Tokens of a row so far, padding included."""
        return self.mask.shape[1]

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]], device: torch.device | str, before: int = 0) -> Batch:
        """Pad rows on the left; `before` tokens, the same for all rows, are in the cache already."""
        width = max(len(row) for row in rows)
        ids = torch.tensor([[PAD] * (width - len(row)) + list(row) for row in rows])
        real = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        mask = torch.cat([torch.ones(len(rows), before, dtype=real.dtype), real], dim=1)
        return cls._make(ids.to(device), mask.to(device))

    def rows(self, kept: torch.Tensor) -> Batch:
        """The same batch with only the given rows (repeats allowed)."""
        return Batch(self.ids[kept], self.mask[kept], self.positions[kept])

    def extended(self, tokens: Sequence[int]) -> Batch:
        """The next step: one new token a row, all before it cached."""
        return self.followed_by([[token] for token in tokens])

    def followed_by(self, rows: Sequence[Sequence[int]]) -> Batch:
        """The next pass: some new tokens a row (padded on the right), all before them cached."""
        width = max(len(row) for row in rows)
        ids = torch.tensor([list(row) + [PAD] * (width - len(row)) for row in rows]).to(self.mask.device)
        real = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows]).to(self.mask.device)
        return self._make(ids, torch.cat([self.mask, real], dim=1))

    @classmethod
    def _make(cls, ids: torch.Tensor, mask: torch.Tensor) -> Batch:
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        return cls(ids, mask, positions)
