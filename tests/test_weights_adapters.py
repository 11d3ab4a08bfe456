"""The memory layer finds what brute force finds, and only what may change changes."""

from __future__ import annotations

import math

import pytest
import torch

from memcourse.weights import (
    Batch,
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

from .adapter_support import SHAPE, fresh, ids


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
