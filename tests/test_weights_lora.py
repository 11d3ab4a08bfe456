"""LoRA is PEFT's, layer by layer and after a step of training; and it can be counted, silenced, taken away and merged."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model

from memcourse.model import seed_everything
from memcourse.weights.lora import (
    LoRALinear,
    add_lora,
    lora_layers,
    lora_parameters,
    lora_weights,
    merge_lora,
    remove_lora,
    without_lora,
)
from memcourse.weights.loss import Batch
from memcourse.weights.training import Recipe, train

from .adapter_support import fresh, ids, random_ids, small_llama


def filled(model, scale: float = 0.1, seed: int = 1):
    """The model with random numbers in A and B."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in lora_weights(model).values():
        tensor.copy_(scale * torch.randn(tensor.shape, generator=generator))
    return model


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(random_ids()).logits


def snapshot(model) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def same_weights(model, before: dict[str, torch.Tensor]) -> bool:
    after = dict(model.named_parameters())
    return after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize(("rank", "alpha"), [(1, None), (4, None), (3, 12.0)])
def test_lora_is_pefts(rank, alpha):
    targets = ["qkv", "out", "gate_up", "down"]
    config = LoraConfig(r=rank, lora_alpha=alpha or 2 * rank, target_modules=targets)
    theirs = get_peft_model(fresh(), config)
    ours = add_lora(fresh(), rank, alpha)
    count = lambda m: sum(w.numel() for w in m.parameters() if w.requires_grad)  # noqa: E731
    assert count(ours) == count(theirs)
    for name, layer in ours.named_modules():
        if isinstance(layer, LoRALinear):
            twin = theirs.base_model.model.get_submodule(name)
            torch.nn.init.normal_(layer.down)
            torch.nn.init.normal_(layer.up)
            twin.lora_A["default"].weight.data = layer.down.detach().clone()
            twin.lora_B["default"].weight.data = layer.up.detach().clone()
    assert torch.allclose(ours(ids()), theirs(ids()), atol=1e-4)
    ours(ids()).square().mean().backward()
    theirs(ids()).square().mean().backward()
    for name, layer in ours.named_modules():
        if isinstance(layer, LoRALinear):
            twin = theirs.base_model.model.get_submodule(name)
            assert torch.allclose(layer.down.grad, twin.lora_A["default"].weight.grad, rtol=1e-3, atol=1e-5)
            assert torch.allclose(layer.up.grad, twin.lora_B["default"].weight.grad, rtol=1e-3, atol=1e-5)


def test_an_adapter_begins_as_nothing_and_only_it_is_trained():
    before = fresh()(ids())
    model = add_lora(fresh(), rank=2)
    assert torch.equal(model(ids()), before)
    trained = {name for name, w in model.named_parameters() if w.requires_grad}
    assert all(name.endswith((".down", ".up")) for name in trained) and len(trained) == 16
    frozen = {name: w.detach().clone() for name, w in model.named_parameters() if name not in trained}
    train(model, lambda step: Batch(ids(), ids()), Recipe(3, lr=0.1))
    assert all(torch.equal(w, model.get_parameter(name)) for name, w in frozen.items())
    assert not torch.allclose(model(ids()), before)


def test_o52_the_seed_before_the_adapter_decides_it():
    def adapter(seed):
        model = fresh()
        torch.rand(seed + 5)  # another draw in between
        seed_everything(seed)
        return add_lora(model, rank=2).blocks[1].attention.qkv.down

    assert torch.equal(adapter(1), adapter(1)) and not torch.equal(adapter(1), adapter(2))


def test_lora_takes_named_layers_and_refuses_what_is_not_there():
    model = add_lora(fresh(), rank=2, targets=["qkv"])
    assert sum(isinstance(layer, LoRALinear) for layer in model.modules()) == 2
    for rank, targets in ((0, None), (2, ["q_proj"])):
        model = fresh()
        with pytest.raises(ValueError, match="rank of at least 1 and linear layers to adapt"):
            add_lora(model, rank, targets=targets)
        assert all(weight.requires_grad for weight in model.parameters()), "refused before anything was frozen"


