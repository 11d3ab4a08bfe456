"""Adapters on disk: PEFT reads ours and we read PEFT's, in a fresh process too; only the right base takes them, whole."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from memcourse.errors import CourseError
from memcourse.model.lm import LanguageModel
from memcourse.model.size import weights_sha256
from memcourse.weights.adapters import adapter_bytes, base_sha256, load_adapter, save_adapter
from memcourse.weights.lora import add_lora, lora_weights, put_lora, remove_lora
from memcourse.weights.prefix import KVPrefix, with_prefix

from .adapter_support import random_ids, small_llama
from .conftest import ROOT

TOKENIZER = SimpleNamespace(eos_token_id=2, convert_tokens_to_ids=lambda token: None)
FRESH = """
import sys
from safetensors.torch import save_file
from transformers import LlamaForCausalLM
from memcourse.weights.adapters import load_adapter
from tests.test_weights_adapter_files import bare, logits
lm = bare(LlamaForCausalLM.from_pretrained(sys.argv[1]).eval())
assert load_adapter(sys.argv[2], lm) is None
save_file({"logits": logits(lm.model)}, sys.argv[3])
"""


def bare(model, name: str = "small") -> LanguageModel:
    """A language model that nobody asks in words."""
    return LanguageModel(model, TOKENIZER, name)


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(random_ids()).logits


def adapted(rank: int = 2, name: str = "small", **where) -> LanguageModel:
    lm = bare(small_llama(), name)
    add_lora(lm.model, rank, **where)
    return filled(lm)


def filled(lm: LanguageModel) -> LanguageModel:
    generator = torch.Generator().manual_seed(1)
    for tensor in lora_weights(lm.model).values():
        tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
    return lm


def config_of(folder) -> dict:
    return json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))


def edited(folder, **options):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(config_of(folder) | options), encoding="utf-8")
    return folder


def pefts(folder, **options):
    """A folder as PEFT saves it, and the logits of its model."""
    theirs = get_peft_model(small_llama(), LoraConfig(**{"r": 2, "target_modules": ["q_proj", "up_proj"]} | options))
    generator = torch.Generator().manual_seed(2)
    for name, weight in theirs.named_parameters():
        if "lora_" in name:
            weight.data = 0.1 * torch.randn(weight.shape, generator=generator)
    theirs.save_pretrained(folder)
    return folder, logits(theirs.eval())


def assert_refused(folder, match: str, lm: LanguageModel | None = None) -> None:
    """One sentence says why, and the model is as it was."""
    lm = lm or bare(small_llama())
    names, before = [name for name, _ in lm.model.named_modules()], weights_sha256(lm.model)
    with pytest.raises(CourseError, match=match):
        load_adapter(folder, lm)
    assert [name for name, _ in lm.model.named_modules()] == names and weights_sha256(lm.model) == before


def test_a_fresh_process_gets_the_same_logits(tmp_path):
    lm = adapted(layers=[1, 2])
    remove = bare(small_llama())
    remove.model.save_pretrained(tmp_path / "base")
    save_adapter(tmp_path / "adapter", lm)
    command = [sys.executable, "-c", FRESH, tmp_path / "base", tmp_path / "adapter", tmp_path / "out.safetensors"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    assert torch.equal(load_file(tmp_path / "out.safetensors")["logits"], logits(lm.model))
    assert not torch.allclose(logits(lm.model), logits(remove.model), atol=1e-2)


def test_smollm2_gets_its_adapter_back_and_stays_what_it_was(lm, tmp_path):
    before = weights_sha256(lm.model)
    trained = {name: weight.requires_grad for name, weight in lm.model.named_parameters()}
    plain = base_sha256(lm)
    try:
        add_lora(lm.model, 1)
        wanted = logits(filled(lm).model)
        folder = save_adapter(tmp_path / "adapter", lm)
        assert base_sha256(lm) == plain, "the fingerprint is the base's, with LoRA or without"
        remove_lora(lm.model)
        dice = torch.get_rng_state()
        assert load_adapter(folder, lm) is None
        assert torch.equal(torch.get_rng_state(), dice)
        assert torch.equal(logits(lm.model), wanted)
    finally:
        remove_lora(lm.model)
        for name, weight in lm.model.named_parameters():
            weight.requires_grad_(trained[name])
    assert weights_sha256(lm.model) == before
    assert 4 * 305_280 < adapter_bytes(folder) < 4 * 305_280 + 80_000
    assert config_of(folder)["base_model_name_or_path"] == "smollm2-135m"


@pytest.mark.parametrize(
    ("where", "modules", "blocks"),
    [
        ({}, ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"], None),
        ({"targets": ["v_proj", "q_proj"], "layers": [3, 1]}, ["q_proj", "v_proj"], [1, 3]),
        ({"targets": ["lm_head"]}, ["lm_head"], None),
    ],
)
def test_peft_reads_ours(where, modules, blocks, tmp_path):
    lm = adapted(rank=3, alpha=4.5, **where)
    folder = save_adapter(tmp_path / "adapter", lm)
    config = config_of(folder)
    assert (config["target_modules"], config["layers_to_transform"]) == (modules, blocks)
    assert (config["r"], config["lora_alpha"], config["rank_pattern"], config["alpha_pattern"]) == (3, 4.5, {}, {})
    assert all(key.startswith("base_model.model.") for key in load_file(folder / "adapter_model.safetensors"))
    theirs = PeftModel.from_pretrained(small_llama(), folder).eval()
    assert torch.allclose(logits(theirs), logits(lm.model), atol=1e-5)
    assert not torch.allclose(logits(lm.model), logits(small_llama()), atol=1e-2)


def test_uneven_adapters_are_told_layer_by_layer(tmp_path):
    lm = bare(small_llama())
    strengths = {"model.layers.0.self_attn.q_proj": (2, 4.0), "model.layers.1.self_attn.q_proj": (2, 4.0)}
    strengths |= {"model.layers.1.mlp.up_proj": (3, 4.0), "model.layers.2.mlp.up_proj": (2, 1.0)}
    put_lora(lm.model, strengths)
    folder = save_adapter(tmp_path / "adapter", filled(lm))
    config = config_of(folder)
    assert config["rank_pattern"] == {"model.layers.1.mlp.up_proj": 3}
    assert config["alpha_pattern"] == {"model.layers.2.mlp.up_proj": 1}
    assert config["target_modules"] == sorted(strengths) and config["layers_to_transform"] is None
    again = bare(small_llama())
    load_adapter(folder, again)
    theirs = PeftModel.from_pretrained(small_llama(), folder).eval()
    assert torch.equal(logits(again.model), logits(lm.model))
    assert torch.allclose(logits(theirs), logits(lm.model), atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"target_modules": "all-linear", "lora_dropout": 0.1},
        {"target_modules": r".*\.[13]\..*_proj"},
        {"layers_to_transform": [0, 2], "lora_alpha": 3},
        {"rank_pattern": {"up_proj": 4}, "alpha_pattern": {r"layers\.1\.self_attn\.q_proj": 20}},
    ],
    ids=str,
)
def test_we_read_pefts(options, tmp_path):
    folder, wanted = pefts(tmp_path / "theirs", **options)
    lm = bare(small_llama())
    assert load_adapter(folder, lm) is None
    assert torch.allclose(logits(lm.model), wanted, atol=1e-5)
    trained = {name for name, weight in lm.model.named_parameters() if weight.requires_grad}
    assert trained and all(name.endswith((".down", ".up")) for name in trained), "it can be trained on"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"use_rslora": True}, "use_rslora"),
        ({"use_dora": True}, "use_dora"),
        ({"bias": "lora_only"}, "bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights"),
        ({"option_of_tomorrow": 1, "use_dora": True}, "option_of_tomorrow, use_dora"),
    ],
)
def test_options_that_would_change_the_result_are_named(options, named, tmp_path):
    folder = edited(save_adapter(tmp_path / "adapter", adapted()), **options)
    assert_refused(folder, f"uses options that can't be followed here: {named}")


def test_other_kinds_are_refused(tmp_path):
    model = get_peft_model(small_llama(), IA3Config(target_modules=["q_proj"], feedforward_modules=[]))
    model.save_pretrained(tmp_path / "ia3")
    assert_refused(tmp_path / "ia3", "of the kind 'IA3'; only LORA, PREFIX_TUNING, CARTRIDGE can be loaded")


def test_another_base_is_refused(tmp_path):
    ours, theirs = save_adapter(tmp_path / "ours", adapted()), pefts(tmp_path / "theirs")[0]
    other = bare(small_llama(seed=1), "other")
    assert_refused(ours, "was made for another base than other: its weights differ", other)
    fewer = small_llama()
    fewer.model.layers = fewer.model.layers[:3]
    wider = small_llama()
    wider.model.layers[1].self_attn.q_proj = torch.nn.Linear(48, 32, bias=False)
    for folder in (ours, theirs):  # PEFT's has no fingerprint, but its names and shapes
        assert_refused(folder, r"made for another base than few: model.layers.3.\S+ doesn't fit", bare(fewer, "few"))
        assert_refused(folder, r"made for another base than wide: \S+layers.1.\S+q_proj doesn't fit", bare(wider, "wide"))
    load_adapter(theirs, other)  # it fits, and nothing tells that it isn't meant


def test_a_base_in_half_precision_is_the_same_base(tmp_path):
    stored = small_llama().bfloat16()
    assert base_sha256(bare(stored)) == base_sha256(bare(small_llama().bfloat16().float()))
    assert base_sha256(bare(stored)) != base_sha256(bare(small_llama()))


def test_what_is_damaged_is_refused_and_the_model_stays(tmp_path):
    good = save_adapter(tmp_path / "good", adapted())
    size = (good / "adapter_model.safetensors").stat().st_size
    assert_refused(tmp_path / "none", "There is no folder .*none: save an adapter there first")
    for case, (name, content, match) in enumerate([
        ("adapter_model.safetensors", (good / "adapter_model.safetensors").read_bytes()[: size // 2], "is damaged"),
        ("adapter_model.safetensors", b"", "is damaged"),
        ("adapter_model.safetensors", None, "adapter_model.safetensors is missing"),
        ("adapter_config.json", None, "adapter_config.json is missing"),
        ("adapter_config.json", b'{"peft_type": "LO', "is damaged"),
        ("adapter_config.json", b"[]", "is damaged"),
        ("adapter_config.json", b'{"peft_type": "LORA"}', "is damaged, or not one for small"),
        ("adapter_config.json", b'{"peft_type": ["LORA"]}', "of the kind"),
        ("adapter_config.json", b'{"peft_type": "LORA", "r": 3, "lora_alpha": 4}', "another rank"),
        ("adapter_config.json", b'{"peft_type": "LORA", "r": 2, "lora_alpha": "x"}', "is damaged, or not one for small"),
    ]):  # fmt: skip
        folder = shutil.copytree(good, tmp_path / str(case))
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_bytes(content)
        assert_refused(folder, match)
    shutil.copytree(good, tmp_path / "odd")
    tensors = load_file(good / "adapter_model.safetensors")
    save_file(dict(list(tensors.items())[1:]), tmp_path / "odd" / "adapter_model.safetensors")
    assert_refused(tmp_path / "odd", "not pairs of lora_A and lora_B")


def test_a_model_with_lora_is_refused(tmp_path):
    lm = adapted()
    folder = save_adapter(tmp_path / "adapter", lm)
    assert_refused(folder, "has LoRA layers already", lm)


@pytest.mark.parametrize(("frozen", "kind"), [(0, "PREFIX_TUNING"), (1, "CARTRIDGE")])
def test_a_prefix_goes_to_peft_and_back(frozen, kind, tmp_path):
    lm = bare(small_llama())
    prefix = KVPrefix.random(lm, 5, frozen)
    with torch.no_grad():
        wanted = with_prefix(lm.model, prefix, random_ids())
    folder = save_adapter(tmp_path / "adapter", lm, prefix)
    assert config_of(folder)["peft_type"] == kind and config_of(folder).get("num_frozen_tokens", 0) == frozen
    theirs = PeftModel.from_pretrained(small_llama(), folder).eval()
    assert torch.allclose(logits(theirs), wanted, atol=1e-5)
    again = load_adapter(folder, lm)
    assert isinstance(again, KVPrefix) and (again.slots, again.frozen) == (5, frozen)
    assert torch.equal(again.kv, prefix.kv) and again.trained.requires_grad and not lora_weights(lm.model)
    theirs.save_pretrained(tmp_path / "theirs")
    assert torch.equal(load_adapter(tmp_path / "theirs", lm).kv, prefix.kv)


def test_a_prefix_of_another_base_is_refused(tmp_path):
    lm, other = bare(small_llama()), bare(small_llama(seed=1), "other")
    folder = save_adapter(tmp_path / "adapter", lm, KVPrefix.random(lm, 5))
    assert_refused(folder, "was made for another base than other: its weights differ", other)
    fewer = bare(small_llama(), "few")
    fewer.model.config.num_hidden_layers = 3
    assert_refused(folder, r"not one for few \(A prefix of this model has the shape \(slots, 96\)", fewer)
    assert_refused(folder, "has LoRA layers already", adapted())
    assert_refused(edited(folder, num_virtual_tokens=6), "not the 6 slots")
    assert_refused(edited(folder, num_virtual_tokens=5, peft_type="CARTRIDGE", num_frozen_tokens=5), "with 5 frozen")
    for model, prefix, match in (
        (fewer, KVPrefix.random(lm, 5), "this prefix, with 128, is of another model"),
        (lm, KVPrefix.random(lm, 5, start=2), "begins at layer 2"),
        (adapted(), KVPrefix.random(lm, 5), "a prefix without LoRA"),
    ):
        with pytest.raises(ValueError, match=match):
            save_adapter(tmp_path / "new", model, prefix)
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]
