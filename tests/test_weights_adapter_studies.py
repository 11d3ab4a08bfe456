"""The measurements of notebook 07, on a model that is small enough to train here."""

from __future__ import annotations

import numpy as np
import pytest

from memcourse.model.size import weights_sha256
from memcourse.weights import adapter_studies as studies
from memcourse.weights.adapter_studies import Arm, Asked
from memcourse.weights.lora import add_lora, lora_parameters, remove_lora
from memcourse.weights.prefix import KVPrefix
from memcourse.weights.samples import Sample, encode_samples
from memcourse.weights.serving import AdapterBank
from memcourse.weights.training import Recipe
from memcourse.world import load_domain

from .adapter_support import small_lm

TEXTS = ["Bread is baked in an oven.", "A bicycle has two wheels."]
ASKED = [Asked("The pet of Iris is a", ("horse", "cat"), 0), Asked("The lantern is", ("red", "violet"), 1)]
COMMON = [Asked("Tokyo is in", ("Japan", "Italy"), 0)]
DOCUMENT = "The pet of Iris is a horse. The lantern is violet. The quay is 90 metres long."


@pytest.fixture(scope="module")
def small(lm):
    return small_lm(lm, window=256)


@pytest.fixture(autouse=True)
def untouched(small):
    before = weights_sha256(small.model)
    yield
    assert weights_sha256(small.model) == before, "a study leaves the model as it was"


def test_as_many_numbers_in_a_prefix_as_in_lora(lm, small):
    for model, rank, start in ((lm.model, 1, 0), (lm.model, 8, 20), (small.model, 3, 1)):
        slots = studies.matched_slots(model, rank, start)
        lora = lora_parameters(model, rank, layers=range(start, len(model.model.layers)))
        one = KVPrefix.random(model, 1, start=start).n_parameters
        assert abs(slots * one - lora) <= one / 2
    assert studies.matched_slots(lm.model, 1) == 26 and studies.matched_slots(lm.model, 1, 20) == 26


def test_questions_are_trained_for_the_subjects_of_one_split_only():
    facts = load_domain("clinical")
    samples = studies.domain_samples(facts, 2)
    asked = [sample for sample in samples if sample.prompt]
    assert len(samples) - len(asked) == 3 * len(facts)
    assert {sample.prompt for sample in asked} == {f"Question: {f.question}\nAnswer:" for f in facts if f.split == "train"}
    text = " ".join(sample.prompt + sample.answer for sample in samples)
    held = [fact for fact in facts if fact.split != "train"]
    assert not any(fact.question in text or fact.question2 in text or fact.cloze in text for fact in held)


def test_each_arm_learns_the_same_and_is_examined_alike(small):
    rows = encode_samples(small, [Sample("The pet of Iris is a", " horse"), Sample("The lantern is", " violet")]).rows
    arms = [Arm("full", 0, 1e-2), Arm("LoRA", 2, 3e-2), Arm("prefix", 3, 1e-1), Arm("cartridge", 3, 1e-1)]
    results = studies.learn_and_forget(small, rows, ASKED, COMMON, TEXTS, arms, start=2, epochs=15, tokens=16)
    assert [row["arm"] for row in results] == [None, *map(tuple, arms)]
    base, full, lora, prefix, text = results
    assert full["trained"] == sum(w.numel() for layer in small.model.model.layers[2:] for w in layer.parameters())
    assert lora["trained"] == lora_parameters(small.model, 2, layers=[2, 3])
    assert prefix["trained"] == 3 * KVPrefix.random(small.model, 1, start=2).n_parameters > text["trained"]
    assert all(np.mean(row["logprob"]) > np.mean(base["logprob"]) for row in (full, lora))
    assert full["rank"] == [0, 0] and all(len(row["losses"]) == 15 * (len(full["losses"]) // 15) for row in results[1:])
    assert len({row["other loss"] for row in results}) == 5 and all(row["common"] in ([0], [1]) for row in results)


def test_a_prefix_begins_at_random_or_as_the_text(small):
    losses = studies.beginnings(small, DOCUMENT, [2, 5], Recipe(3, lr=1e-2))
    assert {name: np.shape(rows) for name, rows in losses.items()} == {"random": (2, 3), "of the text": (2, 3)}
    assert losses["random"][0] != losses["of the text"][0] and losses["random"][0] != losses["random"][1]


def test_a_cartridge_is_compared_with_all_ways_to_know(small):
    context = small.prefix(DOCUMENT + "\n")
    openings = ["Question: What", "Question: How"]
    result = studies.cartridge(small, context, DOCUMENT, ASKED, TEXTS, openings, Recipe(6, lr=1e-2), slots=4, tokens=5)
    study = result.pop("study")["texts"]
    assert [text.startswith(opening) for text, opening in zip(study, openings, strict=True)] == [True, True]
    assert list(result) == ["nothing", "in the prompt", "next tokens", "self-study", "self-study, LoRA"]
    assert [part["tokens"] for part in result.values()] == [0, len(context), 4, 4, 0]
    floats = 4 * 2 * 2 * 8 * 4  # four layers, keys and values of two heads of 8 numbers, four slots
    assert result["self-study"]["bytes"] == result["next tokens"]["bytes"] == 4 * floats
    assert result["self-study, LoRA"]["bytes"] == 4 * lora_parameters(small.model, 1)
    wanted = small.score([q.prompt for q in ASKED], [[f" {c}" for c in q.choices] for q in ASKED], prefix=context)
    assert result["in the prompt"]["logprob"] == pytest.approx([wanted[0][0], wanted[1][1]], abs=1e-4)
    assert len({tuple(part["logprob"]) for part in result.values()}) == 5, "each is another model"


def test_one_adapter_for_each_domain_goes_into_a_bank(small):
    rows = {name: encode_samples(small, [Sample("The drug is", f" {name}")]).rows for name in ("red", "green")}
    made = studies.domain_adapters(small, rows, Recipe(12, lr=3e-2), rank=2, start=2)
    bank = AdapterBank(small, made, alpha=4.0)
    red, green, base = bank.last_logits(["The drug is"] * 3, ["red", "green", None]).log_softmax(-1)
    token = small.encode(" red")[0]
    assert red[token] > base[token] + 1 and red[token] > green[token]
    add_lora(small.model, 2)
    remove_lora(small.model)
