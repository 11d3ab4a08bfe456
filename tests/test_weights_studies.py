"""The measurements of notebook 07, on a model that is small enough to train here."""

from __future__ import annotations

import numpy as np
import pytest

from memcourse.model.size import weights_sha256
from memcourse.weights import cartridges, learning, overheads
from memcourse.weights.exam import by_heart
from memcourse.weights.learning import Arm
from memcourse.weights.lora import lora_parameters
from memcourse.weights.prefix import KVPrefix
from memcourse.weights.probes import Asked
from memcourse.weights.samples import Sample, encode_samples
from memcourse.weights.serving import AdapterBank, bank_answers
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
        slots = learning.matched_slots(model, rank, start)
        lora = lora_parameters(model, rank, layers=range(start, len(model.model.layers)))
        one = KVPrefix.random(model, 1, start=start).n_parameters
        assert abs(slots * one - lora) <= one / 2
    assert learning.matched_slots(lm.model, 1) == 26 and learning.matched_slots(lm.model, 1, 20) == 26


def test_what_is_asked_is_worded_otherwise_than_what_is_trained(lm):
    facts = [fact for name in ("clinical", "finance") for fact in load_domain(name)]
    samples, asked = learning.domain_samples(facts, 5), learning.domain_questions(facts)
    assert {s.prompt for s in samples[: len(facts)]} == {f"Question: {fact.question}\nAnswer:" for fact in facts}
    text = " ".join(sample.prompt + sample.answer for sample in samples)
    assert len(asked) == 2 * len(facts) and not any(q.prompt.removeprefix("Question: ")[:-8] in text for q in asked)
    told = {text for fact in facts for text in (fact.statement, *fact.rewordings)}
    words = {fact.answer for fact in facts}
    for sample in samples[len(facts) :]:
        assert sample.prompt + sample.answer in told and not sample.prompt.endswith(" ")
        assert sample.answer.split()[0].strip(".,;:") in words, "what counts begins with the answer"
    assert [q.choices[q.gold] for q in asked] == [fact.answer for fact in facts] * 2
    assert len(encode_samples(lm, samples).rows) == len(samples) > 5 * len(facts)


