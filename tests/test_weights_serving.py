"""A bank of adapters answers each row as the base with that adapter alone would, and leaves nothing behind."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model

from memcourse.model.batching import Batch
from memcourse.model.size import weights_sha256
from memcourse.weights.lora import add_lora, linear_layers, lora_layers, lora_weights, put_lora, remove_lora
from memcourse.weights.serving import AdapterBank

from .adapter_support import small_llama, small_lm

PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a small village near the sea, there lived",
    "2+2=",
    "Q: Who wrote Hamlet?\nA:",
    "def add(a, b):\n    return",
]
NAMES = ["y", None, "x", "z", "x"]
RANK, ALPHA = 2, 6.0


def random_adapter(model, seed: int, size: float, rank: int = RANK, only: str = "") -> dict[str, torch.Tensor]:
    """An adapter of all linear layers but the output layer (or of those whose name ends with `only`)."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, layer in linear_layers(model).items():
        if name != "lm_head" and name.endswith(only):
            down = torch.randn(rank, layer.in_features, generator=generator) / layer.in_features**0.5
            found[f"{name}.lora_A.weight"] = down
            found[f"{name}.lora_B.weight"] = size * torch.randn(layer.out_features, rank, generator=generator)
    return found


def three(model, size: float = 0.3) -> dict[str, dict[str, torch.Tensor]]:
    return {name: random_adapter(model, seed, size) for seed, name in enumerate("xyz")}


def n_hooks(model) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


@pytest.fixture
def small(lm):
    return small_lm(lm)


@pytest.fixture
def bank(small):
    return AdapterBank(small, three(small.model), ALPHA)


def with_one(lm, tensors, ask):
    """What `ask` gives while lm.model has this adapter; afterwards the model is as it was."""
    trained = {name: weight.requires_grad for name, weight in lm.model.named_parameters()}
    if tensors is None:
        return ask()
    put_lora(lm.model, {name.removesuffix(".lora_A.weight"): (RANK, ALPHA) for name in tensors if "lora_A" in name})
    try:
        for name, tensor in lora_weights(lm.model).items():
            tensor.copy_(tensors[name])
        return ask()
    finally:
        remove_lora(lm.model)
        for name, weight in lm.model.named_parameters():
            weight.requires_grad_(trained[name])


def one_at_a_time(lm, adapters, ask):
    """For each prompt its answer, when each adapter in turn is alone in the model and asked its own prompts only."""
    answers = {}
    for name in set(NAMES):
        own = [prompt for prompt, its in zip(PROMPTS, NAMES, strict=True) if its == name]
        answers |= zip(own, with_one(lm, adapters.get(name), lambda own=own: list(ask(own))), strict=True)
    return [answers[prompt] for prompt in PROMPTS]


# ---- The same as one adapter at a time -------------------------------------------------------------------------


def test_a_mixed_batch_is_pefts(lm, small):
    small.model.double()  # in float32 both round, each in its own way, by up to 3e-5
    adapters = {name: {key: t.double() for key, t in ts.items()} for name, ts in three(small.model).items()}
    bank = AdapterBank(small, adapters, ALPHA)
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear")
    theirs = get_peft_model(small_llama(0, small.model.config.vocab_size).double(), config, autocast_adapter_dtype=False)
    for name in adapters:
        theirs.add_adapter(name, config)
    for name, tensors in adapters.items():
        for key, tensor in tensors.items():
            layer, part = key.removesuffix(".weight").rsplit(".", 1)
            getattr(theirs.base_model.model.get_submodule(layer), part)[name].weight.data = tensor
    batch = Batch.of([lm.encode(prompt) for prompt in PROMPTS], "cpu")
    with torch.no_grad():
        want = theirs.eval()(
            input_ids=batch.ids, attention_mask=batch.mask, position_ids=batch.positions, logits_to_keep=1,
            adapter_names=[name or "__base__" for name in NAMES],
        ).logits[:, -1]  # fmt: skip
    got = bank.last_logits(PROMPTS, NAMES)
    assert got.dtype == torch.float64 and torch.allclose(got, want, atol=1e-9, rtol=1e-9)
    changed = (got - small.last_logits(PROMPTS)).abs().amax(-1) > 0.5
    assert changed.tolist() == [name is not None for name in NAMES]


def test_on_smollm_each_row_is_what_its_adapter_alone_would_give(lm):
    adapters, digest, hooks = three(lm.model, 0.15), weights_sha256(lm.model), n_hooks(lm.model)
    trained = [weight.requires_grad for weight in lm.model.parameters()]
    bank = AdapterBank(lm, adapters, ALPHA)
    logits, texts = bank.last_logits(PROMPTS, NAMES), bank.generate(PROMPTS, NAMES, 6)
    want = one_at_a_time(lm, adapters, lambda own: zip(lm.last_logits(own), lm.generate(own, 6), strict=True))
    assert torch.allclose(logits, torch.stack([row for row, _ in want]), atol=1e-3, rtol=0)
    assert texts == [text for _, text in want]
    base = lm.generate(PROMPTS, 6)
    assert [text == plain for text, plain in zip(texts, base, strict=True)] == [name is None for name in NAMES]
    assert weights_sha256(lm.model) == digest and n_hooks(lm.model) == hooks
    assert [weight.requires_grad for weight in lm.model.parameters()] == trained


