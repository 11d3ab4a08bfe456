"""Learning against forgetting: the facts of an invented trade, learnt in several ways, and adapters that hold one each."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from memcourse.model.lm import LanguageModel
from memcourse.model.memory import fastest
from memcourse.model.seed import seed_everything
from memcourse.progress import Label, silent
from memcourse.weights.adapters import adapter_bytes, load_adapter, save_adapter
from memcourse.weights.exam import adapted, preserved, trained_numbers
from memcourse.weights.finetuning import finetune, put_back, reused, train_fully
from memcourse.weights.lora import add_lora, lora_layers, lora_parameters, lora_weights, merge_lora, remove_lora
from memcourse.weights.prefix import KVPrefix
from memcourse.weights.probes import Asked, Probe, graded
from memcourse.weights.samples import Row, Sample, epoch_steps
from memcourse.weights.training import Recipe
from memcourse.world import DomainFact

if TYPE_CHECKING:
    from memcourse.weights.serving import AdapterBank


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

    What stands before the answer (all but its first word, say) is the prompt: nothing about a fact is in it that should be
    learnt. A sentence that begins with its answer is left out.
    """
    asked = [Sample(f"Question: {fact.question}\nAnswer:", f" {fact.answer}") for fact in facts]
    told = []
    for fact in facts:
        for text in (fact.statement, *fact.rewordings[:rewordings]):
            before, _, _ = text.partition(f" {fact.answer}")
            if before != text and before.strip():
                told.append(Sample(before, text[len(before) :]))
    return asked + told


def domain_questions(facts: Sequence[DomainFact]) -> list[Asked]:
    """Two questions on each fact in words that `domain_samples` doesn't train: another question, and a sentence to end."""
    prompts = [(f"Question: {fact.question2}\nAnswer:", fact) for fact in facts] + [(fact.cloze, fact) for fact in facts]
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


def bank_answers(
    lm: LanguageModel, bank: AdapterBank, asked: Sequence[Asked], names: Sequence[str | None]
) -> dict[str, list[Any]]:
    """`graded` questions, each put to the base with the adapter of its name, all in one pass.

    Raises:
        ValueError: a choice of more than one token, or a name that the bank doesn't have.
    """
    tokens = [[lm.encode(f" {choice}") for choice in question.choices] for question in asked]
    longer = [lm.decode(ids) for some in tokens for ids in some if len(ids) > 1]
    if longer:
        raise ValueError(f"Only choices of one token can be compared in one pass; {longer[0]!r} has more.")
    logs = bank.last_logits([question.prompt for question in asked], names).float().log_softmax(-1)
    scores = [[float(row[ids[0]]) for ids in some] for row, some in zip(logs, tokens, strict=True)]
    return graded(scores, asked)


def adapter_costs(lm: LanguageModel, prompts: Sequence[str], *, rank: int, steps: int, seed: int = 0) -> dict[str, Any]:
    """What a LoRA on all layers weighs and costs, and whether saving and merging keep what it says.

    Its B is random, as large as after some training, so that there is something to keep. The model is put back.

    Returns: "seconds" of writing one token of one text, the fastest of so many: of the "base", "with LoRA" and "merged";
        "bytes" of the saved adapter, in float16; and the largest differences of the logits after the prompts to those with
        the LoRA: "reloaded" (from float32), "merged", and "base".
    """

    def token_seconds() -> float:
        context = lm.prefix(prompts[0])
        return fastest(lm.score, [" the"], [[" a"]], prefix=context, repeats=steps)

    times, before = {"base": token_seconds()}, lm.last_logits(prompts)
    with put_back(train_fully(lm.model)), tempfile.TemporaryDirectory() as name:
        seed_everything(seed)
        for layer in lora_layers(add_lora(lm.model, rank)).values():
            torch.nn.init.normal_(layer.up, std=0.02)
        times["with LoRA"], wanted = token_seconds(), lm.last_logits(prompts)
        size = adapter_bytes(save_adapter(Path(name) / "half", lm, dtype="float16"))
        saved = save_adapter(Path(name) / "single", lm)
        load_adapter(saved, LanguageModel(remove_lora(lm.model), lm.tokenizer, lm.name))
        found = {"base": before, "reloaded": lm.last_logits(prompts)}
        merge_lora(lm.model)
        times["merged"], found["merged"] = token_seconds(), lm.last_logits(prompts)
    gaps = {key: float((value - wanted).abs().max()) for key, value in found.items()}
    return {"seconds": times, "bytes": size, **gaps}


def serving_seconds(
    lm: LanguageModel, bank: AdapterBank, prompts: Sequence[str], names: Sequence[str], repeats: int = 3
) -> dict[str, float]:
    """Seconds until the next token of every prompt is known, of the base and with adapters, in one batch and one by one."""

    def base_one_by_one() -> None:
        for prompt in prompts:
            lm.last_logits([prompt])

    def adapters_one_by_one() -> None:
        for prompt, name in zip(prompts, names, strict=True):
            bank.last_logits([prompt], [name])

    return {
        "base, one batch": fastest(lm.last_logits, prompts, repeats=repeats),
        "adapters, one batch": fastest(bank.last_logits, prompts, names, repeats=repeats),
        "base, one by one": fastest(base_one_by_one, repeats=repeats),
        "adapters, one by one": fastest(adapters_one_by_one, repeats=repeats),
    }
