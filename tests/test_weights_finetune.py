"""Training on rows of text: reuse of what frozen layers gave, accumulation, resuming, and probes of the result."""

from __future__ import annotations

from math import exp

import pytest
import torch

from memcourse.model import seed_everything
from memcourse.weights.finetuning import finetune, first_trained, put_back, train_fully
from memcourse.weights.lora import add_lora
from memcourse.weights.loss import IGNORED, Batch, next_token_nll
from memcourse.weights.probes import Asked, Probe, graded
from memcourse.weights.samples import Row, Sample, bucketed, encode_samples, padded
from memcourse.weights.training import Recipe, train
from memcourse.weights.tuned import Tuned, counted_nll, lower_states

from .adapter_support import random_ids, small_llama, small_lm

TEXTS = [Sample("The pet of Iris is a", " horse"), Sample("", "Ropes are sold by the fathom at Cinder Quay."),
         Sample("What colour is the lantern?", " violet"), Sample("", "The quay is long.")]  # fmt: skip
RECIPE = Recipe(steps=6, lr=1e-2)


@pytest.fixture
def small(lm):
    return small_lm(lm)


def upper_lora(lm, start=2):
    seed_everything(1)
    return add_lora(lm.model, 2, layers=range(start, 4))


def trained(model):
    return {name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad}


@pytest.mark.parametrize("start", [0, 1, 3])
def test_a_model_in_two_parts_is_the_model(start):
    model, ids = small_llama(), random_ids()
    with torch.no_grad():
        whole = model(ids).logits
        states = lower_states(model, ids, start)
        assert torch.allclose(Tuned(model, start)(states), whole, atol=1e-5)
        assert torch.allclose(Tuned(model)(ids), whole, atol=1e-5)
    assert len(model.model.layers) == 4 and Tuned(model, start).part.lm_head.weight is model.lm_head.weight


def test_the_course_model_in_two_parts_is_the_model(lm):
    ids = padded(encode_samples(lm, TEXTS).rows).ids
    with torch.no_grad():
        parts = Tuned(lm.model, 20)(lower_states(lm.model, ids, 20))
        assert torch.allclose(parts, lm.model(ids).logits, atol=1e-3)


@pytest.mark.parametrize("few", range(7))
def test_logits_at_a_few_places_are_those_of_all_places(few):
    model, ids = small_llama(), torch.arange(8)[None] + 5
    at = torch.zeros(1, 8, dtype=torch.bool)
    at[0, 1 : 1 + few] = True
    with torch.no_grad():
        some = Tuned(model)(ids, at)
        assert some.shape[0] == few and torch.allclose(some, Tuned(model)(ids)[at], atol=1e-5)


def test_the_output_layer_where_labels_count_gives_the_same_loss():
    model = small_llama()
    rows = [Row((3, 5, 7, 9, 2), (IGNORED, IGNORED, 7, IGNORED, 2)), Row((4, 8, 2), (IGNORED, 8, 2))]
    for ours, plain in zip(counted_nll(Tuned(model), padded(rows)), next_token_nll(model, padded(rows)), strict=True):
        assert torch.allclose(ours.float(), plain.float(), rtol=1e-5)


def test_reused_activations_change_no_step_of_the_training(small, lm):
    rows = encode_samples(lm, TEXTS).rows
    upper_lora(small)
    reused = finetune(small, rows, RECIPE, tokens=24)
    assert reused.start == 2
    fresh = small_lm(lm)
    upper_lora(fresh)
    # the plain way: all layers at every step
    step = bucketed(rows, 24, 0)
    losses = train(fresh.model, lambda n: padded([rows[i] for i in step(n)]), RECIPE)
    assert torch.allclose(reused.losses, losses[:, 0], rtol=1e-4)
    assert reused.tokens == sum(len(rows[i].ids) for n in range(6) for i in step(n))
    pairs = zip(trained(small.model).values(), trained(fresh.model).values(), strict=True)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in pairs)


def test_several_batches_make_one_step_whatever_the_lengths():
    rows = [Row(tuple(range(1, n)), tuple(range(1, n))) for n in (4, 20, 7, 3)]

    def run(parts):
        model = small_llama().requires_grad_(True)
        losses = train(model, lambda step: parts, Recipe(3, lr=1e-3))
        return losses, torch.cat([weight.detach().flatten() for weight in model.parameters()])

    whole, split = run(padded(rows)), run([padded(rows[:1]), padded(rows[1:3]), padded(rows[3:])])
    assert torch.allclose(whole[0], split[0], rtol=1e-4)
    assert torch.allclose(whole[1], split[1], atol=2e-4)
    means = [float(next_token_nll(small_llama(), padded([row]))[0]) / (len(row.ids) - 1) for row in rows]
    assert abs(float(whole[0][0]) - sum(means) / 4) > 1e-3, "a mean of means would be another loss"


def test_finetune_accumulates(small, lm):
    rows = encode_samples(lm, TEXTS).rows
    upper_lora(small)
    assert len(finetune(small, rows, Recipe(2, lr=1e-3), tokens=16, accumulate=2).losses) == 2


