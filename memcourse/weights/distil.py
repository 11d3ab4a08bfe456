"""Self-study: a model with a long prompt teaches the same model without it, through a prefix or an adapter beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from memcourse.model.batching import make_batches
from memcourse.model.cache import Prefix
from memcourse.model.lm import LanguageModel
from memcourse.progress import Progress
from memcourse.weights.finetuning import first_trained
from memcourse.weights.prefix import KVPrefix
from memcourse.weights.samples import Row, bucketed
from memcourse.weights.training import Recipe, train
from memcourse.weights.tuned import Tuned


class Lesson(NamedTuple):
    """What the teacher would say next at each place of some texts.

    Attributes:
        ids: (rows, tokens) token ids, padded on the right.
        best: (rows, tokens, k) the k likeliest tokens that follow each token.
        logs: (rows, tokens, k) their log-probabilities, made to add up to 1; 0 on padding.
        real: (rows, tokens) of bool, False on padding.
    """

    ids: Tensor
    best: Tensor
    logs: Tensor
    real: Tensor

    def share(self, count: int, number: int) -> Lesson:
        """The rows of one of so many processes."""
        return Lesson(*(part.tensor_split(count)[number] for part in self))

    def rows(self, chosen: Sequence[int]) -> Lesson:
        """Some of the rows, without the columns in which all of them are padding."""
        width = int(self.real[chosen].sum(1).max())
        return Lesson(*(part[chosen, :width] for part in self))


def self_study(
    lm: LanguageModel,
    context: Prefix,
    openings: Sequence[str],
    *,
    tokens: int = 24,
    temperature: float = 1.0,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[str]:
    """Texts that the model writes about its context, one for each opening, such as "Question: Who": each with its opening.

    A model that has read worked examples writes questions and answers of its own. They needn't be right: what is learnt
    from them is what the model with the context would say. Source: the self-study of Eyuboglu et al., "Cartridges" (2025),
    arXiv 2506.06266.

    Args:
        context: the long prompt, from `lm.prefix`.
        tokens: most tokens that are written.
    """
    written = lm.generate(
        openings, tokens, stop=["\n\n"], prefix=context, temperature=temperature, seed=seed, progress=progress
    )
    return [opening + text for opening, text in zip(openings, written, strict=True)]


@torch.no_grad()
def taught(lm: LanguageModel, context: Prefix, texts: Sequence[str], k: int = 50) -> Lesson:
    """What the model, having read the context, finds likely at each place of each text.

    Raises:
        ValueError: no texts, or k is not in 1..vocab.
    """
    if not texts or not 1 <= k <= lm.model.config.vocab_size:
        raise ValueError(f"Teaching needs texts and k in 1..{lm.model.config.vocab_size}; not {len(texts)} and {k}.")
    rows = [lm.encode(text) for text in texts]
    width = max(map(len, rows))
    ids, real = torch.zeros(len(rows), width, dtype=torch.long), torch.zeros(len(rows), width, dtype=torch.bool)
    best, logs = torch.zeros(len(rows), width, k, dtype=torch.long), torch.zeros(len(rows), width, k)
    teacher = Tuned(lm.model, 0, context)
    for chosen in make_batches([len(row) for row in rows], 16, 1024):
        for i in chosen:
            ids[i, : len(rows[i])], real[i, : len(rows[i])] = torch.tensor(rows[i]), True
        longest = max(len(rows[i]) for i in chosen)
        at = real[chosen, :longest]
        top = teacher(ids[chosen, :longest].to(lm.device), at.to(lm.device)).float().topk(k)
        places = torch.tensor(chosen)[at.nonzero()[:, 0]], at.nonzero()[:, 1]
        best[places], logs[places] = top.indices.cpu(), top.values.log_softmax(-1).cpu()
    return Lesson(ids, best, logs, real)


def divergence(model: nn.Module, lesson: Lesson) -> tuple[Tensor, Tensor]:
    """Summed KL divergence (nats) of the teacher's k likeliest tokens from the student's, and number of places, (1,) each.

    The student's probabilities are over the whole vocabulary, so what it gives to other tokens counts against it.
    """
    device = next(model.parameters()).device
    ids, best, logs, real = (part.to(device) for part in lesson)
    student = model(ids, real).float().log_softmax(-1).gather(1, best[real])
    teacher = logs[real]
    return (teacher.exp() * (teacher - student)).sum()[None], real.sum()[None]


def learn_from(
    lm: LanguageModel,
    lesson: Lesson,
    recipe: Recipe,
    *,
    prefix: KVPrefix | None = None,
    tokens: int = 512,
    seed: int = 0,
    progress: Progress | None = None,
) -> Tensor:
    """Train a prefix, or what is not frozen in lm.model, to say what the teacher says; the KL of each step, (steps,).

    Source: context distillation as in Eyuboglu et al., "Cartridges" (2025), arXiv 2506.06266.

    Raises:
        ValueError: nothing to train, or both a prefix and weights of the model.
    """
    if (prefix is None) == (first_trained(lm.model) is None):
        raise ValueError("learn_from trains either a prefix beside a frozen model, or what is not frozen in the model.")
    rows = [Row((0,) * n, (0,) * n) for n in lesson.real.sum(1).tolist()]  # only their lengths count
    step = bucketed(rows, tokens, seed)
    tuned = Tuned(lm.model, 0, prefix)
    return train(tuned, lambda n: lesson.rows(step(n)), recipe, loss=divergence, progress=progress)[:, 0]
