"""Texts to train on as rows of token ids: what counts in the loss, what is cut, and which rows go together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from memcourse.model.batching import make_batches
from memcourse.model.lm import LanguageModel
from memcourse.weights.loss import IGNORED, Batch


class Sample(NamedTuple):
    """One text to train on: the loss counts the answer and an end token after it, and nothing of the prompt.

    Without a prompt the whole text counts, but for its first token, which nothing predicts.
    """

    prompt: str
    answer: str


class Row(NamedTuple):
    """Token ids, and labels of the same length: the ids where they count in the loss, -100 elsewhere.

    A label stands at the place of its own token: the loss, not the labels, looks one token ahead.
    """

    ids: tuple[int, ...]
    labels: tuple[int, ...]


class Encoded(NamedTuple):
    """Rows to train on, and what was lost on the way.

    Attributes:
        rows: at least one, each with at least one label that counts.
        cut: how many prompts lost tokens at their beginning.
        dropped: how many samples were left out, since their answer doesn't fit.
    """

    rows: list[Row]
    cut: int
    dropped: int

    @property
    def tokens(self) -> int:
        """Tokens that the model reads, without padding."""
        return sum(len(row.ids) for row in self.rows)

    @property
    def counted(self) -> int:
        """Tokens that count in the loss."""
        return sum(label != IGNORED for row in self.rows for label in row.labels[1:])


def encode_samples(lm: LanguageModel, samples: Iterable[Sample], most: int | None = None) -> Encoded:
    """Tokenise texts for training, each row of at most `most` tokens (512 by default, or the window if it is smaller).

    Prompt and answer are tokenised apart, as in `LanguageModel.score`, so an answer after a prompt usually begins with a
    space. Each answer gets exactly one end token, which counts. A prompt that is too long loses its beginning, since its
    end, the question, stands next to the answer; a text without a prompt is cut into rows that share one token, so that
    none goes unpredicted. An answer that doesn't fit with at least one token before it is dropped and counted.

    Raises:
        ValueError: an empty answer, fewer than 3 tokens a row, or nothing that could be trained on.
    """
    most = min(512, lm.window) if most is None else most
    if not 3 <= most <= lm.window:
        raise ValueError(f"A row needs between 3 tokens and the {lm.window:,} of the model's window, not {most}.")
    end = int(lm.tokenizer.eos_token_id)
    rows: list[Row] = []
    cut = dropped = 0
    for i, (prompt, answer) in enumerate(samples):
        if not answer.strip():
            raise ValueError(f"Sample {i} has no answer to train on (after {prompt[-40:]!r}).")
        before, target = lm.encode(prompt) if prompt else [], lm.encode(answer)
        target = [*target, end] if target[-1] != end else target
        if not before:
            rows += [Row(part, (IGNORED, *part[1:])) for part in _overlapping(target, most) if len(part) > 1]
        elif len(target) >= most:
            dropped += 1
        else:
            kept = before[-(most - len(target)) :]
            cut += len(kept) < len(before)
            rows.append(Row((*kept, *target), (IGNORED,) * len(kept) + tuple(target)))
    if not rows:
        raise ValueError(f"Nothing to train on: {dropped} samples have answers that don't fit into {most} tokens.")
    return Encoded(rows, cut, dropped)


def _overlapping(ids: Sequence[int], most: int) -> list[tuple[int, ...]]:
    return [tuple(ids[start : start + most]) for start in range(0, max(1, len(ids) - 1), most - 1)]


def padded(rows: Sequence[Row]) -> Batch:
    """Rows side by side, padded on the right: (rows, longest) each.

    No mask is needed: a causal model's tokens never look to the right, and no label stands on padding.
    """
    width = max(len(row.ids) for row in rows)
    ids = [[*row.ids, *[0] * (width - len(row.ids))] for row in rows]
    labels = [[*row.labels, *[IGNORED] * (width - len(row.labels))] for row in rows]
    return Batch(torch.tensor(ids), torch.tensor(labels))


def bucketed(rows: Sequence[Row], tokens: int, seed: int, most_rows: int = 64) -> Callable[[int], list[int]]:
    """Which rows each step trains on: rows of like length together, at most `tokens` tokens with padding.

    Each epoch goes through all rows once; who goes together, and the order, change from epoch to epoch. The same step
    always gets the same rows, so an interrupted training goes on as if nothing had been.
    """
    lengths = np.array([len(row.ids) for row in rows])
    count = len(make_batches(lengths.tolist(), most_rows, tokens))

    def epoch(number: int) -> list[list[int]]:
        rng = np.random.default_rng([seed, number])
        order = rng.permutation(len(rows))
        batches = [[int(order[i]) for i in batch] for batch in make_batches(lengths[order].tolist(), most_rows, tokens)]
        return [batches[i] for i in rng.permutation(count)]

    made: dict[int, list[list[int]]] = {}

    def step(number: int) -> list[int]:
        if number // count not in made:
            made.clear()
            made[number // count] = epoch(number // count)
        return made[number // count][number % count]

    return step


def epoch_steps(rows: Sequence[Row], tokens: int, most_rows: int = 64) -> int:
    """How many steps of `bucketed` make an epoch."""
    return len(make_batches([len(row.ids) for row in rows], most_rows, tokens))
