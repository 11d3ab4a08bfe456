"""Learning against forgetting: the facts of an invented trade, learnt in several ways, and adapters that hold one each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from memcourse.model.lm import LanguageModel
from memcourse.model.prompts import open_question
from memcourse.progress import Label, silent
from memcourse.weights.exam import adapted, preserved, trained_numbers
from memcourse.weights.finetuning import finetune, reused
from memcourse.weights.lora import lora_parameters, lora_weights
from memcourse.weights.prefix import KVPrefix
from memcourse.weights.probes import Asked, Probe, graded
from memcourse.weights.samples import Row, Sample, epoch_steps
from memcourse.weights.training import Recipe
from memcourse.world import DomainFact


class Arm(NamedTuple):
    """One way of learning: what is trained (see `adapted`), its size (LoRA's rank, a prefix's slots), and how fast."""

    way: str
    size: int
    lr: float


def matched_slots(model: Any, rank: int, start: int = 0) -> int:
    """How many slots of a prefix train about as many numbers as LoRA of this rank on the layers from `start` on."""
    layers = range(start, len(model.model.layers))
    one = KVPrefix.random(model, 1, start=start).n_parameters
    return max(1, round(lora_parameters(model, rank, layers=layers) / one))


def domain_samples(facts: Sequence[DomainFact], rewordings: int) -> list[Sample]:
    """What is trained of a trade: each fact as a question, and as sentences of which the part from the answer on counts.

    What stands before the answer is the prompt. A sentence that begins with its answer is left out.
    """
    asked = [Sample(open_question(fact.question), f" {fact.answer}") for fact in facts]
    told = []
    for fact in facts:
        for text in (fact.statement, *fact.rewordings[:rewordings]):
            before, _, _ = text.partition(f" {fact.answer}")
            if before != text and before.strip():
                told.append(Sample(before, text[len(before) :]))
    return asked + told


def domain_questions(facts: Sequence[DomainFact]) -> list[Asked]:
    """Two questions on each fact in words that `domain_samples` doesn't train: another question, and a sentence to end."""
    prompts = [(open_question(fact.question2), fact) for fact in facts] + [(fact.cloze, fact) for fact in facts]
    return [Asked(prompt, fact.choices, fact.gold) for prompt, fact in prompts]


def learning_and_forgetting(
    lm: LanguageModel,
    rows: Sequence[Row],
    asked: Sequence[Asked],
    common: Sequence[Asked],
    texts: Sequence[str],
    arms: Sequence[Arm],
    *,
    start: int,
    epochs: int,
    tokens: int = 192,
    seed: int = 0,
    label: Label = silent,
) -> list[dict[str, Any]]:
    """Each arm learns the same rows from the untouched model; what it knows then, and what it has lost.

    All arms change the layers from `start` on, read the same batches in the same order, and differ in nothing but the arm.

    Returns: a row for the untouched model (arm None) and one for each arm: "arm", "trained" (how many numbers), "losses"
        of each step, of the questions asked "rank" and "logprob" (see `graded`), and of what was known before "common" and
        "other loss" (see `preserved`).
    """
    known, kept, read = Probe(lm, asked), Probe(lm, common, texts), reused(lm, rows, start)

    def row(arm: Arm | None, prefix: KVPrefix | None = None) -> dict[str, Any]:
        return {"arm": arm and tuple(arm), **graded(known.scores(prefix, start), asked), **preserved(kept, prefix, start)}

    results = [row(None)]
    for arm in arms:
        recipe = Recipe(epochs * epoch_steps(rows, tokens), lr=arm.lr)
        progress = label(f"{arm.way} {arm.size or ''} at {arm.lr:g}")
        size = max(arm.size, 1)
        with adapted(lm, arm.way, _as_text(lm, rows), rank=size, slots=size, start=start, seed=seed) as prefix:
            done = finetune(lm, rows, recipe, prefix=prefix, tokens=tokens, seed=seed, read=read, progress=progress)
            results.append({**row(arm, prefix), "trained": trained_numbers(lm, prefix), "losses": done.losses.tolist()})
    return results


def _as_text(lm: LanguageModel, rows: Sequence[Row]) -> str:
    """All rows as one text: what a cartridge that learns them begins with."""
    return "\n".join(lm.decode(row.ids).strip() for row in rows)


def domain_adapters(
    lm: LanguageModel,
    domains: Mapping[str, Sequence[Row]],
    *,
    rank: int,
    lr: float,
    start: int,
    epochs: int,
    tokens: int = 192,
    seed: int = 0,
    label: Label = silent,
) -> dict[str, dict[str, Tensor]]:
    """One LoRA for each domain over the same base: what `AdapterBank` takes, its tensors by name."""
    made = {}
    for name, rows in domains.items():
        recipe = Recipe(epochs * epoch_steps(rows, tokens), lr=lr)
        with adapted(lm, "LoRA", rank=rank, start=start, seed=seed):
            finetune(lm, rows, recipe, tokens=tokens, seed=seed, progress=label(name))
            made[name] = {key: tensor.clone() for key, tensor in lora_weights(lm.model).items()}
    return made