def test_an_interrupted_training_goes_on(small, lm, tmp_path):
    rows = encode_samples(lm, TEXTS).rows
    upper_lora(small)
    straight = finetune(small, rows, RECIPE, tokens=24)
    after = trained(small.model)

    def stop(done, steps):
        if done == 4:
            raise KeyboardInterrupt

    cut = small_lm(lm)
    upper_lora(cut)
    path = tmp_path / "c.safetensors"
    with pytest.raises(KeyboardInterrupt):
        finetune(cut, rows, RECIPE, tokens=24, checkpoint=path, every=2, progress=stop)
    again = small_lm(lm)
    upper_lora(again)
    resumed = finetune(again, rows, RECIPE, tokens=24, checkpoint=path)
    assert torch.equal(resumed.losses, straight.losses)
    assert all(torch.equal(value, after[name]) for name, value in trained(again.model).items())


def test_what_is_trained_decides_where_training_begins():
    model = small_llama()
    assert first_trained(model) is None
    assert first_trained(train_fully(model, [2, 3])) == 2 and first_trained(train_fully(model, [1])) == 1
    assert first_trained(train_fully(model)) == 0, "the embeddings are trained, too"
    with pytest.raises(ValueError, match="layers 0 to 3, not \\[4\\]"):
        train_fully(model, [4])


def test_weights_are_put_back(small, lm):
    before = {name: weight.clone() for name, weight in small.model.named_parameters()}
    with pytest.raises(RuntimeError, match="stop"), put_back(train_fully(small.model, [3])):
        finetune(small, encode_samples(lm, TEXTS).rows, Recipe(2, lr=1e-2))
        assert not torch.equal(small.model.model.layers[3].mlp.up_proj.weight, before["model.layers.3.mlp.up_proj.weight"])
        raise RuntimeError("stop")
    assert all(torch.equal(weight, before[name]) for name, weight in small.model.named_parameters())
    assert first_trained(small.model) is None


def test_nothing_to_train_and_no_rows_are_refused(small, lm):
    rows = encode_samples(lm, TEXTS).rows
    with pytest.raises(ValueError, match="every weight of this model is frozen, and there is no prefix"):
        finetune(small, rows, RECIPE)
    with pytest.raises(ValueError, match="finetune needs rows"):
        finetune(small, [], RECIPE)


def test_only_decoders_of_llamas_build_are_taken():
    with pytest.raises(ValueError, match=r"Llama's build.*Linear"):
        Tuned(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="layers 0 to 3; it can't begin at layer 4"):
        Tuned(small_llama(), 4)


ASKED = [
    Asked("The capital of France is", ["Paris", "Rome"], 0),
    Asked("A kite is sold for", ["33 crowns", "7", "many coins"], 1),
]


def test_a_probe_scores_as_the_model_does(lm):
    probe = Probe(lm, ASKED, ["Water boils in a kettle.", "Bread is baked."])
    wanted = lm.score([q.prompt for q in ASKED], [[f" {choice}" for choice in q.choices] for q in ASKED])
    for start in (0, 20, 20):  # the second time from what is kept
        for found, row in zip(probe.scores(start=start), wanted, strict=True):
            assert found == pytest.approx(row, abs=2e-3)
    found = graded(probe.scores(), ASKED)
    assert found["rank"][0] == 0 and found["logprob"] == pytest.approx([wanted[0][0], wanted[1][1]], abs=2e-3)
    rows = encode_samples(lm, [Sample("", "Water boils in a kettle."), Sample("", "Bread is baked.")]).rows
    nll, count = next_token_nll(lm.model, padded(rows))
    assert probe.text_loss() == pytest.approx(float(nll.detach() / count), rel=1e-4)
    assert exp(probe.text_loss(start=20)) == pytest.approx(exp(float(nll.detach() / count)), rel=1e-3)


def test_a_probe_sees_what_was_trained(small, lm):
    probe = Probe(small, [Asked("The pet of Iris is a", ["horse", "cat", "sea lion"], 0)])
    before = probe.scores(start=2)
    upper_lora(small)
    assert probe.scores(start=2)[0] == pytest.approx(before[0]), "an adapter begins as nothing"
    finetune(small, encode_samples(lm, TEXTS).rows, Recipe(30, lr=2e-2))
    after = probe.scores(start=2)
    assert after[0][0] > before[0][0] + 1 and after[0] == pytest.approx(probe.scores()[0], abs=1e-3)


def test_rank_counts_the_choices_that_are_as_likely():
    asked = [Asked("?", "abc", gold) for gold in (0, 0, 1)]
    found = graded([[-1.0, -2.0, -3.0], [-5.0, -1.0, -5.0], [-2.0, -2.0, -9.0]], asked)
    assert found == {"rank": [0, 2, 1], "logprob": [-1.0, -5.0, -2.0]}


@pytest.mark.parametrize("asked", [Asked(" ", ["b"], 0), Asked("a", ["b", ""], 0), Asked("a", [], 0), Asked("a", ["b"], 1)])
def test_a_probe_without_question_or_choice_is_refused(lm, asked):
    with pytest.raises(ValueError, match="Question 1 needs a prompt, choices and the place of the right one"):
        Probe(lm, [Asked("a", ["b"], 0), asked])
    with pytest.raises(ValueError, match="without texts"):
        Probe(lm, []).text_loss()


def test_batches_may_hold_states(small):
    batch = Batch(lower_states(small.model, random_ids(), 2), random_ids())
    assert torch.allclose(counted_nll(Tuned(small.model, 2), batch)[0],
                          next_token_nll(small.model, Batch(random_ids(), random_ids()))[0], rtol=1e-4)  # fmt: skip
