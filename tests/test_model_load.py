"""Loading: from the course's cache, a folder or the hub; what is missing is said soon, by name, with what to do."""

from __future__ import annotations

import json
import random
import shutil
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from memcourse import model
from memcourse.errors import CourseError
from memcourse.model import choose_device, choose_dtype, load_embedder, load_lm, seed_everything, unload, weights_sha256
from memcourse.model.catalog import SMOLLM2, locate
from memcourse.model.device import as_dtype, usable_device
from memcourse.model.hub import _weights_are_whole

from .hub_support import NAME, hub_with_one_model, use_hub  # noqa: F401
from .model_support import smollm_tokenizer, tiny_llama, tiny_lm


@pytest.fixture
def folder(tmp_path):
    """A tiny model as save_pretrained leaves it, in a folder whose name holds a space and a 429."""
    place = tmp_path / "my 429 models" / "tiny"
    tiny_llama().save_pretrained(place)
    smollm_tokenizer().save_pretrained(place)
    return place


def test_a_folder_saved_by_save_pretrained_loads(folder):
    for name in (folder, str(folder)):
        lm = load_lm(name, device="cpu")
        assert lm.name == str(folder) and not lm.model.training
        assert weights_sha256(lm.model) == weights_sha256(tiny_lm().model)
        assert lm.generate("One two", 4) == tiny_lm().generate("One two", 4)


def test_dtype_is_the_one_asked_for(folder):
    assert {load_lm(folder, device="cpu", dtype=d).model.dtype for d in ("bfloat16", torch.bfloat16)} == {torch.bfloat16}
    assert load_lm(folder, device="cpu").model.dtype == torch.float32


def test_two_loads_in_one_process_share_nothing(folder):
    one, two = load_lm(folder, device="cpu"), load_lm(folder, device="cpu")
    with torch.no_grad():
        one.model.model.norm.weight.zero_()
    assert weights_sha256(two.model) == weights_sha256(tiny_lm().model) != weights_sha256(one.model)


def test_every_public_name_is_there():
    for name in model.__all__:
        assert getattr(model, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'load_lmm'"):
        _ = model.load_lmm


def test_unload_gives_the_memory_of_the_weights_back(folder):
    lm = load_lm(folder, device="cpu")
    storages = [weakref.ref(p.untyped_storage()) for p in lm.model.parameters()]
    unload(lm)
    assert all(p.is_meta for p in lm.model.parameters()) and not any(storage() for storage in storages)


@pytest.mark.parametrize("missing", ["model.safetensors", "tokenizer.json", "weights cut", "tokenizer cut", "config cut"])
def test_an_incomplete_folder_says_what_a_folder_needs(folder, missing):
    (folder / "pytorch_model.bin").write_bytes(b"a pickle is no replacement")
    files = {"weights cut": "model.safetensors", "tokenizer cut": "tokenizer.json", "config cut": "config.json"}
    if missing in files:
        path = folder / files[missing]
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        (folder / missing).unlink()
    with pytest.raises(
        CourseError, match=r"429 models.*folder is incomplete.*config\.json, \*\.safetensors and a tokenizer"
    ):
        load_lm(folder, device="cpu")


def test_a_folder_without_config_is_no_model(tmp_path):
    for load in (load_lm, load_embedder):
        with pytest.raises(ValueError, match=r"holds no config\.json"):
            load(tmp_path, device="cpu")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("smollm-135m", r"Unknown model 'smollm-135m'.*Did you mean 'smollm2-135m'\?"),
        ("SmolLM2-135M", "not one of"),
        ("gpt2", r"not one of \['smollm2-135m'\], no folder of that name, and no hub name"),
        ("./no/such/folder", "Unknown model"),
        ("~/models/x", "Unknown model"),
        ("a/b/c", "Unknown model"),
        ("minilm", "of kind 'embedder', but a model of kind 'lm'"),
        ("", "non-empty"),
        (" ", "non-empty"),
        (b"smollm2-135m", "must be a non-empty text"),
    ],
)
def test_a_wrong_name_is_refused_with_the_nearest_right_one(name, words):
    with pytest.raises(ValueError, match=words):
        load_lm(name)


def test_names_that_are_no_names_are_type_errors_and_kinds_are_kept_apart():
    for name in (None, 3, ["smollm2-135m"]):
        with pytest.raises(TypeError):
            load_lm(name)
    with pytest.raises(ValueError, match="Did you mean 'minilm'"):
        load_embedder("minilmm")
    with pytest.raises(ValueError, match="of kind 'lm'"):
        load_embedder("smollm2-135m")


def test_o12_a_model_that_is_not_fetched_names_command_size_and_folder(fresh_home):
    for load in (load_lm, load_embedder):
        with pytest.raises(CourseError, match=r"`memcourse fetch` once, with a network \(about 175 MB\).*--from DIR"):
            load(device="cpu")


def test_o12_offline_a_hub_model_says_so_within_seconds():
    for load in (load_lm, load_embedder):
        started = time.monotonic()
        with pytest.raises(CourseError, match=r"'owner/name' could not be loaded\. HF_HUB_OFFLINE is set.*Unset it"):
            load("owner/name", device="cpu")
        assert time.monotonic() - started < 10


