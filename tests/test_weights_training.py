"""The training loop: equal to plain torch, resumable at any step, on one process or two, and plain about bad input."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import get_cosine_schedule_with_warmup

from memcourse.errors import CourseError
from memcourse.model import seed_everything
from memcourse.weights import Batch, GPTShape, Recipe, Stack, TinyGPT, clip_each, cosine, train

SHAPE = GPTShape(vocab=20, d=16, layers=1, heads=2, d_ff=20, window=10)
RECIPE = Recipe(12, lr=0.01, warmup=0.25, weight_decay=0.1)


def fresh() -> TinyGPT:
    seed_everything(7)
    return TinyGPT(SHAPE)


def batch(step: int) -> Batch:
    ids = torch.randint(20, (6, 10), generator=torch.Generator().manual_seed(step))
    return Batch(ids, ids)


def flat(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


def test_it_is_plain_torch_training():
    model, theirs = fresh(), fresh()
    losses = train(model, batch, RECIPE)
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=0.01, betas=RECIPE.betas, weight_decay=0.1)
    for step in range(12):
        ids = batch(step).ids
        loss = torch.nn.functional.cross_entropy(theirs(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        optimizer.param_groups[0]["lr"] = 0.01 * cosine(step, 12, 0.25)
        optimizer.step()
        optimizer.zero_grad()
        assert float(losses[step, 0]) == pytest.approx(loss.item(), rel=1e-5)
    assert torch.allclose(flat(model), flat(theirs), atol=1e-5)


def test_the_schedule_is_transformers():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = get_cosine_schedule_with_warmup(optimizer, num_warmup_steps=10, num_training_steps=100)
    wanted = [schedule.lr_lambdas[0](step) for step in range(101)]
    got = [cosine(step, 100, 0.1) for step in range(101)]
    assert got[10:] == pytest.approx(wanted[10:])
    assert got[:10] == pytest.approx(wanted[1:11])  # ours doesn't waste the first step on a rate of 0


def test_clipping_is_torchs_for_each_member():
    torch.manual_seed(0)
    members = [[torch.nn.Parameter(torch.zeros(s)) for s in ((3, 4), (5,))] for _ in range(3)]
    for member, size in zip(members, (0.01, 1.0, 100.0), strict=True):
        for weight in member:
            weight.grad = torch.randn_like(weight) * size
    stacked = [torch.nn.Parameter(torch.zeros(3, 3, 4)), torch.nn.Parameter(torch.zeros(3, 5))]
    for i, weight in enumerate(stacked):
        weight.grad = torch.stack([member[i].grad for member in members]).clone()
    norms = clip_each(stacked, 1.0, 3)
    for m, member in enumerate(members):
        assert float(torch.nn.utils.clip_grad_norm_(member, 1.0)) == pytest.approx(float(norms[m]), rel=1e-5)
        assert all(torch.allclose(stacked[i].grad[m], member[i].grad, rtol=1e-4) for i in range(2))


@pytest.mark.parametrize("stop", [1, 4, 7, 11])
def test_an_interrupted_training_ends_with_the_same_weights(tmp_path, stop):
    whole = fresh()
    wanted = train(whole, batch, RECIPE)

    def cut(done, steps):
        if done == stop:
            raise KeyboardInterrupt

    path = tmp_path / "run.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train(fresh(), batch, RECIPE, checkpoint=path, every=3, progress=cut)
    asked = []
    model = fresh()
    losses = train(model, lambda step: asked.append(step) or batch(step), RECIPE, checkpoint=path, every=3)
    assert torch.equal(flat(model), flat(whole)) and torch.equal(losses, wanted)
    assert asked == list(range(stop // 3 * 3, 12)), "it begins where the last checkpoint ended"
    assert [p.name for p in tmp_path.iterdir()] == ["run.safetensors"], "no temporary file is left"
    done = fresh()
    again = train(done, lambda step: pytest.fail("nothing is left to do"), RECIPE, checkpoint=path)
    assert torch.equal(flat(done), flat(whole)) and torch.equal(again, wanted)


def test_a_stack_with_its_own_rates_resumes_too(tmp_path):
    def run(**options):
        many = Stack.built(lambda: TinyGPT(SHAPE), (1, 2))
        train(many, batch, Recipe(8, lr=(0.01, 0.002)), **options)
        return flat(many)

    def cut(done, steps):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(checkpoint=tmp_path / "s", every=2, progress=cut)
    assert torch.equal(run(checkpoint=tmp_path / "s", every=2), run())


def test_a_checkpoint_of_another_training_or_a_broken_one_is_refused(tmp_path):
    path = tmp_path / "run.safetensors"
    train(fresh(), batch, RECIPE, checkpoint=path)
    with pytest.raises(CourseError, match="another model or recipe: delete it, or give this training another name"):
        train(fresh(), batch, RECIPE._replace(lr=0.02), checkpoint=path)
    with pytest.raises(CourseError, match="another model or recipe"):
        train(TinyGPT(GPTShape(vocab=20)), batch, RECIPE, checkpoint=path)
    path.write_bytes(path.read_bytes()[:100])
    model = fresh()
    with pytest.raises(CourseError, match="is damaged: delete it and train again"):
        train(model, batch, RECIPE, checkpoint=path)
    assert torch.equal(flat(model), flat(fresh())), "nothing was changed"


def test_a_folder_that_cannot_be_written_is_named_before_any_step(tmp_path):
    (tmp_path / "a file").touch()
    with pytest.raises(CourseError, match=r"Cannot write to .*a file"):
        train(fresh(), lambda step: pytest.fail("a step was made"), RECIPE, checkpoint=tmp_path / "a file" / "x")


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (Recipe(0), "steps >= 1"),
        (Recipe(5, lr=0.0), "lr > 0"),
        (Recipe(5, lr=float("nan")), "lr > 0"),
        (Recipe(5, warmup=2.0), r"warmup in 0\.\.1"),
        (Recipe(5, clip=0.0), "clip > 0"),
        (Recipe(5, lr=(0.1, 0.2)), "one for each of the 1 members, not 2"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused(recipe, message):
    with pytest.raises(ValueError, match=message):
        train(fresh(), lambda step: pytest.fail("a step was made"), recipe)


def test_a_frozen_model_and_a_loss_that_explodes_are_named():
    with pytest.raises(ValueError, match="every weight of this model is frozen"):
        train(fresh().requires_grad_(False), batch, RECIPE)
    model = fresh()
    with torch.no_grad():
        model.tokens.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="no longer a finite number at step 2; train with a smaller learning rate"):
        train(model, batch, RECIPE, every=2)


def test_rates_may_come_as_an_array(tmp_path):
    many = Stack.built(lambda: TinyGPT(SHAPE), (1, 2))
    train(many, batch, Recipe(2, lr=np.array([0.01, 0.002])), checkpoint=tmp_path / "x")
    with pytest.raises(CourseError, match="another model or recipe"):
        train(many, batch, Recipe(2, lr=np.array([0.01, 0.003])), checkpoint=tmp_path / "x")


def test_progress_is_called_at_every_step():
    seen = []
    train(fresh(), batch, Recipe(3), progress=lambda *a: seen.append(a))
    assert seen == [(1, 3), (2, 3), (3, 3)]


TWO = """
import pathlib, sys, torch
from tests.test_weights_training import RECIPE, SHAPE, batch, flat, fresh
from memcourse.weights import Recipe, Stack, TinyGPT, train
model = fresh()
losses = train(model, batch, RECIPE, checkpoint=pathlib.Path(sys.argv[1]) / "two.safetensors", every=4)
many = Stack.built(lambda: TinyGPT(SHAPE), (1, 2))
train(many, batch, Recipe(5, lr=(0.01, 0.002)))
torch.save((losses, flat(model), flat(many)), f"{sys.argv[1]}/{torch.distributed.get_rank()}.pt")
torch.distributed.destroy_process_group()
"""


def test_two_processes_end_with_the_weights_of_one(tmp_path):
    (tmp_path / "two.py").write_text(TWO, encoding="utf-8")
    root = str(Path(__file__).parents[1])
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]  # what accelerate starts
    run += [str(tmp_path / "two.py"), str(tmp_path)]
    env = os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "USE_LIBUV": "0"}
    done = subprocess.run(run, env=env, cwd=root, capture_output=True, encoding="utf-8", timeout=300)
    assert done.returncode == 0, done.stderr
    model = fresh()
    losses = train(model, batch, RECIPE)
    many = Stack.built(lambda: TinyGPT(SHAPE), (1, 2))
    train(many, batch, Recipe(5, lr=(0.01, 0.002)))
    for rank in range(2):
        their_losses, weights, stacked = torch.load(tmp_path / f"{rank}.pt")
        assert torch.allclose(weights, flat(model), atol=1e-5) and torch.allclose(their_losses, losses, atol=1e-5)
        assert torch.allclose(stacked, flat(many), atol=1e-5)
    assert (tmp_path / "two.safetensors").is_file()