@pytest.mark.parametrize(
    ("targets", "layers"), [(None, None), (None, [1, 3]), (["q_proj", "v_proj"], [0]), (["down_proj"], None)]
)
def test_on_a_llama_it_is_pefts_before_and_after_a_step(targets, layers):
    ours = filled(add_lora(small_llama(), 2, targets=targets, layers=layers), scale=0.2)
    # PEFT takes blocks only beside a list of names
    every = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    names = targets or (every if layers else "all-linear")
    config = LoraConfig(r=2, lora_alpha=4, target_modules=names, layers_to_transform=layers, task_type="CAUSAL_LM")
    theirs = get_peft_model(small_llama(), config)
    pairs = []
    for name, module in theirs.base_model.model.named_modules():
        if hasattr(module, "lora_A"):
            pairs.append((f"{name}.lora_A.weight", module.lora_A["default"].weight))
            pairs.append((f"{name}.lora_B.weight", module.lora_B["default"].weight))
    assert {name for name, _ in pairs} == set(lora_weights(ours)), "the same layers are adapted"
    for name, weight in pairs:
        weight.data = lora_weights(ours)[name].clone()
    assert torch.allclose(logits(ours), logits(theirs), atol=1e-5)
    for model in (ours, theirs):
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=0.01, weight_decay=0.1)
        model(input_ids=random_ids(), labels=random_ids()).loss.backward()
        optimizer.step()
    moved = lora_weights(ours)
    assert all(torch.allclose(moved[name], weight, atol=1e-5) for name, weight in pairs)
    assert torch.allclose(logits(ours), logits(theirs), atol=1e-5) and not torch.allclose(
        logits(ours), logits(small_llama())
    )


def test_all_linear_layers_are_pefts_all_linear():
    config = LoraConfig(r=3, target_modules="all-linear", task_type="CAUSAL_LM")
    theirs, _ = get_peft_model(small_llama(), config).get_nb_trainable_parameters()
    model = small_llama()
    model.requires_grad_(True)
    assert lora_parameters(model, 3) == theirs
    assert not lora_layers(model) and all(w.requires_grad for w in model.parameters()), "counting changes nothing"
    add_lora(model, 3)
    assert sum(w.numel() for w in model.parameters() if w.requires_grad) == theirs == lora_parameters(model, 3)
    assert isinstance(model.lm_head, torch.nn.Linear), "the output layer only where it is named"
    named = add_lora(small_llama(), 3, targets=["lm_head"])
    assert list(lora_layers(named)) == ["lm_head"] and lora_parameters(named, 3, ["lm_head"]) == 3 * (32 + 64)
    assert lora_parameters(named, 3) == theirs


def test_smollm2_takes_305_280_numbers_a_rank(lm):
    assert lora_parameters(lm.model, 1) == 305_280
    assert lora_parameters(lm.model, 8) == 8 * 305_280
    assert lora_parameters(lm.model, 1, layers=range(20, 30)) * 3 == 305_280


@pytest.mark.parametrize("make", [fresh, small_llama])
def test_what_cannot_be_adapted_is_refused_before_anything_is_frozen(make):
    model = make().requires_grad_(True)
    last = 1 if make is fresh else 3
    for arguments, complaint in (
        ({"layers": [0, 9]}, rf"has the blocks 0 to {last}; LoRA can't be put into \[9\]"),
        ({"layers": [-1]}, r"put into \[-1\]"),
        ({"layers": []}, r"linear layers to adapt; not 2 and None in the blocks \[\]"),
        ({"targets": ["down_proj", "down", "q_porj"]}, "linear layers to adapt"),
    ):
        for act in (add_lora, lora_parameters):
            with pytest.raises(ValueError, match=complaint):
                act(model, 2, **arguments)
    assert all(weight.requires_grad for weight in model.parameters()) and not lora_layers(model)
    add_lora(model, 2, layers=[1])
    assert {name.split(".")[-3] for name in lora_layers(model)} == {"1"}
    before = snapshot(model)
    with pytest.raises(ValueError, match=r"has LoRA layers already: call remove_lora or merge_lora first\.$"):
        add_lora(model, 2)
    assert same_weights(model, before)


def test_o51_the_base_is_compared_with_the_adapter_silent():
    """Wrapping is in place: the old name is the adapted model. Silent it is the base; taken away, bit for bit."""
    base = small_llama()
    weights, before = snapshot(base), logits(base)
    adapted = add_lora(base, 2)
    assert adapted is base, "both names are one model"
    train(_Logits(adapted), lambda step: Batch(random_ids(), random_ids()), Recipe(3, lr=0.05))
    after = logits(base)
    assert not torch.allclose(after, before, atol=1e-2), "what is called base has learned"
    with without_lora(base):
        assert torch.equal(logits(base), before)
        with without_lora(base):
            assert torch.equal(logits(base), before)
        assert torch.equal(logits(base), before), "the inner block leaves the outer one as it was"
    assert torch.equal(logits(base), after)
    with pytest.raises(KeyError), without_lora(base):
        raise KeyError
    assert torch.equal(logits(base), after), "it speaks again after an error"
    base.model.norm.requires_grad_(True)  # what else was trained is frozen too
    assert remove_lora(base) is base and same_weights(base, weights) and torch.equal(logits(base), before)
    assert not lora_layers(base) and not any(weight.requires_grad for weight in base.parameters())


