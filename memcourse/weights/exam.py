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
from memcourse.weights.finetune import finetune, put_back, train_fully
from memcourse.weights.lora import add_lora, remove_lora
from memcourse.weights.loss import IGNORED
from memcourse.weights.prefix import KVPrefix
from memcourse.weights.probes import Probe, likelier
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
        prompts, choices, gold: questions on it, worded otherwise, with choices and the place of the right one.
        probe: questions of common knowledge (`common` holds the places of the right choices) and texts about other things.
        task: something to write about the text's subject, as a chat message.
        tokens: length of what is written.
    """

    def __init__(
        self,
        lm: LanguageModel,
        text: str,
        prompts: Sequence[str],
        choices: Sequence[Sequence[str]],
        gold: Sequence[int],
        probe: Probe,
        common: Sequence[int],
        task: str,
        tokens: int = 32,
    ) -> None:
        self.lm, self.text, self.prompts, self.gold, self.probe, self.common = lm, text, prompts, gold, probe, common
        self.choices = [[f" {choice}" for choice in some] for some in choices]
        self.rows = encode_samples(lm, [Sample("", text)]).rows
        self.task, self.tokens = lm.chat_prompt([{"role": "user", "content": task}]), tokens

    def sit(self, prefix: KVPrefix | Prefix | None = None) -> dict[str, Any]:
        """How the model does as it is now, with a prefix if given.

        Returns: "loss" of the text (nats a token) and "verbatim", the share of its tokens that are the model's first
        choice after the ones before; "rank" for each question, how many wrong choices are as likely as the right one;
        "common", 1 or 0 for each question of common knowledge; "other loss" of the other texts; "written", the task done.
        """
        loss, verbatim = by_heart(self.lm, self.rows, prefix)
        before = prefix.as_prefix(self.lm) if isinstance(prefix, KVPrefix) else prefix
        scores = self.lm.score(self.prompts, self.choices, prefix=before)
        common = likelier(self.probe.scores(prefix), self.common)
        return {
            "loss": loss,
            "verbatim": verbatim,
            "rank": likelier(scores, self.gold),
            "common": [int(rank == 0) for rank in common],
            "other loss": self.probe.text_loss(prefix),
            "written": self.lm.generate(self.task, self.tokens, prefix=before).strip(),
        }


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
            numbers = prefix.n_parameters if prefix else sum(w.numel() for w in lm.model.parameters() if w.requires_grad)
            losses = finetune(lm, exam.rows, recipe, prefix=prefix, seed=seed, progress=label(way)).losses
            results[way] = {**exam.sit(prefix), "losses": losses.tolist(), "trained": numbers}
    return results
