"""One text put into a model in several ways: the exam sees what was learnt, and the model is what it was afterwards."""

from __future__ import annotations

import pytest
import torch

from memcourse.model.size import weights_sha256
from memcourse.weights.exam import WAYS, Exam, adapted, by_heart, put_into
from memcourse.weights.finetuning import finetune, first_trained
from memcourse.weights.lora import lora_layers
from memcourse.weights.loss import next_token_nll
from memcourse.weights.prefix import KVPrefix
from memcourse.weights.probes import Asked
from memcourse.weights.samples import Sample, encode_samples, padded
from memcourse.weights.training import Recipe

from .adapter_support import small_lm

TEXT = "The quay is 90 metres long. The kiosk sells kites for 33 crowns."


@pytest.fixture(scope="module")
def small(lm):
    return small_lm(lm, window=256)


@pytest.fixture(scope="module")
def exam(small):
    asked = [
        Asked("Question: How long is the quay?\nAnswer:", ["90 metres", "12 metres"], 0),
        Asked("Question: What does a kite cost?\nAnswer:", ["7 crowns", "33 crowns"], 1),
    ]
    common = [Asked("Tokyo is in", ["Japan", "Italy"], 0), Asked("Water is", ["wet", "dry"], 0)]
    return Exam(small, TEXT, asked, common, ["Bread is baked in an oven."], "Write a poem about the quay.", tokens=6)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("start", [0, 2])
def test_every_way_trains_something_and_leaves_nothing_behind(small, way, start):
    before = weights_sha256(small.model)
    with adapted(small, way, TEXT, rank=2, slots=4, start=start) as prefix:
        assert (prefix is None) == (way in ("full", "LoRA")) and (prefix is None or prefix.start == start)
        rows = encode_samples(small, [Sample("", TEXT)]).rows
        done = finetune(small, rows, Recipe(8, lr=1e-2), prefix=prefix)
        assert done.start == start and done.losses[-1] < done.losses[0]
    assert weights_sha256(small.model) == before and not lora_layers(small.model) and first_trained(small.model) is None


def test_the_seed_decides_what_is_random(small):
    def made(seed):
        with adapted(small, "prefix", slots=3, seed=seed) as prefix:
            return prefix.kv.detach().clone()

    assert torch.equal(made(1), made(1)) and not torch.equal(made(1), made(2))
    with pytest.raises(ValueError, match="Unknown way 'DoRA'"), adapted(small, "DoRA"):
        pass


def test_by_heart_is_the_loss_and_the_share_of_first_choices(small):
    rows = encode_samples(small, [Sample("", TEXT), Sample("Say:", " yes")]).rows
    loss, share = by_heart(small, rows)
    nll, count = next_token_nll(small.model, padded(rows))
    assert loss == pytest.approx(float((nll / count).detach()), rel=1e-4)
    ids = torch.tensor([rows[0].ids])
    with torch.no_grad():
        first = small.model(ids).logits[0, :-1].argmax(-1) == ids[0, 1:]
    assert by_heart(small, rows[:1])[1] == pytest.approx(float(first.float().mean())) and 0 <= share <= 1


def test_the_exam_sees_what_was_put_in(exam, small):
    recipes = {"full": Recipe(25, lr=1e-2), "cartridge": Recipe(4, lr=1e-2)}
    results = put_into(exam, recipes, slots=4)
    assert list(results) == ["nothing", "in the prompt", "full", "cartridge"]
    assert results["full"]["verbatim"] > 0.9 > results["nothing"]["verbatim"]
    assert results["full"]["loss"] < results["full"]["losses"][0] and len(results["full"]["losses"]) == 25
    assert results["full"]["trained"] == small.n_parameters
    assert results["cartridge"]["trained"] == KVPrefix.from_text(small, TEXT, 4).n_parameters
    for part in results.values():
        assert len(part["rank"]) == len(part["common"]) == 2 and part["other loss"] > 0 and isinstance(part["written"], str)
    assert exam.sit()["rank"] == results["nothing"]["rank"], "the model is what it was"
