"""How a trained prefix begins, and a cartridge: a document of the prompt made small by self-study."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from memcourse.model.cache import Prefix
from memcourse.model.lm import LanguageModel
from memcourse.progress import Label, silent
from memcourse.weights.distil import learn_from, self_study, taught
from memcourse.weights.exam import adapted, answered, by_heart, read_before
from memcourse.weights.finetuning import finetune
from memcourse.weights.prefix import KVPrefix
from memcourse.weights.probes import Asked, Probe
from memcourse.weights.samples import Sample, encode_samples
from memcourse.weights.training import Recipe

STUDIES = ("next tokens", "self-study")


def beginnings(lm: LanguageModel, text: str, slots: Sequence[int], seeds: Sequence[int]) -> dict[str, list[list[float]]]:
    """Loss (nats a token) of a text after an untrained prefix of so many slots, (slots, seeds): the start of training.

    Returns: for "prefix", standard normal keys and values; for "cartridge", those of the text's own first tokens; and for
        "no slots" the loss of the text alone. The last two are the same for every seed.
    """
    rows = encode_samples(lm, [Sample("", text)]).rows

    def loss(way: str, n: int, seed: int) -> float:
        with adapted(lm, way, text, slots=n, seed=seed) as prefix:
            return by_heart(lm, rows, prefix)[0]

    return {
        "prefix": [[loss("prefix", n, seed) for seed in seeds] for n in slots],
        "cartridge": [[loss("cartridge", n, seeds[0])] * len(seeds) for n in slots],
        "no slots": [[by_heart(lm, rows)[0]] * len(seeds)] * len(slots),
    }


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
    tokens: int = 128,
    seed: int = 0,
    label: Label = silent,
) -> dict[str, dict[str, Any]]:
    """A document of the prompt made small: what is left of knowing it, and what each way costs.

    Args:
        context: the prompt that holds the document, from `lm.prefix`: the teacher. What else it holds counts as gain, too.
        texts: texts about other things.
        openings: beginnings of the texts that the model writes for itself, having read the context; test questions aren't
            among them.
        recipes: for some of `STUDIES`: a cartridge that learns the next tokens of the document's paragraphs, and one that
            learns from the texts what the teacher says.
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
        with adapted(lm, "cartridge", document, slots=slots, seed=seed) as prefix:
            assert prefix is not None
            options: dict[str, Any] = {"prefix": prefix, "tokens": tokens, "seed": seed, "progress": label(name)}
            if name == "next tokens":
                losses = finetune(lm, paragraphs, recipe, **options).losses
            else:
                losses = learn_from(lm, lesson, recipe, **options)
            results[name] = row(prefix, prefix.nbytes, losses.tolist())
    return {**results, "study": {"texts": study}}
