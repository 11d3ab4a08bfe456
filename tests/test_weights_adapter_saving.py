"""What happens while an adapter is saved: the old one stays, other files stay, and nothing is half there."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from memcourse.errors import CourseError
from memcourse.weights.adapters import adapter_bytes, load_adapter, save_adapter
from memcourse.weights.lora import lora_weights

from .adapter_support import small_llama
from .test_weights_adapter_files import adapted, bare, config_of


@pytest.mark.parametrize("moment", ["file", "stopped", "rename"])
def test_an_interrupted_save_leaves_the_old_adapter(moment, tmp_path, monkeypatch):
    folder = save_adapter(tmp_path / "adapter", adapted())
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    newer = adapted(rank=3)

    def broken(tensors, path, **_):
        path.write_bytes(b"half")
        raise KeyboardInterrupt if moment == "stopped" else OSError(28, "No space left on device")

    if moment == "rename":
        rename = type(folder).rename
        target = folder

        def locked(path, new):
            if path.name.endswith(".part") and new == target:
                raise OSError(13, "Permission denied")
            return rename(path, new)

        monkeypatch.setattr(type(folder), "rename", locked)
    else:
        monkeypatch.setattr("safetensors.torch.save_file", broken)
    with pytest.raises(KeyboardInterrupt if moment == "stopped" else CourseError):
        save_adapter(folder, newer)
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"], "nothing is left beside it"
    save_adapter(folder, newer)
    assert config_of(folder)["r"] == 3 and [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_a_folder_with_anything_else_is_left_alone(tmp_path):
    notes = tmp_path / "notes"
    notes.mkdir()
    save_adapter(notes, adapted())  # an empty one may be used
    (notes / "README.md").write_text("mine", encoding="utf-8")
    before = {path.name: path.read_bytes() for path in notes.iterdir()}
    for folder in (notes, notes / "README.md"):
        with pytest.raises(CourseError, match="holds other files than an adapter's"):
            save_adapter(folder, adapted(rank=3))
    assert {path.name: path.read_bytes() for path in notes.iterdir()} == before


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("/home/klara/models/base", "base"),
        ("C:\\Users\\klara\\base", "base"),
        ("../klara/base", "base"),
        ("~/base", "base"),
        ("owner/base", "owner/base"),
    ],
)
def test_no_path_of_this_machine_is_told(name, told, tmp_path):
    folder = save_adapter(tmp_path / "adapter", adapted(name=name))
    assert config_of(folder)["base_model_name_or_path"] == told
    assert b"klara" not in b"".join(path.read_bytes() for path in folder.iterdir())


def test_half_the_bytes_in_half_precision(tmp_path):
    lm = adapted(rank=8)
    exact = lora_weights(lm.model)
    sizes = {}
    for dtype in ("float32", "bfloat16", "float16"):
        folder = save_adapter(tmp_path / dtype, lm, dtype=dtype)
        stored = load_file(folder / "adapter_model.safetensors")
        assert {str(tensor.dtype) for tensor in stored.values()} == {f"torch.{dtype}"}
        sizes[dtype] = sum(tensor.nbytes for tensor in stored.values())
        assert adapter_bytes(folder) == sum(path.stat().st_size for path in folder.iterdir()) > sizes[dtype]
        again = bare(small_llama())
        load_adapter(folder, again)
        for key, tensor in lora_weights(again.model).items():
            assert torch.equal(tensor, exact[key].to(getattr(torch, dtype)).float())
    assert sizes["float32"] == 2 * sizes["bfloat16"] == 2 * sizes["float16"]
    with pytest.raises(CourseError, match="There is no folder"):
        adapter_bytes(tmp_path / "none")


def test_what_cannot_be_saved_is_refused_and_leaves_no_folder(tmp_path):
    folder = tmp_path / "adapter"
    with pytest.raises(ValueError, match="holds one thing: the LoRA of"):
        save_adapter(folder, bare(small_llama()))
    lm = adapted()
    with pytest.raises(ValueError, match="Unknown dtype 'int8'"):
        save_adapter(folder, lm, dtype="int8")
    next(iter(lora_weights(lm.model).values()))[0, 0] = 1e6
    with pytest.raises(ValueError, match="numbers that float16 can't hold"):
        save_adapter(folder, lm, dtype="float16")
    assert not list(tmp_path.iterdir())
    save_adapter(folder, lm)
