"""How a trained prefix begins, and a cartridge: a document of the prompt made small by self-study."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from memcourse.model.cache import Prefix
from memcourse.model.lm import LanguageModel
from memcourse.progress import Label, silent
from memcourse.weights.distil import Lesson, learn_from, self_study, taught
from memcourse.weights.exam import adapted, answered, read_before
from memcourse.weights.finetuning import finetune
from memcourse.weights.lora import lora_weights
from memcourse.weights.prefix import KVPrefix
from memcourse.weights.probes import Asked, Probe
from memcourse.weights.samples import Row, Sample, encode_samples
from memcourse.weights.training import Recipe

STUDIES = ("next tokens", "self-study", "self-study, LoRA")


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


def half_sentences(text: str, count: int, words: Sequence[int] = (3, 4, 5)) -> list[str]:
    """Beginnings of a text's sentences, which a model that has read it can finish: so many, going round if need be.

    Args:
        words: how many words each has, in turn.

    Raises:
        ValueError: no sentence is longer than that.
    """
    sentences = [s.split() for s in re.split(r"(?<=[.!?])\s+", text) if len(s.split()) > max(words)]
    if not sentences:
        raise ValueError(f"There is no sentence of more than {max(words)} words in {text[:40]!r}.")
    places = zip(itertools.cycle(range(len(sentences))), itertools.cycle(words), strict=False)
    return [" ".join(sentences[i][:n]) for i, n in itertools.islice(places, count)]


def cartridge(
    lm: LanguageModel,
    context: Prefix,
    document: str,
    asked: Sequence[Asked],
    texts: Sequence[str],
    openings: Sequence[str],
    recipes: Mapping[str, Recipe],
    *,
    slots: int,
    new_tokens: int = 24,
    temperature: float = 0.5,
    tokens: int = 256,
    seed: int = 0,
    label: Label = silent,
) -> dict[str, dict[str, Any]]:
    """A document of the prompt made small: what is left of knowing it, and what each way costs.

    Args:
        context: the prompt that holds the document (and worked examples, say), from `lm.prefix`: the teacher.
        texts: texts about other things.
        openings: beginnings of the texts that the model writes for itself, having read the context; test questions aren't
            among them.
        recipes: for some of `STUDIES`: a cartridge that learns the next tokens of the document's paragraphs, one that
            learns from the texts what the teacher says, and LoRA of rank 1 that does the same.
        new_tokens, temperature: of the texts that it writes.
        tokens: most tokens of a step.

    Returns: for "nothing", "in the prompt" and each study: "rank" and "logprob" of each question, "other loss" of the
        texts, "bytes" beside the model, "tokens" read before each question and "losses" of the steps; and "study", the
        texts that it wrote.

    Raises:
        ValueError: a recipe for another study.
    """
    if unknown := sorted(recipes.keys() - set(STUDIES)):
        raise ValueError(f"Unknown study {unknown[0]!r}; there are {', '.join(map(repr, STUDIES))}.")
    probe = Probe(lm, [], texts)

    def row(prefix: KVPrefix | Prefix | None, size: int, losses: Sequence[float] = ()) -> dict[str, Any]:
        seen = {"bytes": size, "tokens": len(read_before(lm, prefix) or ()), "losses": list(losses)}
        return {**answered(lm, asked, prefix), "other loss": probe.text_loss(prefix), **seen}

    results = {"nothing": row(None, 0), "in the prompt": row(context, context.nbytes)}
    study = self_study(
        lm, context, openings, tokens=new_tokens, temperature=temperature, seed=seed, progress=label("writing")
    )
    lesson, paragraphs = taught(lm, context, study), encode_samples(lm, [Sample("", p) for p in document.split("\n\n")]).rows
    for name, recipe in recipes.items():
        way = "LoRA" if name.endswith("LoRA") else "cartridge"
        with adapted(lm, way, document, rank=1, slots=slots, seed=seed) as prefix:
            given = lesson if "self-study" in name else paragraphs
            losses = _study(lm, given, recipe, prefix, tokens, seed, label(name))
            size = prefix.nbytes if prefix else sum(tensor.nbytes for tensor in lora_weights(lm.model).values())
            results[name] = row(prefix, size, losses)
    return {**results, "study": {"texts": study}}


def _study(
    lm: LanguageModel,
    given: Lesson | Sequence[Row],
    recipe: Recipe,
    prefix: KVPrefix | None,
    tokens: int,
    seed: int,
    progress: Any,
) -> list[float]:
    """Train what can be trained now on rows of text or on a teacher's lesson; the losses of the steps."""
    if isinstance(given, Lesson):
        return learn_from(lm, given, recipe, prefix=prefix, tokens=tokens, seed=seed, progress=progress).tolist()
    return finetune(lm, given, recipe, prefix=prefix, tokens=tokens, seed=seed, progress=progress).losses.tolist()
