"""How a prefix begins, and what a cartridge keeps of its document, on a model that is small enough to train here."""

from __future__ import annotations

import numpy as np
import pytest

from memcourse.model.size import weights_sha256
from memcourse.weights import cartridges
from memcourse.weights.exam import by_heart
from memcourse.weights.prefix import KVPrefix
from memcourse.weights.probes import Asked
from memcourse.weights.samples import Sample, encode_samples
from memcourse.weights.training import Recipe

from .adapter_support import small_lm

TEXTS = ["Bread is baked in an oven.", "A bicycle has two wheels."]
ASKED = [Asked("The pet of Iris is a", ("horse", "cat"), 0), Asked("The lantern is", ("red", "violet"), 1)]
DOCUMENT = "The pet of Iris is a horse. The lantern is violet. The quay is 90 metres long."


@pytest.fixture(scope="module")
def small(lm):
    return small_lm(lm, window=256)


@pytest.fixture(autouse=True)
def untouched(small):
    before = weights_sha256(small.model)
    yield
    assert weights_sha256(small.model) == before, "a study leaves the model as it was"


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
