"""Texts as batches: whole words as tokens, and an order of the rows that depends on nothing but the step."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from memcourse.weights.loss import IGNORED, Batch

_WORD = re.compile(r"\w+|[^\w\s]")


class WordTokenizer:
    """Words and punctuation marks as tokens, for a closed world: no subwords, so that one fact is one token.

    Token 0 fills up short rows. Ids follow the order in which words are first seen.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self.words = ["<pad>", *dict.fromkeys(word for text in texts for word in _WORD.findall(text))]
        self.ids = {word: i for i, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text.

        Raises:
            ValueError: a word that was in none of the texts.
        """
        words = _WORD.findall(text)
        unknown = [word for word in words if word not in self.ids]
        if unknown:
            raise ValueError(f"This tokenizer never saw {', '.join(map(repr, unknown))}; build it with all texts.")
        return [self.ids[word] for word in words]

    def decode(self, ids: Iterable[int]) -> str:
        """The words of some ids, with a space between each two."""
        return " ".join(self.words[i] for i in ids if i != 0)

    def texts(self, texts: Sequence[str]) -> Batch:
        """One row for each text, every token of which counts."""
        return _rows([([], self.encode(text)) for text in texts])

    def answers(self, pairs: Sequence[tuple[str, str]]) -> Batch:
        """One row for each (prompt, answer), where only the answer counts."""
        return _rows([(self.encode(prompt), self.encode(answer)) for prompt, answer in pairs])


def _rows(pairs: Sequence[tuple[list[int], list[int]]]) -> Batch:
    """Rows of one width, filled up at the end (causal attention never looks there), (rows, tokens)."""
    if not pairs:
        raise ValueError("A batch needs at least one text.")
    width = max(len(prompt) + len(answer) for prompt, answer in pairs)
    ids = torch.zeros(len(pairs), width, dtype=torch.long)
    labels = torch.full_like(ids, IGNORED)
    for row, (prompt, answer) in enumerate(pairs):
        ids[row, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
        labels[row, len(prompt) : len(prompt) + len(answer)] = torch.tensor(answer)
    return Batch(ids, labels)


def side_by_side(batches: Sequence[Batch]) -> Batch:
    """Batches with as many rows each, as one for a `Stack`: (members, rows, tokens).

    Raises:
        ValueError: different numbers of rows.
    """
    if len({len(batch.ids) for batch in batches}) > 1:
        raise ValueError(f"Members train on as many rows each, not on {[len(batch.ids) for batch in batches]}.")
    width = max(batch.ids.shape[-1] for batch in batches)
    return Batch(
        torch.stack([_wider(batch.ids, width, 0) for batch in batches]),
        torch.stack([_wider(batch.labels, width, IGNORED) for batch in batches]),
    )


def _wider(rows: Tensor, width: int, fill: int) -> Tensor:
    return torch.nn.functional.pad(rows, (0, width - rows.shape[-1]), value=fill)


def shuffled(data: Sequence[Batch], size: int, seed: int = 0) -> Callable[[int], Batch]:
    """A function from steps to batches (members, size, tokens): each member walks through its own rows, epoch by epoch.

    Every row comes once in each epoch, in an order drawn from (seed, member, epoch). A row is one text: two texts never
    share one, so that no text can be the context of another.

    Raises:
        ValueError: size below 1, or a member without rows.
    """
    if size < 1 or not data or any(len(batch.ids) == 0 for batch in data):
        raise ValueError("Shuffled batches need a size of at least 1 and rows for every member.")

    @lru_cache(maxsize=4 * len(data))
    def order(member: int, epoch: int) -> Tensor:
        return torch.from_numpy(np.random.default_rng([seed, member, epoch]).permutation(len(data[member].ids)))

    def batch(step: int) -> Batch:
        chosen = []
        for member, (ids, labels) in enumerate(data):
            places = [divmod(place, len(ids)) for place in range(step * size, (step + 1) * size)]
            rows = torch.tensor([int(order(member, epoch)[place]) for epoch, place in places])
            chosen.append(Batch(ids[rows], labels[rows]))
        return side_by_side(chosen)

    return batch