def test_each_arm_learns_the_same_and_is_examined_alike(small):
    rows = encode_samples(small, [Sample("The pet of Iris is a", " horse"), Sample("The lantern is", " violet")]).rows
    arms = [Arm("full", 0, 1e-2), Arm("LoRA", 2, 3e-2), Arm("prefix", 3, 1e-1), Arm("cartridge", 3, 1e-1)]
    results = learning.learning_and_forgetting(small, rows, ASKED, COMMON, TEXTS, arms, start=2, epochs=15, tokens=16)
    assert [row["arm"] for row in results] == [None, *map(tuple, arms)]
    base, full, lora, prefix, text = results
    assert full["trained"] == sum(w.numel() for layer in small.model.model.layers[2:] for w in layer.parameters())
    assert lora["trained"] == lora_parameters(small.model, 2, layers=[2, 3])
    assert prefix["trained"] == 3 * KVPrefix.random(small.model, 1, start=2).n_parameters > text["trained"]
    assert all(np.mean(row["logprob"]) > np.mean(base["logprob"]) for row in (full, lora))
    assert full["rank"] == [0, 0] and all(len(row["losses"]) == 15 * (len(full["losses"]) // 15) for row in results[1:])
    assert len({row["other loss"] for row in results}) == 5 and all(row["common"] in ([0], [1]) for row in results)


def test_one_adapter_for_each_domain_goes_into_a_bank(small):
    rows = {name: encode_samples(small, [Sample("The drug is", f" {name}")]).rows for name in ("red", "green")}
    made = learning.domain_adapters(small, rows, rank=2, lr=3e-2, start=2, epochs=12)
    bank = AdapterBank(small, made, alpha=4.0)
    asked = [Asked("The drug is", ("red", "green"), gold) for gold in (0, 1, 0, 1)]
    found = bank_answers(small, bank, asked, ["red", "green", "green", None])
    assert found["rank"][:3] == [0, 0, 1] and found["logprob"][1] > found["logprob"][3] + 1
    with pytest.raises(ValueError, match="one token can be compared"):
        bank_answers(small, bank, [Asked("The drug is", ("a long one", "red"), 0)], ["red"])
    seconds = overheads.serving_seconds(small, bank, ["The drug is"] * 2, ["red", "green"], repeats=1)
    assert list(seconds) == [f"{who}, {how}" for how in ("one batch", "one by one") for who in ("base", "adapters")]
    assert all(value > 0 for value in seconds.values())


def test_costs_and_identities_leave_the_model_as_it_was(small):
    found = overheads.adapter_costs(small, ["The drug is", "The pet"], rank=2, steps=1)
    assert list(found["seconds"]) == ["base", "with LoRA", "merged"] and all(s > 0 for s in found["seconds"].values())
    assert found["bytes"] > 2 * lora_parameters(small.model, 2)
    assert found["reloaded"] == 0 and 0 < found["merged"] < 1e-4 < found["base"]


def test_a_prefix_begins_at_random_or_as_the_text(small):
    losses = cartridges.beginnings(small, DOCUMENT, [2, 5], seeds=[0, 1])
    assert {name: np.shape(rows) for name, rows in losses.items()} == dict.fromkeys(
        ["prefix", "cartridge", "no slots"], (2, 2)
    )
    (a, b), (c, d) = losses["prefix"]
    assert len({a, b, c, d}) == 4 and losses["cartridge"][0][0] == losses["cartridge"][0][1]
    rows = encode_samples(small, [Sample("", DOCUMENT)]).rows
    assert losses["cartridge"][1][0] == by_heart(small, rows, KVPrefix.from_text(small, DOCUMENT, 5))[0]
    assert losses["no slots"] == [[by_heart(small, rows)[0]] * 2] * 2


def test_a_cartridge_is_compared_with_all_ways_to_know(small):
    context = small.prefix(DOCUMENT + "\n")
    recipes = dict.fromkeys(cartridges.STUDIES, Recipe(6, lr=1e-2))
    openings = ["Question: What", "The lantern"]
    result = cartridges.cartridge(small, context, DOCUMENT, ASKED, TEXTS, openings, recipes, slots=4, new_tokens=5)
    study = result.pop("study")["texts"]
    assert [text.startswith(opening) for text, opening in zip(study, openings, strict=True)] == [True, True]
    assert list(result) == ["nothing", "in the prompt", "next tokens", "self-study"]
    assert [part["tokens"] for part in result.values()] == [0, len(context), 4, 4]
    assert [len(part["losses"]) for part in result.values()] == [0, 0, 6, 6]
    assert all(part["losses"][-1] < part["losses"][0] for part in list(result.values())[2:])
    floats = 4 * 2 * 2 * 8 * 4  # four layers, keys and values of two heads of 8 numbers, four slots
    assert result["self-study"]["bytes"] == result["next tokens"]["bytes"] == 4 * floats
    wanted = small.score([q.prompt for q in ASKED], [[f" {c}" for c in q.choices] for q in ASKED], prefix=context)
    assert result["in the prompt"]["logprob"] == pytest.approx([wanted[0][0], wanted[1][1]], abs=1e-4)
    assert len({tuple(part["logprob"]) for part in result.values()}) == 4, "each is another model"


def test_another_study_is_refused_before_anything_is_written(small):
    with pytest.raises(ValueError, match="Unknown study 'reading'; there are 'next tokens', "):
        cartridges.cartridge(
            small, small.prefix("x"), DOCUMENT, ASKED, TEXTS, ["A"], {"reading": Recipe(1, lr=1.0)}, slots=1
        )


def test_sentences_are_cut_in_half_in_turn():
    found = cartridges.half_sentences(DOCUMENT + " Too short.", 5, words=(2, 3))
    assert found == ["The pet", "The lantern is", "The quay", "The pet of", "The lantern"]
    with pytest.raises(ValueError, match="no sentence of more than 9 words"):
        cartridges.half_sentences(DOCUMENT, 1, words=(2, 9))