def test_a_row_that_ends_early_does_not_shift_the_others(small, bank):
    """Rows end at different steps, by a stop text or an end token; who stays keeps its own adapter."""
    adapters = three(small.model)
    alone = one_at_a_time(small, adapters, lambda own: small.generate(own, 12))
    assert bank.generate(PROMPTS, NAMES, 12) == alone and len(set(alone)) == len(alone)
    for early in range(len(PROMPTS) - 1):
        stop = alone[early][len(alone[early]) // 3 :][:6]
        want = [text.split(stop)[0] for text in alone]
        assert bank.generate(PROMPTS, NAMES, 12, stop=[stop]) == want and want[early] != alone[early]
    stops = [alone[i][len(alone[i]) * part // 5 :][:6] for i, part in ((0, 1), (1, 2), (3, 3))]  # rows leave three times
    want = [min((text.split(stop)[0] for stop in stops), key=len) for text in alone]
    assert bank.generate(PROMPTS, NAMES, 12, stop=stops) == want and [*map(str.__eq__, want, alone)] == [0, 0, 1, 0, 1]
    third = small.encode(alone[0])[2]
    small.stop_ids = frozenset({third})  # an end token in the middle of the first answer
    want = one_at_a_time(small, adapters, lambda own: small.generate(own, 12))
    assert bank.generate(PROMPTS, NAMES, 12) == want and want[0] != alone[0] and want[1:] != [""] * 4


def test_the_order_of_prompts_and_adapters_is_kept(small, bank):
    order = [3, 0, 4, 2, 1]
    texts = bank.generate(PROMPTS, NAMES, 6)
    assert bank.generate([PROMPTS[i] for i in order], [NAMES[i] for i in order], 6) == [texts[i] for i in order]
    assert bank.generate(PROMPTS, [None] * 5, 6) == small.generate(PROMPTS, 6)
    assert len(set(bank.generate([PROMPTS[0]] * 4, [None, *"xyz"], 6))) == 4


def test_what_add_lora_made_goes_into_a_bank(small):
    add_lora(small.model, rank=3, alpha=3.0, targets=["q_proj", "v_proj"], layers=[1, 2])
    for tensor in lora_weights(small.model).values():
        tensor.normal_()
    want, tensors = small.last_logits(PROMPTS), {k: t.clone() for k, t in lora_weights(small.model).items()}
    with pytest.raises(ValueError, match="no LoRA of its own"):
        AdapterBank(small, {"mine": tensors}, 3.0)
    remove_lora(small.model)
    bank = AdapterBank(small, {"mine": tensors}, 3.0)
    assert torch.allclose(bank.last_logits(PROMPTS, ["mine"] * 5), want, atol=1e-5, rtol=1e-5)
    for tensor in tensors.values():
        tensor.zero_()  # the bank has copies
    assert torch.allclose(bank.last_logits(PROMPTS, ["mine"] * 5), want, atol=1e-5, rtol=1e-5)


def test_a_bank_counts_its_bytes_and_keeps_the_bases_format(small, bank):
    numbers = sum(layer.in_features + layer.out_features for name, layer in linear_layers(small.model).items()
                  if name != "lm_head")  # fmt: skip
    assert bank.nbytes == 3 * RANK * numbers * 4
    assert (bank.names, bank.rank, bank.scale) == (("x", "y", "z"), RANK, ALPHA / RANK)
    assert repr(bank) == f"AdapterBank(3 adapters of rank 2 on 'small', {bank.nbytes:,} bytes)"
    adapters = three(small.model)
    small.model.bfloat16()
    half = AdapterBank(small, adapters, ALPHA)
    assert half.nbytes == bank.nbytes / 2 and half.last_logits(PROMPTS, NAMES).dtype == torch.bfloat16


# ---- Hooks -----------------------------------------------------------------------------------------------------


def test_within_the_block_only_the_bank_adds_something(small, bank):
    before, digest = small.last_logits(PROMPTS), weights_sha256(small.model)
    with bank as same:
        assert same is bank and n_hooks(small.model) == 28
        assert torch.equal(small.last_logits(PROMPTS), before)
        first = bank.last_logits(PROMPTS, NAMES)
        with bank:
            assert n_hooks(small.model) == 28
        assert n_hooks(small.model) == 28
        assert torch.equal(small.last_logits(PROMPTS), before)
    assert n_hooks(small.model) == 0 and weights_sha256(small.model) == digest and not lora_layers(small.model)
    assert torch.equal(bank.last_logits(PROMPTS, NAMES), first) and n_hooks(small.model) == 0


def test_an_error_leaves_no_hook_behind(small, bank, monkeypatch):
    def out_of_memory(*args, **kwargs):
        assert n_hooks(small.model) == 28
        raise RuntimeError("out of memory")

    before = small.last_logits(PROMPTS)
    with monkeypatch.context() as broken:
        broken.setattr(small.model.lm_head, "forward", out_of_memory)
        for ask in (bank.generate, bank.last_logits):
            with pytest.raises(RuntimeError, match="out of memory"):
                ask(PROMPTS, NAMES)
            assert n_hooks(small.model) == 0
    with bank:
        with monkeypatch.context() as broken, pytest.raises(RuntimeError, match="out of memory"):
            broken.setattr(small.model.lm_head, "forward", out_of_memory)
            bank.generate(PROMPTS, NAMES)
        assert torch.equal(small.last_logits(PROMPTS), before)
    with pytest.raises(KeyError), bank:
        raise KeyError
    assert n_hooks(small.model) == 0
    with bank, pytest.raises(ValueError, match="no adapter 'w'"):
        bank.generate(PROMPTS, ["w"] * 5)
    assert n_hooks(small.model) == 0 and torch.equal(small.last_logits(PROMPTS), before)


def test_a_base_that_got_lora_meanwhile_is_refused(small, bank):
    add_lora(small.model, 1)
    with pytest.raises(ValueError, match="remove_lora first"):
        bank.last_logits(PROMPTS, NAMES)
    remove_lora(small.model)
    assert n_hooks(small.model) == 0 and bank.last_logits(PROMPTS, NAMES).shape[0] == 5


# ---- What is refused -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompts", "names", "options", "error", "said"),
    [
        (["x"], ["w"], {}, ValueError, "There is no adapter 'w'; there are x, y, z, and None for the base."),
        (["x", "y"], ["x"], {}, ValueError, "2 prompts but 1 names; give a name, or None, for each prompt."),
        ([], ["x"], {}, ValueError, "0 prompts but 1 names"), (["x", ""], ["x", "y"], {}, ValueError, "Prompt 1 is empty"),
        ("x", ["x"], {}, TypeError, "A list of prompts is needed"), (["x"], "x", {}, TypeError, "A list of names is needed"),
        (["x", "y " * 90], ["x", "y"], {}, ValueError, "Prompt 1 has .* tokens; .* the window of small is 64."),
        (["x"], ["x"], {"max_new_tokens": 64}, ValueError, "with room for 64 more"),
        (["x"], ["x"], {"max_new_tokens": 0}, ValueError, "max_new_tokens must be at least 1, not 0."),
        (["x"], ["x"], {"stop": [""]}, ValueError, "Stop text 0 is empty"),
        (["x"], ["x"], {"stop": "."}, TypeError, "A list of stop texts is needed"),
    ],
)  # fmt: skip
def test_a_bad_question_is_refused_before_any_work(bank, monkeypatch, prompts, names, options, error, said):
    monkeypatch.setattr(type(bank), "__enter__", lambda self: pytest.fail("work has begun"))
    with pytest.raises(error, match=said):
        bank.generate(prompts, names, **options)
    if not options:
        with pytest.raises(error, match=said):
            bank.last_logits(prompts, names)


def test_nothing_asked_is_nothing_answered(small, bank):
    assert bank.generate([], []) == [] and bank.last_logits([], []).shape == (0, small.model.config.vocab_size)


def test_adapters_that_do_not_go_together_are_refused(small):
    good, q_only = random_adapter(small.model, 0, 1.0), random_adapter(small.model, 0, 1.0, only="q_proj")
    half = dict(list(good.items())[1:])
    mixed = q_only | random_adapter(small.model, 0, 1.0, rank=1, only="k_proj")
    foreign = {key.replace("layers.3", "layers.7"): tensor for key, tensor in good.items()}
    narrow = {key: tensor[:, :5] if "lora_A" in key else tensor for key, tensor in good.items()}
    for adapters, said in (
        ({}, "at least one adapter"),
        ({None: good}, "names of adapters are strings"),
        ({"one": good, "two": half}, "Adapter 'two' is not made of pairs of lora_A and lora_B"),
        ({"one": {}}, "Adapter 'one' is not made of pairs"),
        ({"one": good, "two": q_only}, r"'two' \(rank 2, 4 layers\) must have .* of 'one' \(rank 2, 28 layers\)"),
        ({"one": good, "two": random_adapter(small.model, 0, 1.0, rank=4)}, r"'two' \(rank 4, .* of 'one' \(rank 2,"),
        ({"one": mixed}, r"Adapter 'one' has layers of the ranks \[1, 2\]"),
        ({"one": good, "two": foreign}, r"'two' was made for another base than small: there is no layer model\.layers\.7\."),
        ({"one": narrow}, r"Adapter 'one' doesn't fit small: .* of \(\(2, 5\), \(32, 2\)\)"),
    ):
        with pytest.raises(ValueError, match=said):
            AdapterBank(small, adapters, ALPHA)
    for alpha in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="a finite alpha"):
            AdapterBank(small, {"one": good}, alpha)
