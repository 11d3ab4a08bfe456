"""Our adapters and PEFT's give the same logits before and after training; the comparison sees what differs, and leaves
nothing behind."""

from __future__ import annotations

import functools
import sys
import warnings

import peft
import pytest
import torch
from peft import LoraConfig, get_peft_model

from memcourse.model.size import weights_sha256
from memcourse.weights.lora import add_lora, lora_layers, remove_lora
from memcourse.weights.peft_twins import beside_peft
from memcourse.weights.prefix import KVPrefix

from .adapter_support import small_lm

TEXTS = ["The harbour master keeps a list.", "Open from nine."]
module = sys.modules[beside_peft.__module__]


@pytest.fixture(autouse=True)
def one_thread():
    """Two threads wait for each other longer than such small models compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def everything(model) -> tuple:
    """What may not change: weights, what is frozen, gradients, modules, hooks, settings."""
    trained = {name: (weight.requires_grad, weight.grad is None) for name, weight in model.named_parameters()}
    modules = {name: (id(each), each.training) for name, each in model.named_modules()}
    hooks = sum(len(each._forward_hooks) + len(each._forward_pre_hooks) for each in model.modules())
    return weights_sha256(model), trained, modules, hooks, sorted(vars(model)), model.config.to_dict()


def largest(found: dict[str, tuple[float, float]]) -> float:
    return max(value for pair in found.values() for value in pair)


def test_on_smollm2_they_are_the_same_and_the_model_stays(lm):
    before = everything(lm.model)
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        found = beside_peft(lm, TEXTS)
    assert list(found) == ["LoRA", "prefix"] and found["LoRA"][0] == 0
    assert largest(found) < 1e-3, found
    assert everything(lm.model) == before


@pytest.mark.parametrize(
    ("rank", "slots", "texts", "trained"),
    [(1, 1, TEXTS, True), (3, 5, TEXTS[::-1], False), (4, 50, [TEXTS[0] * 4], True)],  # the last in rows of 14 tokens
)
def test_on_a_small_model_they_are_the_same_and_the_model_stays(lm, rank, slots, texts, trained):
    small = small_lm(lm)
    small.model.model.layers[1].requires_grad_(trained)
    before = everything(small.model)
    with torch.no_grad():  # trains all the same
        found = beside_peft(small, texts, rank=rank, slots=slots, seed=3)
    assert largest(found) < 1e-5, found
    assert everything(small.model) == before


def other_alpha(model, rank, alpha):
    return add_lora(model, rank, 1.01 * alpha)


def frozen_a(model, rank, alpha):
    for layer in lora_layers(add_lora(model, rank, alpha)).values():
        layer.down.requires_grad_(False)
    return model


def fewer_layers(model, rank, alpha):
    return add_lora(model, rank, alpha, layers=[0, 1, 2])


@pytest.mark.parametrize("broken", [other_alpha, frozen_a, fewer_layers])
def test_it_sees_another_lora(lm, monkeypatch, broken):
    monkeypatch.setattr(module, "add_lora", broken)
    found = beside_peft(small_lm(lm), TEXTS)
    assert found["LoRA"][0] == 0 and found["LoRA"][1] > 1e-3 and max(found["prefix"]) < 1e-5, found


class Untrained(KVPrefix):
    """A prefix of which one layer's numbers never change."""

    @property
    def kv(self):
        return torch.cat([super().kv[:3], super().kv[3:].detach()])


def test_it_sees_another_prefix(lm, monkeypatch):
    monkeypatch.setattr(module, "KVPrefix", Untrained)
    found = beside_peft(small_lm(lm), TEXTS)
    assert found["prefix"][0] < 1e-5 and found["prefix"][1] > 1e-3 and max(found["LoRA"]) < 1e-5, found
    monkeypatch.setattr(module, "KVPrefix", KVPrefix)
    plain = module.with_prefix
    monkeypatch.setattr(module, "with_prefix", lambda model, prefix, ids: 1.001 * plain(model, prefix, ids))
    assert beside_peft(small_lm(lm), TEXTS)["prefix"][0] > 1e-3