class _Logits(torch.nn.Module):
    """A transformers model whose answer is its logits, as `train` wants it."""

    def __init__(self, model) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens):
        return self.model(tokens).logits


def test_without_lora_there_is_nothing_to_take_away():
    model = small_llama().requires_grad_(True)
    before = snapshot(model)
    with without_lora(model):
        assert remove_lora(model) is model and merge_lora(model) is model and lora_weights(model) == {}
    assert same_weights(model, before) and all(weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize("layers", [None, [2]])
def test_merging_gives_pefts_merged_model(layers):
    model = filled(add_lora(small_llama(), 2, alpha=3, layers=layers))
    adapted, tensors = logits(model), {name: tensor.clone() for name, tensor in lora_weights(model).items()}
    names = sorted({name.rpartition(".lora_")[0] for name in tensors})
    theirs = get_peft_model(small_llama(), LoraConfig(r=2, lora_alpha=3, target_modules=names))
    for name, tensor in tensors.items():
        layer, _, part = name.rpartition(".lora_")
        module = theirs.base_model.model.get_submodule(layer)
        getattr(module, f"lora_{part[0]}")["default"].weight.data = tensor
    merged = dict(theirs.merge_and_unload().named_parameters())
    assert merge_lora(model) is model and not lora_layers(model)
    assert not any(weight.requires_grad for weight in model.parameters())
    assert torch.allclose(logits(model), adapted, atol=1e-4) and not torch.allclose(
        adapted, logits(small_llama()), atol=1e-2
    )
    assert all(torch.allclose(weight, merged[name], atol=1e-6) for name, weight in model.named_parameters())


def test_half_precision_rounds_small_updates_away():
    """At 1.0 the numbers of bfloat16 lie 2 ** -7 apart, so less than 2 ** -8 added to a weight is nothing."""
    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        layer = torch.nn.Linear(8, 2, bias=False, dtype=dtype)
        torch.nn.init.constant_(layer.weight, 1.0)
        layer.weight.data[:, ::2] *= -1  # a vector of ones gives 0
        model = add_lora(torch.nn.Sequential(layer), 1, alpha=1)
        adapter = lora_layers(model)["0"]
        torch.nn.init.constant_(adapter.down, 2.0**-10)
        torch.nn.init.ones_(adapter.up)
        x = torch.ones(1, 8, dtype=dtype)
        apart = model(x).tolist()
        found[dtype] = apart, merge_lora(model)(x).tolist()
    assert found[torch.float32] == ([[8 * 2.0**-10] * 2], [[8 * 2.0**-10] * 2])
    assert found[torch.bfloat16] == ([[8 * 2.0**-10] * 2], [[0.0, 0.0]])


def test_merging_a_faint_adapter_in_half_precision_changes_next_to_nothing():
    changed = {}
    for dtype in (torch.float32, torch.bfloat16):
        before = small_llama().to(dtype).model.layers[0].mlp.up_proj.weight
        after = merge_lora(filled(add_lora(small_llama().to(dtype), 2), scale=1e-3)).model.layers[0].mlp.up_proj.weight
        changed[dtype] = (after != before).double().mean().item()
    assert changed[torch.float32] > 0.9 and changed[torch.bfloat16] < 0.02


def test_the_sum_is_rounded_once():
    model = torch.nn.Sequential(torch.nn.Linear(64, 64, bias=False, dtype=torch.bfloat16))
    filled(add_lora(model, 16), scale=0.3)
    layer = lora_layers(model)["0"]
    exact = layer.layer.weight.double() + layer.scale * (layer.up.double() @ layer.down.double())
    assert (merge_lora(model)[0].weight != exact.float().bfloat16()).double().mean() < 0.01


def test_a_shared_weight_is_not_merged():
    model = filled(add_lora(small_llama(), 2, targets=["lm_head", "q_proj"]))
    before = snapshot(model)
    with pytest.raises(ValueError, match="weight of lm_head is shared with another layer"):
        merge_lora(model)
    assert same_weights(model, before) and len(lora_layers(model)) == 5


def test_the_adapters_tensors_have_pefts_names():
    model = add_lora(small_llama(), 3, layers=[3])
    weights = lora_weights(model)
    assert len(weights) == 14 and not any(tensor.requires_grad for tensor in weights.values())
    assert weights["model.layers.3.self_attn.k_proj.lora_A.weight"].shape == (3, 32)
    assert weights["model.layers.3.self_attn.k_proj.lora_B.weight"].shape == (16, 3)
