"""LoRA is PEFT's; the memory layer finds what brute force finds; and only what may change changes."""

from __future__ import annotations

import math

import pytest
import torch
from peft import LoraConfig, get_peft_model

from memcourse.model import seed_everything
from memcourse.weights import (
    Batch,
    GPTShape,
    LoRALinear,
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

SHAPE = GPTShape(vocab=20, d=16, layers=2, heads=2, d_ff=20, window=10)


def fresh(seed: int = 0) -> TinyGPT:
    seed_everything(seed)
    return TinyGPT(SHAPE)


def ids(rows: int = 6) -> torch.Tensor:
    return torch.randint(20, (rows, 10), generator=torch.Generator().manual_seed(0))


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