@pytest.mark.parametrize("part", ["LoraModel", "PrefixTuningConfig", "set_peft_model_state_dict"])
def test_it_sees_pefts_own_changes(lm, monkeypatch, part):
    """What is compared with is PEFT itself: change PEFT, and the difference is there."""
    if part == "LoraModel":
        monkeypatch.setattr(peft, "LoraConfig", functools.partial(LoraConfig, use_rslora=True))  # alpha / sqrt(rank)
    elif part == "PrefixTuningConfig":
        monkeypatch.setattr(peft, part, lambda num_virtual_tokens, **kw: peft.CartridgeConfig(
            num_virtual_tokens=num_virtual_tokens, num_frozen_tokens=1, task_type="CAUSAL_LM"))  # fmt: skip
    else:
        monkeypatch.setattr(peft, part, lambda model, numbers: None)
    found = beside_peft(small_lm(lm), TEXTS)
    changed = {"LoraModel": ["LoRA"], "PrefixTuningConfig": ["prefix"]}.get(part, ["LoRA", "prefix"])
    assert [name for name, pair in found.items() if max(pair) > 1e-3] == changed, found


class Broken(RuntimeError):
    pass


@pytest.mark.parametrize(
    ("where", "name", "stop"),
    [(module, "cross_entropy", step) for step in (2, 4, 6, 8)]  # in the second step of each of the four adapters
    + [(peft, "set_peft_model_state_dict", which) for which in (1, 2)]
    + [(peft.tuners.lora.LoraModel, "_create_and_replace", 9)],  # when PEFT has adapted some layers and not others
)
def test_after_an_error_the_model_is_what_it_was(lm, monkeypatch, where, name, stop):
    small, calls = small_lm(lm), []
    plain = getattr(where, name)

    def act(*args, **kwargs):
        calls.append(1)
        if len(calls) == stop:
            raise Broken
        return plain(*args, **kwargs)

    monkeypatch.setattr(where, name, act)
    small.model.lm_head.requires_grad_(True)
    before = everything(small.model)
    with pytest.raises(Broken):
        beside_peft(small, TEXTS)
    assert everything(small.model) == before


@pytest.mark.parametrize(
    ("texts", "arguments", "message"),
    [
        ([], {}, "needs at least one text"),
        (["a", ""], {}, "Text 1 is empty"),
        (TEXTS, {"rank": 0}, r"rank, slots >= 1 and a finite lr > 0; not 0, 8 and 0\.01"),
        (TEXTS, {"slots": 0}, "not 4, 0 and"),
        (TEXTS, {"lr": float("nan")}, "not 4, 8 and nan"),
        (TEXTS, {"lr": 0.0}, "not 4, 8 and 0"),
        (TEXTS, {"slots": 62}, "62 slots leave no room for a text in the window of 64 tokens"),
        (TEXTS, {"seed": -1}, "seed must be a whole number"),
    ],
)
def test_bad_input_is_refused(lm, texts, arguments, message):
    small = small_lm(lm)
    before = everything(small.model)
    with pytest.raises(ValueError, match=message):
        beside_peft(small, texts, **arguments)
    assert everything(small.model) == before


def test_a_model_that_cannot_be_compared_is_refused(lm):
    small = small_lm(lm)
    add_lora(small.model, 2)
    with pytest.raises(ValueError, match="has LoRA layers already: take them away before"):
        beside_peft(small, TEXTS)
    assert len(lora_layers(small.model)) == 28, "they stay"
    remove_lora(small.model)
    theirs = get_peft_model(small.model, LoraConfig(r=2, target_modules="all-linear"))
    with pytest.raises(ValueError, match="has LoRA layers already"):
        beside_peft(small, TEXTS)
    theirs.unload()
    small.model.gradient_checkpointing_enable()
    with pytest.raises(ValueError, match="Gradient checkpointing drops a prefix"):
        beside_peft(small, TEXTS)
    small.model.gradient_checkpointing_disable()
    assert largest(beside_peft(small, TEXTS, slots=61)) < 1e-5, "the window is full"
