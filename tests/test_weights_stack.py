"""Models side by side are the very models that they would be alone."""

from __future__ import annotations

import pytest
import torch

from memcourse.weights import Batch, GPTShape, Recipe, Stack, TinyGPT, add_lora, next_token_nll, train

SHAPE = GPTShape(vocab=20, d=16, layers=2, heads=2, d_ff=20, window=10)
SEEDS = (3, 4, 5)


def stack() -> Stack:
    return Stack.built(lambda: TinyGPT(SHAPE), SEEDS)


def ids(members: int = 3) -> torch.Tensor:
    return torch.randint(20, (members, 6, 10), generator=torch.Generator().manual_seed(0))


def test_each_member_gives_its_own_logits():
    many, own = stack(), ids()
    together, shared = many(own), many(own[0])
    for i in range(3):
        assert torch.allclose(together[i], many.member(i)(own[i]), atol=1e-5)
        assert torch.allclose(shared[i], many.member(i)(own[0]), atol=1e-5)
    assert many.members == 3 and not torch.allclose(shared[0], shared[1])


def test_training_side_by_side_is_training_one_after_the_other():
    many, rates = stack(), [0.01, 0.001, 0.02]
    alone = [many.member(i) for i in range(3)]
    losses = train(many, lambda step: Batch(ids(), ids()), Recipe(8, lr=rates))
    for i, model in enumerate(alone):
        own = train(model, lambda step, i=i: Batch(ids()[i], ids()[i]), Recipe(8, lr=rates[i]))
        assert torch.allclose(losses[:, i], own[:, 0], atol=1e-4)
        for name, weight in many.member(i).named_parameters():
            assert torch.allclose(weight, model.get_parameter(name), atol=2e-4), name


def test_a_member_and_the_stack_share_nothing():
    first = TinyGPT(SHAPE)
    many = Stack([first, first])
    copy = many.member(0)
    with torch.no_grad():
        copy.tokens.weight.zero_()
        first.tokens.weight.zero_()
    assert many.stacked()["tokens.weight"].abs().min(dim=0).values.max() > 0


def test_what_is_frozen_stays_frozen_and_is_not_trained():
    models = [add_lora(TinyGPT(SHAPE), rank=2) for _ in range(2)]
    many = Stack(models)
    frozen = {name: w.detach().clone() for name, w in many.stacked().items() if not w.requires_grad}
    assert set(frozen) == {name for name, w in models[0].named_parameters() if not w.requires_grad}
    train(many, lambda step: Batch(ids(2), ids(2)), Recipe(3, lr=0.1))
    assert all(torch.equal(w, many.stacked()[name]) for name, w in frozen.items())
    assert all(w.abs().max() > 0 for name, w in many.stacked().items() if name.endswith("up"))


def test_buffers_follow_to_another_dtype():
    many = stack().double()
    assert many(ids()).dtype == torch.float64 and many.member(1).angles.dtype == torch.float64


def test_the_loss_counts_for_each_member_what_is_labelled():
    many, labels = stack(), ids().clone()
    labels[1, :, 4:] = -100
    total, count = next_token_nll(many, Batch(ids(), labels))
    assert count.tolist() == [54, 18, 54] and total.shape == (3,)
    one, n = next_token_nll(many.member(1), Batch(ids()[1], labels[1]))
    assert torch.allclose(total[1], one[0], atol=1e-3) and n.tolist() == [18]
    shared, counts = next_token_nll(many, Batch(ids()[0], ids()[0]))
    assert counts.tolist() == [54, 54, 54] and torch.allclose(shared[0], total[0], atol=1e-3)


def test_models_of_different_shape_are_refused():
    for models in ([], [TinyGPT(SHAPE), TinyGPT(GPTShape(vocab=21))]):
        with pytest.raises(ValueError, match="same names and shapes"):
            Stack(models)