def test_o12_without_a_network_a_hub_model_says_so_within_seconds(monkeypatch, tmp_path):
    """The hub's own client would ask again and again, for about a minute."""
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path)
    started = time.monotonic()
    with pytest.raises(CourseError, match="Check the spelling and the network; 'smollm2-135m' works without one"):
        load_lm("owner/name", device="cpu")
    assert time.monotonic() - started < 10


def test_o12_a_hub_model_is_downloaded_once_and_then_asks_nobody(hub, monkeypatch, tmp_path):
    lm = load_lm(NAME, device="cpu")
    assert lm.name == NAME and weights_sha256(lm.model) == weights_sha256(tiny_lm().model)
    assert hub.asked and not any(path.endswith((".py", ".bin")) for path in hub.asked)
    hub.asked.clear()
    assert load_lm(NAME, device="cpu").generate("One two", 3) == tiny_lm().generate("One two", 3)
    assert hub.asked == []
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "hub cache")
    assert load_lm(NAME, device="cpu").name == NAME


def test_o13_a_hub_that_is_asked_too_often_is_named_at_once(hub):
    hub.broken = "busy"
    for load in (load_lm, load_embedder):
        with pytest.raises(CourseError, match=r"answers 'too many requests'\. Wait some minutes, or copy its cache"):
            load(NAME, device="cpu")
    assert len(hub.asked) <= 4, "asking again only makes it worse"


def test_o14_a_download_that_broke_off_is_never_taken_as_whole(hub, monkeypatch):
    hub.broken = "half"
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with pytest.raises(CourseError, match=f"'{NAME}' could not be loaded"):
        load_lm(NAME, device="cpu")
    hub.broken = ""
    assert weights_sha256(load_lm(NAME, device="cpu").model) == weights_sha256(tiny_lm().model)


def test_o14_a_cache_that_lost_its_weights_is_filled_again(hub, tmp_path):
    load_lm(NAME, device="cpu")
    for path in (tmp_path / "hub cache").rglob("*"):
        if path.name == "model.safetensors":
            path.unlink()
    hub.asked.clear()
    assert weights_sha256(load_lm(NAME, device="cpu").model) == weights_sha256(tiny_lm().model) and hub.asked


def test_weights_in_parts_are_whole_only_with_every_part(tmp_path):
    assert not _weights_are_whole(tmp_path)
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-1.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    (tmp_path / "model-1.safetensors").touch()
    assert not _weights_are_whole(tmp_path)
    (tmp_path / "model-2.safetensors").touch()
    assert _weights_are_whole(tmp_path)


def test_a_hub_model_that_is_not_there(hub):
    with pytest.raises(CourseError, match=r"'someone/else' could not be loaded\. Check the spelling"):
        load_lm("someone/else", device="cpu")


@pytest.mark.parametrize("device", ["banana", "cuda:99", "cpu0"])
def test_a_device_that_is_not_here_is_refused_before_anything_is_loaded(device, monkeypatch):
    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", None)
    for load in (load_lm, load_embedder):
        with pytest.raises(ValueError, match=f"The device '{device}' can't be used here .*Use 'cpu'"):
            load(device=device)


@pytest.mark.parametrize("dtype", ["int8", "nn", "fp32", "Tensor", 16])
def test_a_dtype_that_is_no_number_format_is_refused(dtype):
    with pytest.raises(ValueError, match=r"Unknown dtype .*'float32', 'bfloat16' or 'float16'"):
        load_lm(device="cpu", dtype=dtype)
    assert as_dtype("float16") is as_dtype(torch.float16) is torch.float16


@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="a GPU is here")
def test_without_a_gpu_the_choice_is_the_cpu_in_float32_with_a_reason():
    with pytest.raises(ValueError, match="'cuda' can't be used here"):
        load_lm(device="cuda")
    assert choose_device() == ("cpu", "torch sees no GPU") and usable_device(None) == "cpu"
    assert choose_dtype("cpu").value == "float32" and choose_dtype("cpu").why


@pytest.mark.parametrize(("capability", "value"), [((7, 5), "float32"), ((8, 0), "bfloat16"), ((9, 0), "bfloat16")])
def test_bfloat16_only_on_cards_that_compute_in_it(monkeypatch, capability, value):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert choose_dtype("cuda").value == choose_dtype("cuda:0").value == value
    assert f"{capability[0]}.{capability[1]}" in choose_dtype("cuda").why


def test_locate_gives_folders_hub_names_and_course_models(tmp_path):
    shutil.copy(SMOLLM2.folder / "config.json", tmp_path)
    assert locate(tmp_path, "lm") == str(tmp_path)
    assert locate("owner/name", "lm") == "owner/name"
    assert locate("smollm2-135m", "lm") == str(SMOLLM2.folder) and Path(SMOLLM2.folder).is_dir()


def test_seed_everything_seeds_all_three():
    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()

    seed_everything(7)
    first = draw()
    seed_everything(7)
    assert draw() == first
    for wrong in (-1, 2**32, 1.0, "7", True, None):
        with pytest.raises(ValueError, match="whole number"):
            seed_everything(wrong)
