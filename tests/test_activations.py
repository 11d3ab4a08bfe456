"""Hooks see what the model computes and leave nothing behind; the lens and the interventions do what they say."""

from __future__ import annotations

import pytest
import torch

from memcourse import activations
from memcourse.activations import cut, hidden_states, knockout, lens_step, logit_lens, patched, prepare_facts, watch
from memcourse.activations.tracing import answer_logprobs, knockout_sweep, patch_sweep

PROMPTS = ["The capital of France is", "The capital of the United Kingdom is", "Water is"]
COUNTRIES, CAPITALS = ["France", "Japan", "the United Kingdom"], ["Paris", "Tokyo", "London"]


@pytest.fixture(scope="module")
def facts(lm):
    return prepare_facts(lm, "The capital of {} is", COUNTRIES, CAPITALS)


def hooks(lm) -> int:
    return sum(len(module._forward_hooks) for module in lm.model.modules())


def test_watch_lists_every_leaf_with_its_true_bytes(lm):
    with watch(lm.model, keep=["model.norm"]) as (seen, kept):
        logits = lm.last_logits(["One two three"])
    assert {"model.embed_tokens", "model.layers.29.mlp.down_proj", "lm_head"} <= {one.module for one in seen}
    assert kept["model.norm"].shape == (1, 3, 576)
    assert torch.equal(kept["model.norm"][:, -1] @ lm.model.lm_head.weight.T, logits)
    assert next(one for one in seen if one.module == "model.norm").nbytes == 3 * 576 * 4


def test_hooks_go_away_even_after_an_error(lm):
    with pytest.raises(RuntimeError), watch(lm.model):
        raise RuntimeError
    with pytest.raises(RuntimeError), knockout(lm, [3], "mlp", torch.tensor([0])):
        raise RuntimeError
    assert hooks(lm) == 0


def test_watch_refuses_a_module_that_is_not_there(lm):
    with pytest.raises(ValueError, match=r"no module 'model.layers.99'"), watch(lm.model, keep=["model.layers.99"]):
        pass


def test_hidden_states_equal_those_of_transformers(lm):
    mine = hidden_states(lm, PROMPTS)
    for row, prompt in enumerate(PROMPTS):
        ids = torch.tensor([lm.encode(prompt)])
        with torch.inference_mode():
            theirs = lm.model(input_ids=ids, output_hidden_states=True).hidden_states
        for layer in range(len(theirs) - 1):  # transformers gives the last one after the final norm
            assert torch.allclose(mine[layer, row], theirs[layer][0, -1], atol=2e-3, rtol=1e-4)


def test_the_last_row_of_the_lens_is_the_models_own_prediction(lm):
    lens = logit_lens(lm, PROMPTS)
    assert lens.shape == (31, 3, 49_152)
    assert torch.allclose(lens[-1], lm.last_logits(PROMPTS).log_softmax(-1), atol=1e-3)


def test_lens_step_equals_torch_on_a_tiny_case():
    hidden, gain, out = torch.randn(2, 3, 8), torch.rand(8), torch.randn(5, 8)
    wanted = torch.nn.functional.rms_norm(hidden, (8,), gain, 1e-5) @ out.T
    assert torch.allclose(lens_step(hidden, gain, out, 1e-5), wanted, atol=1e-5)


def test_prepare_facts_finds_the_last_token_of_each_subject(lm, facts):
    ends = facts.batch.ids[torch.arange(3), facts.subject]
    assert [lm.tokenizer.decode([i]) for i in ends] == [" France", " Japan", " Kingdom"]
    assert facts.last.tolist() == [facts.batch.width - 1] * 3
    assert [lm.tokenizer.decode([i]) for i in facts.answers] == [" Paris", " Tokyo", " London"]


