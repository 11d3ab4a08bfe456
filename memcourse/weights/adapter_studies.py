"""The measurements of notebook 07 on a language model: learning against forgetting, how a prefix begins, a cartridge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from memcourse.model.cache import Prefix
from memcourse.model.lm import LanguageModel
from memcourse.progress import Label, silent
from memcourse.weights.distil import learn_from, self_study, taught
from memcourse.weights.exam import adapted
from memcourse.weights.finetune import finetune
from memcourse.weights.lora import lora_parameters, lora_weights
from memcourse.weights.prefix import KVPrefix
from memcourse.weights.probes import Probe, likelier
from memcourse.weights.samples import Row, Sample, encode_samples, epoch_steps
from memcourse.weights.training import Recipe
from memcourse.world import DomainFact


class Arm(NamedTuple):
    """One way of learning: what is trained (see `adapted`), its size (LoRA's rank, a prefix's slots), and how fast."""

    way: str
    size: int
    lr: float


class Asked(NamedTuple):
    """A prompt, its choices, and the place of the right one."""

    prompt: str
    choices: Sequence[str]
    gold: int


def matched_slots(model: Any, rank: int, start: int = 0) -> int:
    """How many slots of a prefix train about as many numbers as LoRA of this rank on the layers from `start` on."""
    layers = range(start, len(model.model.layers))
    one = KVPrefix.random(model, 1, start=start).n_parameters
    return max(1, round(lora_parameters(model, rank, layers=layers) / one))


def domain_samples(facts: Sequence[DomainFact], rewordings: int) -> list[Sample]:
    """What is trained of a trade: each fact as a statement and reworded, and questions about the subjects of split "train".

    So the questions and clozes of the other splits ask for facts that were only ever stated.
    """
    told = [Sample("", text) for fact in facts for text in (fact.statement, *fact.rewordings[:rewordings])]
    asked = [fact for fact in facts if fact.split == "train"]
    return told + [Sample(f"Question: {fact.question}\nAnswer:", f" {fact.answer}") for fact in asked]


def probe_of(lm: LanguageModel, questions: Sequence[Asked], texts: Sequence[str] = ()) -> Probe:
    """A `Probe` of these questions."""
    return Probe(lm, [q.prompt for q in questions], [q.choices for q in questions], texts)


def learn_and_forget(
    lm: LanguageModel,
    rows: Sequence[Row],
    asked: Sequence[Asked],
    common: Sequence[Asked],
    texts: Sequence[str],
    arms: Sequence[Arm],
    *,
    start: int,
    epochs: int,
    tokens: int = 256,
    seed: int = 0,
    label: Label = silent,
) -> list[dict[str, Any]]:
    """Each arm learns the same rows from the untouched model; what it knows then, and what it has lost.

    All arms change the layers from `start` on, read the same batches in the same order, and differ in nothing but the arm.

    Returns: a row for the untouched model (arm None) and one for each arm: "arm", "trained" (how many numbers), "losses",
        for each question asked "rank" (wrong choices that are as likely) and "logprob" (nats, of the right one), for each
        common one "common" (1 if right), and "other loss" (nats a token, of the texts).
    """
    known, kept = probe_of(lm, asked), probe_of(lm, common, texts)
    recipe_steps = epochs * epoch_steps(rows, tokens)

    def row(arm: Arm | None, prefix: KVPrefix | None = None) -> dict[str, Any]:
        scores, golds = known.scores(prefix, start), [q.gold for q in asked]
        usual = likelier(kept.scores(prefix, start), [q.gold for q in common])
        return {
            "arm": arm and tuple(arm),
            "rank": likelier(scores, golds),
            "logprob": [one[gold] for one, gold in zip(scores, golds, strict=True)],
            "common": [int(rank == 0) for rank in usual],
            "other loss": kept.text_loss(prefix, start),
        }

    results = [row(None)]
    for arm in arms:
        size = max(arm.size, 1)
        with adapted(lm, arm.way, rows_text(lm, rows), rank=size, slots=size, start=start, seed=seed) as prefix:
            numbers = prefix.n_parameters if prefix else sum(w.numel() for w in lm.model.parameters() if w.requires_grad)
            recipe = Recipe(recipe_steps, lr=arm.lr)
            progress = label(f"{arm.way} {arm.size or ''} at {arm.lr:g}")
            done = finetune(lm, rows, recipe, prefix=prefix, tokens=tokens, seed=seed, progress=progress)
            results.append({**row(arm, prefix), "trained": numbers, "losses": done.losses.tolist()})
    return results


def rows_text(lm: LanguageModel, rows: Sequence[Row]) -> str:
    """All rows as one text: what a cartridge that learns them begins with."""
    return "\n".join(lm.decode(row.ids).strip() for row in rows)


def beginnings(
    lm: LanguageModel, text: str, slots: Sequence[int], recipe: Recipe, seed: int = 0, label: Label = silent
) -> dict[str, list[list[float]]]:
    """Losses of a prefix that learns a text, step by step, (slots, steps): begun at random, and as keys and values of it."""
    rows = encode_samples(lm, [Sample("", text)]).rows
    return {
        name: [_learnt(lm, way, text, n, rows, recipe, seed, label(f"{n} slots, {name}")) for n in slots]
        for name, way in {"random": "prefix", "of the text": "cartridge"}.items()
    }


def _learnt(
    lm: LanguageModel, way: str, text: str, slots: int, rows: Sequence[Row], recipe: Recipe, seed: int, progress: Any
) -> list[float]:
    with adapted(lm, way, text, slots=slots, seed=seed) as prefix:
        return finetune(lm, rows, recipe, prefix=prefix, seed=seed, progress=progress).losses.tolist()


def cartridge(
    lm: LanguageModel,
    context: Prefix,
    document: str,
    asked: Sequence[Asked],
    texts: Sequence[str],
    openings: Sequence[str],
    recipe: Recipe,
    *,
    slots: int,
    tokens: int = 24,
    seed: int = 0,
    label: Label = silent,
) -> dict[str, dict[str, Any]]:
    """A document of the prompt made small: what is left of knowing it, and what each way costs.

    Args:
        context: the prompt that holds the document (and worked examples, say), from `lm.prefix`: the teacher.
        openings: beginnings of the texts that the model writes for itself, having read the context; test questions aren't
            among them.
        recipe: of the prefix that learns the document's own next tokens, of the one that studies, and of LoRA.

    Returns: for "nothing", "in the prompt", "next tokens" (a prefix trained on the document's text), "self-study" (a
        cartridge) and "self-study, LoRA" (of rank 1): "rank" and "logprob" of each question, "other loss" of the texts,
        "bytes" beside the model, "tokens" read before each question; and "study", the texts that it wrote.
    """
    study = self_study(lm, context, openings, tokens=tokens, seed=seed, progress=label("self-study"))
    lesson = taught(lm, context, study)
    probe = Probe(lm, ["x"], [["y"]], texts)

    def row(prefix: KVPrefix | Prefix | None, size: int) -> dict[str, Any]:
        before = prefix.as_prefix(lm) if isinstance(prefix, KVPrefix) else prefix
        choices = [[f" {choice}" for choice in q.choices] for q in asked]
        scores, golds = lm.score([q.prompt for q in asked], choices, prefix=before), [q.gold for q in asked]
        return {
            "rank": likelier(scores, golds),
            "logprob": [one[gold] for one, gold in zip(scores, golds, strict=True)],
            "other loss": probe.text_loss(prefix),
            "bytes": size,
            "tokens": 0 if prefix is None else len(before or ()),
        }

    results = {"nothing": row(None, 0), "in the prompt": row(context, context.nbytes)}
    with adapted(lm, "cartridge", document, slots=slots, seed=seed) as prefix:
        rows = encode_samples(lm, [Sample("", document)]).rows
        finetune(lm, rows, recipe, prefix=prefix, seed=seed, progress=label("next tokens"))
        results["next tokens"] = row(prefix, prefix.nbytes if prefix else 0)
    with adapted(lm, "cartridge", document, slots=slots, seed=seed) as prefix:
        learn_from(lm, lesson, recipe, prefix=prefix, seed=seed, progress=label("self-study"))
        results["self-study"] = row(prefix, prefix.nbytes if prefix else 0)
    with adapted(lm, "LoRA", rank=1, seed=seed):
        learn_from(lm, lesson, recipe, seed=seed, progress=label("self-study, LoRA"))
        size = sum(tensor.nbytes for tensor in lora_weights(lm.model).values())
        results["self-study, LoRA"] = row(None, size)
    return {**results, "study": {"texts": study}}


def domain_adapters(
    lm: LanguageModel,
    domains: Mapping[str, Sequence[Row]],
    recipe: Recipe,
    *,
    rank: int,
    start: int,
    tokens: int = 256,
    seed: int = 0,
    label: Label = silent,
) -> dict[str, dict[str, Any]]:
    """One LoRA for each domain over the same base: what `AdapterBank` takes, its tensors by name."""
    made = {}
    for name, rows in domains.items():
        with adapted(lm, "LoRA", rank=rank, start=start, seed=seed):
            finetune(lm, rows, recipe, tokens=tokens, seed=seed, progress=label(name))
            made[name] = {key: tensor.clone() for key, tensor in lora_weights(lm.model).items()}
    return made
