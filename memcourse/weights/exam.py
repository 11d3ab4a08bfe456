"""One text put into one model in several ways, and the same exam after each: what was learnt, and what it cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from memcourse.model import seed_everything
from memcourse.model.cache import Prefix
from memcourse.model.lm import LanguageModel
from memcourse.progress import Label, silent
from memcourse.weights.finetuning import finetune, put_back, train_fully
from memcourse.weights.lora import add_lora, remove_lora
from memcourse.weights.loss import IGNORED
from memcourse.weights.prefix import KVPrefix
from memcourse.weights.probes import Asked, Probe, graded
from memcourse.weights.samples import Row, Sample, encode_samples, padded
from memcourse.weights.training import Recipe
from memcourse.weights.tuned import Tuned

WAYS = ("full", "LoRA", "prefix", "cartridge")


@contextmanager
def adapted(
    lm: LanguageModel, way: str, text: str = "", *, rank: int = 8, slots: int = 32, start: int = 0, seed: int = 0
) -> Iterator[KVPrefix | None]:
    """Make something trainable in a model or beside it; at the end of the block the model is what it was, and frozen.

    Args:
        way: "full" (all weights from layer `start` on), "LoRA" (of this rank, on all linear layers from there on),
            "prefix" (random keys and values, so many slots) or "cartridge" (those of the text, the first slot frozen).
        seed: set right before anything random is made.

    Yields: the prefix, or None where the model itself is trained.

    Raises:
        ValueError: another way.
    """
    if way not in WAYS:
        raise ValueError(f"Unknown way {way!r}; there are {', '.join(map(repr, WAYS))}.")
    model = lm.model.requires_grad_(False)
    layers = range(start, len(model.model.layers))
    seed_everything(seed)
    if way == "full":
        with put_back(train_fully(model, layers if start else None)):
            yield None
    elif way == "LoRA":
        add_lora(model, rank, layers=layers)
        try:
            yield None
        finally:
            remove_lora(model)
    elif way == "prefix":
        yield KVPrefix.random(model, slots, start=start)
    else:
        yield KVPrefix.from_text(lm, text, slots, start=start)


class Exam:
    """Questions on a text, and what a model should be able to do besides.

    Args:
        text: what is to be learnt.
        asked: questions on it, worded otherwise.
        common: questions of common knowledge.
        texts: texts about other things.
        task: something to write about the text's subject, as a chat message.
        tokens: length of what is written.
    """

    def __init__(
        self,
        lm: LanguageModel,
        text: str,
        asked: Sequence[Asked],
        common: Sequence[Asked],
        texts: Sequence[str],
        task: str,
        tokens: int = 32,
    ) -> None:
        self.lm, self.text, self.asked, self.kept = lm, text, asked, Probe(lm, common, texts)
        self.rows = encode_samples(lm, [Sample("", text)]).rows
        self.task, self.tokens = lm.chat_prompt([{"role": "user", "content": task}]), tokens

    def sit(self, prefix: KVPrefix | Prefix | None = None) -> dict[str, Any]:
        """How the model does as it is now, with a prefix if given.

        Returns: "loss" of the text (nats a token) and "verbatim", the share of its tokens that are the model's first
        choice after the ones before; of its questions "rank" and "logprob", as `graded` gives them; "common", 1 or 0 for
        each question of common knowledge; "other loss" of the other texts; "written", the task done.
        """
        loss, verbatim = by_heart(self.lm, self.rows, prefix)
        return {
            "loss": loss,
            "verbatim": verbatim,
            **answered(self.lm, self.asked, prefix),
            **preserved(self.kept, prefix),
            "written": self.lm.generate(self.task, self.tokens, prefix=read_before(self.lm, prefix)).strip(),
        }


def answered(lm: LanguageModel, asked: Sequence[Asked], prefix: KVPrefix | Prefix | None = None) -> dict[str, list[Any]]:
    """`graded` questions of a model that differs in every layer, or has a prefix before it: each prompt is read once."""
    choices = [[f" {choice}" for choice in question.choices] for question in asked]
    scores = lm.score([question.prompt for question in asked], choices, prefix=read_before(lm, prefix))
    return graded(scores, asked)


def preserved(probe: Probe, prefix: KVPrefix | Prefix | None = None, start: int = 0) -> dict[str, Any]:
    """What a model still knows of other things: "common", 1 or 0 for each question, and "other loss" of the texts."""
    ranks = graded(probe.scores(prefix, start), probe.asked)["rank"]
    return {"common": [int(rank == 0) for rank in ranks], "other loss": probe.text_loss(prefix, start)}


def read_before(lm: LanguageModel, prefix: KVPrefix | Prefix | None) -> Prefix | None:
    """A trained prefix as one that has been read, which is what `LanguageModel` takes."""
    return prefix.as_prefix(lm) if isinstance(prefix, KVPrefix) else prefix


def trained_numbers(lm: LanguageModel, prefix: KVPrefix | None) -> int:
    """How many numbers training changes: those of the prefix, or all that are not frozen in the model."""
    return prefix.n_parameters if prefix else sum(w.numel() for w in lm.model.parameters() if w.requires_grad)


@torch.no_grad()
def by_heart(lm: LanguageModel, rows: Sequence[Row], prefix: KVPrefix | Prefix | None = None) -> tuple[float, float]:
    """Mean loss (nats) of the labels of rows, and the share of them that the model would have written itself."""
    batch = padded(rows).to(lm.device)
    counts = batch.labels[:, 1:] != IGNORED
    logs = Tuned(lm.model, 0, prefix)(batch.ids)[:, :-1][counts].float().log_softmax(-1)
    targets = batch.labels[:, 1:][counts]
    right = (logs.argmax(-1) == targets).float().mean()
    return float(-logs.gather(1, targets[:, None]).mean()), float(right)


def put_into(
    exam: Exam, recipes: Mapping[str, Recipe], *, rank: int = 8, slots: int = 32, seed: int = 0, label: Label = silent
) -> dict[str, dict[str, Any]]:
    """The exam without the text, with the text in the prompt, and after the text was trained into the model in each way.

    Returns: for "nothing", "in the prompt" and each way what `Exam.sit` gives; for the ways also "losses" of each step and
    "trained", how many numbers were.
    """
    lm = exam.lm
    results = {"nothing": exam.sit(), "in the prompt": exam.sit(lm.prefix(f"{exam.text}\n\n"))}
    for way, recipe in recipes.items():
        with adapted(lm, way, exam.text, rank=rank, slots=slots, seed=seed) as prefix:
            numbers = trained_numbers(lm, prefix)
            losses = finetune(lm, exam.rows, recipe, prefix=prefix, seed=seed, progress=label(way)).losses
            results[way] = {**exam.sit(prefix), "losses": losses.tolist(), "trained": numbers}
    return results
