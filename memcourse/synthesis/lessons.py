"""What a model can answer after reading: the same facts told in different ways, at equal numbers of tokens.

Source: the design follows Allen-Zhu and Li, "Physics of Language Models: Part 3.1" (2023), arXiv 2309.14316: questions are
asked about people of whom no question was trained.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from memcourse.model.lm import LanguageModel
from memcourse.progress import Label, silent
from memcourse.synthesis.fact_table import FactTable
from memcourse.synthesis.rewrites import Text, equal_budget, question_answers
from memcourse.weights.exam import adapted, trained_numbers
from memcourse.weights.finetuning import finetune, reused_by
from memcourse.weights.loss import IGNORED
from memcourse.weights.probes import Asked, Probe, graded
from memcourse.weights.samples import Row, epoch_steps
from memcourse.weights.training import Recipe


def asked_of(table: FactTable, subjects: Iterable[str], wordings: Iterable[int]) -> list[Asked]:
    """The facts of some subjects as questions with all values of the attribute as choices, in each of the wordings.

    Raises:
        ValueError: a subject or a wording that the table doesn't have.
    """
    values = table.values
    rows = [(text.prompt, table.rows[text.facts[0]]) for text in question_answers(table, wordings, subjects)]
    return [Asked(prompt, values[row.attribute], values[row.attribute].index(row.value)) for prompt, row in rows]


def fact_rows(lm: LanguageModel, table: FactTable, texts: Sequence[Text]) -> list[Row]:
    """Texts as rows in which only the values of facts count in the loss: nothing else in an invented text can be known.

    Of a text with a prompt, what is learnt counts, and an end token after it. A value counts at every place where it
    stands in the text.

    Raises:
        ValueError: a text in which the value of one of its facts doesn't stand.
    """
    end = int(lm.tokenizer.eos_token_id)
    rows = []
    for text in texts:
        if text.prompt:
            before, target = lm.encode(text.prompt), [*lm.encode(text.text), end]
            rows.append(Row((*before, *target), (IGNORED,) * len(before) + tuple(target)))
            continue
        spans = []
        for value in {table.rows[fact].value for fact in text.facts}:
            places = [at for at in range(len(text.text)) if text.text.startswith(value, at)]
            if not places:
                raise ValueError(f"The text does not hold the value {value!r}, which it should tell: {text.text!r}.")
            spans += [(at, at + len(value)) for at in places]
        found = lm.tokenizer(text.text, return_offsets_mapping=True, add_special_tokens=False)
        told = [any(a < last and first < b for first, last in spans) for a, b in found["offset_mapping"]]
        told[0] = False  # nothing stands before it
        ids = tuple(found["input_ids"])
        rows.append(Row(ids, tuple(token if counts else IGNORED for token, counts in zip(ids, told, strict=True))))
    return rows


def mixtures(
    lm: LanguageModel, arms: Mapping[str, Sequence[tuple[list[Text], float]]], tokens: int, seed: int
) -> dict[str, list[Text]]:
    """For each arm its parts, each repeated or cut so that it fills its share of the same number of tokens.

    Args:
        arms: for each arm its parts, (texts, weight) each; a part gets tokens in proportion to its weight.

    Raises:
        ValueError: an arm without parts, a weight that isn't above 0, or as for `equal_budget`.
    """
    mixed = {}
    for arm, parts in arms.items():
        if not parts or min(weight for _, weight in parts) <= 0:
            raise ValueError(f"The arm {arm!r} needs parts, each with a weight above 0.")
        whole, filled = sum(weight for _, weight in parts), []
        for texts, weight in parts:
            budget = int(tokens * weight / whole)
            filled += equal_budget({arm: texts}, lambda text: len(lm.encode(text)) + 1, budget, seed)[arm].texts
        mixed[arm] = filled
    return mixed


def lessons_learned(
    lm: LanguageModel,
    arms: Mapping[str, Sequence[Row]],
    asked: Sequence[Asked],
    texts: Sequence[str] = (),
    *,
    start: int = 0,
    rank: int = 16,
    lr: float = 1e-2,
    tokens: int = 256,
    seeds: Sequence[int] = (0,),
    label: Label = silent,
) -> dict[str, Any]:
    """A LoRA on the layers from `start` on reads the rows of an arm once each; what the model answers then.

    The model is untouched again after each arm. What comes several times in an arm is read several times.

    Args:
        asked: questions with choices.
        texts: other texts whose loss is watched.
        tokens: of a training step, at most.

    Returns: "before" and, for each arm, one dictionary a seed: of the questions "rank" and "logprob" (see `graded`) and
        "certainty", the log of the right choice's share among the choices (nats); "other loss" of the texts; after
        training "losses" of each step, "read" tokens, and how many numbers were "trained".

    Raises:
        ValueError: no arms, an arm without rows, or no questions.
    """
    if not arms or not all(arms.values()) or not asked:
        raise ValueError("lessons_learned needs questions, and at least one arm, each with rows to train on.")
    probe, read = Probe(lm, asked, texts), reused_by(lm, arms, start)

    def sit() -> dict[str, Any]:
        scores = probe.scores(None, start)
        shares = [row[one.gold] - float(np.logaddexp.reduce(row)) for row, one in zip(scores, asked, strict=True)]
        found = {**graded(scores, asked), "certainty": shares}
        return found | ({"other loss": probe.text_loss(None, start)} if texts else {})

    results: dict[str, Any] = {"before": sit()} | {arm: [] for arm in arms}
    for arm, rows in arms.items():
        for seed in seeds:
            with adapted(lm, "LoRA", rank=rank, start=start, seed=seed):
                recipe, size = Recipe(epoch_steps(rows, tokens), lr=lr), trained_numbers(lm, None)
                told = label(f"{arm}, seed {seed}")
                done = finetune(lm, rows, recipe, tokens=tokens, seed=seed, read=read[arm], progress=told)
                results[arm].append({**sit(), "losses": done.losses.tolist(), "read": done.tokens, "trained": size})
    return results
