"""The memory layer finds what brute force finds; only what may change changes; adapters are saved whole or not at all."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import load_file

from memcourse.errors import CourseError
from memcourse.model import seed_everything
from memcourse.weights import (
    Batch,
    GPTShape,
    ProductKeyMemory,
    Recipe,
    Stack,
    TinyGPT,
    add_lora,
    add_memory,
    free_slots,
    kept_when_learned,
    learned_and_kept,
    slot_reads,
    sweep,
    tf_idf,
    train,
    train_rows_only,
)  # fmt: skip
from memcourse.weights.adapters import adapter_bytes, load_adapter, save_adapter
from memcourse.weights.lora import lora_weights

from .adapter_support import small_llama
from .test_weights_adapter_files import adapted, bare, config_of

SHAPE = GPTShape(vocab=20, d=16, layers=2, heads=2, d_ff=20, window=10)


def fresh(seed: int = 0) -> TinyGPT:
    seed_everything(seed)
    return TinyGPT(SHAPE)


def ids(rows: int = 6) -> torch.Tensor:
    return torch.randint(20, (rows, 10), generator=torch.Generator().manual_seed(0))


def test_product_keys_find_the_best_of_all_slots():
    torch.manual_seed(0)
    memory, x = ProductKeyMemory(d=8, keys=7, top=5), torch.randn(3, 4, 8)
    slots, weights = memory.find(x)
    left, right = memory.query(x).chunk(2, dim=-1)
    scores = (left @ memory.keys[0].mT)[..., :, None] + (right @ memory.keys[1].mT)[..., None, :]
    best, wanted = scores.flatten(-2).topk(5)
    assert torch.equal(slots, wanted) and torch.allclose(weights, best.softmax(-1), atol=1e-6)
    assert torch.allclose(memory(x), torch.einsum("btk,btkd->btd", best.softmax(-1), memory.values[wanted]), atol=1e-6)


@pytest.mark.parametrize("sizes", [{"d": 8, "keys": 4, "top": 5}, {"d": 7}, {"d": 8, "top": 0}])
def test_an_impossible_memory_is_refused(sizes):
    with pytest.raises(ValueError, match="an even width, and top between 1 and its"):
        ProductKeyMemory(**sizes)


def test_reads_are_counted_where_they_happen():
    model = add_memory(fresh(), 0, keys=6, top=3)
    reads = slot_reads(model, ids(), block=0)
    assert reads.shape == (6, 36) and reads.sum(1).tolist() == [30.0] * 6
    with torch.no_grad():
        chosen = reads[2].bool()
        before = model(ids()[2:3])
        model.blocks[0].mlp.values[~chosen] = 99.0
        assert torch.equal(model(ids()[2:3]), before), "no other slot is read"


def test_tf_idf_by_hand():
    new = torch.tensor([[2.0, 1, 1, 0], [2, 0, 2, 0]])
    old = torch.tensor([[5.0, 0, 0, 1], [1, 0, 1, 0], [1, 0, 0, 0]])
    wanted = [4 / 8 * math.log(4 / 4), 1 / 8 * math.log(4 / 1), 3 / 8 * math.log(4 / 2), 0.0]
    assert tf_idf(new, old).tolist() == pytest.approx(wanted)


def test_only_the_chosen_rows_are_trained():
    many = Stack.built(lambda: add_memory(TinyGPT(SHAPE), 0, keys=6, top=3), (0, 1))
    before = {name: w.detach().clone() for name, w in many.stacked().items()}
    values = "blocks.0.mlp.values"
    for name, w in many.stacked().items():
        w.requires_grad_(name == values)
    rows = [torch.tensor([0, 5, 35]), torch.arange(10, 36)]
    train_rows_only(many.stacked()[values], rows)
    train(many, lambda step: Batch(ids(), ids()), Recipe(4, lr=0.1))
    for member, chosen in enumerate(rows):
        changed = (many.stacked()[values][member] != before[values][member]).any(-1).nonzero().flatten()
        assert set(changed.tolist()) <= set(chosen.tolist()) and len(changed) > 0
    assert all(torch.equal(w, before[name]) for name, w in many.stacked().items() if name != values)


def test_a_sweep_starts_alike_at_every_rate_and_from_the_base():
    base = Stack.built(lambda: TinyGPT(SHAPE), (0, 1))
    arms = sweep(base, lambda model: add_lora(model, 2), rates=(0.1, 0.2, 0.3), seeds=(8, 9))
    assert arms.members == 6
    down = arms.stacked()["blocks.0.mlp.down.down"]
    assert torch.equal(down[:2], down[2:4]) and torch.equal(down[:2], down[4:]) and not torch.equal(down[0], down[1])
    assert torch.allclose(arms(ids())[4:], base(ids()), atol=1e-6)
    with pytest.raises(ValueError, match="has 2 members and needs as many seeds, not 3"):
        sweep(base, lambda model: model, (0.1,), (1, 2, 3))


def test_free_slots_are_read_for_the_new_and_not_for_the_old():
    base = Stack.built(lambda: add_memory(TinyGPT(SHAPE), 0, keys=20, top=2), (0, 1))
    old, new = (torch.randint(20, (2, 4, 5), generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    for member, slots in enumerate(free_slots(base, old, new, block=0, k=5)):
        model = base.member(member)
        reads = {name: slot_reads(model, texts[member], 0).sum(0) for name, texts in (("old", old), ("new", new))}
        assert len(slots) == 5 and (reads["new"][slots] > reads["old"][slots]).all()


def test_what_is_kept_is_read_where_so_much_is_learned():
    learned = torch.tensor([[0.2, 0.9, 0.1], [0.8, 0.97, 0.7], [1.0, 1.0, 0.6]])
    kept = torch.tensor([[1.0, 0.9, 1.0], [0.7, 0.8, 0.6], [0.1, 0.2, 0.3]])
    assert kept_when_learned(learned, kept).tolist() == pytest.approx([0.4, 0.9, 0.6]), "half way, at once, never"
    assert kept_when_learned(learned, kept, least=1.0).tolist() == pytest.approx([0.1, 0.2, 0.6])


def test_shares_of_old_and_new_are_laid_out_by_rate():
    many = Stack.built(lambda: TinyGPT(SHAPE), range(6))
    rows = ids().expand(6, 6, 10)
    best = many(rows)[:, :, :-1].argmax(-1)
    right = torch.cat([rows[..., :1], best], dim=-1)  # labels that every member gives
    wrong = (right + 1) % 20
    labels = torch.where(torch.arange(6)[:, None, None] < 2, right, wrong)
    shares = learned_and_kept(many, Batch(rows, labels), Batch(rows, right), rates=3)
    assert shares.tolist() == [[[1, 1], [0, 0], [0, 0]], [[1, 1]] * 3]


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
