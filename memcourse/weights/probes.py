"""What a trained model knows and what it has lost: scores of given choices, and the loss of texts it wasn't trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from memcourse.model.batching import make_batches
from memcourse.model.cache import Prefix
from memcourse.model.lm import LanguageModel
from memcourse.model.prompts import open_question
from memcourse.weights.finetuning import reused
from memcourse.weights.loss import IGNORED, Batch
from memcourse.weights.samples import Row, Sample, encode_samples
from memcourse.weights.tuned import Tuned, counted_nll

if TYPE_CHECKING:
    from memcourse.weights.prefix import KVPrefix
    from memcourse.world import Collection, Passage

TOKENS = 2048  # of one batch; nothing is kept for gradients


class Asked(NamedTuple):
    """A prompt without a space at its end, its choices without the space before them, and the place of the right one."""

    prompt: str
    choices: Sequence[str]
    gold: int


class Probe:
    """Questions with choices and texts, put to one model again and again while it is trained in different ways.

    Where only the layers from `start` on (or a prefix) differ from the base, what the layers below give is computed once
    and kept, so that a second look costs a part of the first.

    Args:
        asked: the questions; none are needed where only texts are measured.
        texts: texts whose loss is measured.

    Raises:
        ValueError: an empty prompt or choice, or a right choice that isn't there.
    """

    def __init__(self, lm: LanguageModel, asked: Sequence[Asked], texts: Sequence[str] = ()) -> None:
        for i, (prompt, some, gold) in enumerate(asked):
            if not (prompt.strip() and some and all(choice.strip() for choice in some) and 0 <= gold < len(some)):
                raise ValueError(f"Question {i} needs a prompt, choices and the place of the right one: {prompt!r}, {some}.")
        self.lm, self.asked = lm, asked
        self._places: list[list[tuple[int, list[int]]]] = []
        rows: dict[tuple[int, ...], int] = {}
        self._first: list[int] = []  # the place in each row that predicts the first token of the choice
        for prompt, some, _ in asked:
            before, tails = lm.encode(prompt), [lm.encode(f" {choice}") for choice in some]
            places = []
            for tail in tails:  # one-token choices share one row, in which only the prompt stands
                ids = (*before, *tail[:-1])
                if ids not in rows:
                    rows[ids] = len(rows)
                    self._first.append(len(before) - 1)
                places.append((rows[ids], tail))
            self._places.append(places)
        self._rows = [Row(ids, (IGNORED,) * len(ids)) for ids in rows]
        self._texts = encode_samples(lm, [Sample("", text) for text in texts]).rows if texts else []
        self._read: dict[tuple[int, int], Callable[[Sequence[int]], Batch]] = {}

    @torch.no_grad()
    def scores(self, prefix: KVPrefix | Prefix | None = None, start: int = 0) -> list[list[float]]:
        """The log-probability (nats) of each choice after its prompt; `start` is the lowest layer that differs."""
        tuned = Tuned(self.lm.model, start, prefix)
        found: dict[int, torch.Tensor] = {}
        for chosen, batch in self._batches(self._rows, 0, start):
            at = torch.zeros(batch.labels.shape, dtype=torch.bool)
            for place, i in enumerate(chosen):
                at[place, self._first[i] : len(self._rows[i].ids)] = True
            logs = tuned(batch.ids, at.to(batch.ids.device)).float().log_softmax(-1).cpu()
            found |= dict(zip(chosen, logs.split(at.sum(1).tolist()), strict=True))
        return [
            [sum(found[row][i, token].item() for i, token in enumerate(tail)) for row, tail in places]
            for places in self._places
        ]

    @torch.no_grad()
    def text_loss(self, prefix: KVPrefix | Prefix | None = None, start: int = 0) -> float:
        """Mean loss of the texts in nats a token; its exponential is their perplexity.

        Raises:
            ValueError: there are no texts.
        """
        if not self._texts:
            raise ValueError("This probe was made without texts.")
        tuned, total, count = Tuned(self.lm.model, start, prefix), 0.0, 0
        for _, batch in self._batches(self._texts, 1, start):
            nll, counted = counted_nll(tuned, batch)
            total, count = total + float(nll), count + int(counted)
        return total / count

    def _batches(self, rows: Sequence[Row], kind: int, start: int) -> list[tuple[list[int], Batch]]:
        if (kind, start) not in self._read:
            self._read[kind, start] = reused(self.lm, rows, start)
        read = self._read[kind, start]
        return [(chosen, read(chosen)) for chosen in make_batches([len(row.ids) for row in rows], 64, TOKENS)]


def graded(scores: Sequence[Sequence[float]], asked: Sequence[Asked]) -> dict[str, list[Any]]:
    """What scores of choices, as `Probe.scores` or `LanguageModel.score` give them, say of each question.

    Returns: "rank", how many wrong choices are at least as likely as the right one (0 where it is the first choice), and
        "logprob" (nats) of the right one.
    """
    golds = [row[question.gold] for row, question in zip(scores, asked, strict=True)]
    ranks = [sum(score >= gold for score in row) - 1 for row, gold in zip(scores, golds, strict=True)]
    return {"rank": ranks, "logprob": golds}


def asked_about(town: Collection, passages: Sequence[Passage]) -> list[Asked]:
    """The questions on one fact that these passages answer, plain ones and paraphrases, each with its choices."""
    ids = {passage.id for passage in passages}
    found = []
    for question in town.questions:
        if question.kind in ("single", "paraphrase") and question.answers and set(question.passages) <= ids:
            choices = town.choices(question)
            found.append(Asked(open_question(question.text), choices, choices.index(question.answer)))
    return found