@pytest.mark.parametrize(
    ("template", "subjects", "answers", "words"),
    [
        ("The {} is", [], [], "at least one"),
        ("The {} is", ["a"], [], "1 subjects and 0"),
        ("no place", ["a"], ["b"], "no {}"),
    ],
)
def test_prepare_facts_refuses(lm, template, subjects, answers, words):
    with pytest.raises(ValueError, match=words):
        prepare_facts(lm, template, subjects, answers)


def test_answer_logprobs_equal_score(lm, facts):
    prompts = [f"The capital of {country} is" for country in COUNTRIES]
    assert answer_logprobs(lm, facts) == pytest.approx(lm.score(prompts, [f" {c}" for c in CAPITALS]), abs=1e-3)


def test_patching_the_last_token_late_hands_over_the_answer(lm, facts):
    margins = patch_sweep(lm, facts, [1, 2, 0], "last", [0, 28])
    assert (margins[0] < 0).all() and (margins[1] > 0).all()


def test_patching_a_state_with_itself_changes_nothing(lm, facts):
    before = answer_logprobs(lm, facts)
    states = []
    with watch(lm.model, keep=["model.layers.10"]) as (_, kept):
        answer_logprobs(lm, facts)
        states = kept["model.layers.10"][torch.arange(3), facts.last]
    with patched(lm, 10, facts.last, states):
        assert answer_logprobs(lm, facts) == pytest.approx(before, abs=1e-4)


def test_knockout_zeroes_one_token_only(lm, facts):
    with knockout(lm, [5], "mlp", facts.last), watch(lm.model, keep=["model.layers.5.mlp"]) as (_, kept):
        answer_logprobs(lm, facts)
    out = kept["model.layers.5.mlp"]
    assert (out[:, -1] == 0).all() and (out[:, -2] != 0).any()


def test_knockout_sweep_measures_a_loss(lm, facts):
    lost = knockout_sweep(lm, facts, "mlp", facts.last, [0, 20], width=1)
    assert lost.shape == (2, 3) and lost[0].min() > 1


@pytest.mark.parametrize("layer", [-1, 30])
def test_unknown_layers_and_parts_are_refused(lm, facts, layer):
    with pytest.raises(ValueError, match="blocks 0 to 29"), knockout(lm, [layer], "mlp", facts.last):
        pass
    with pytest.raises(ValueError, match="'mlp' or 'attention'"), knockout(lm, [1], "norm", facts.last):
        pass
    with pytest.raises(ValueError, match="one state for each row"), patched(lm, 1, facts.last, torch.zeros(2, 576)):
        pass


def test_trace_returns_every_sweep(lm, facts):
    found = activations.trace(lm, facts, step=29)
    assert found["blocks"].tolist() == [0, 29] and found["windows"].tolist() == [0], "a window must have all its blocks"
    assert {name: found[name].shape for name in found if name not in ("blocks", "windows")} == {
        "patch subject": (2, 3), "patch last": (2, 3), "mlp subject": (1, 3), "mlp last": (1, 3),
        "attention last": (1, 3), "cut": (1, 3),
    }  # fmt: skip


@pytest.mark.parametrize("names", [["France", "Japan"], ["France", "the United States"]], ids=["equal", "padded"])
def test_without_its_view_of_the_country_the_last_token_knows_nothing_of_it(lm, names):
    facts = prepare_facts(lm, "The capital of {} is", names, ["Paris", "Paris"])
    apart = answer_logprobs(lm, facts)
    with cut(lm, range(30), facts.last, facts.subject):
        blind = answer_logprobs(lm, facts)
    assert abs(apart[0] - apart[1]) > 3
    if names[1] == "Japan":  # no other token lies between the two, so nothing is left that tells them apart
        assert blind[0] == pytest.approx(blind[1], abs=1e-3)
    assert abs(blind[0] - apart[0]) > 3 and answer_logprobs(lm, facts) == pytest.approx(apart, abs=1e-4)


def test_cut_refuses_unequal_positions(lm, facts):
    with pytest.raises(ValueError, match="3 viewers but 2 viewed"), cut(lm, [1], facts.last, facts.subject[:2]):
        pass
