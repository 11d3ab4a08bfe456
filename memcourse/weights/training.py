"""The training loop of the course: seeded, clipped, on a cosine schedule, resumable, on one device or on many."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from memcourse.progress import Progress
from memcourse.weights.checkpoint import Checkpoint
from memcourse.weights.loss import Batch, next_token_nll


def constant(batch: Batch) -> Callable[[int], Batch]:
    """The same batch at every step: all texts at once."""
    return lambda step: batch


class Recipe(NamedTuple):
    """How to train.

    Attributes:
        steps: number of updates.
        lr: highest learning rate; for a `Stack` also one for each member, so that a sweep is one run.
        warmup: share of the steps in which the rate rises from 0.
        clip: largest norm of a member's gradient.
        betas, weight_decay: of AdamW.
    """

    steps: int
    lr: float | Sequence[float] = 1e-3
    warmup: float = 0.05
    clip: float = 1.0
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0


def cosine(step: int, steps: int, warmup: float) -> float:
    """Factor of the learning rate: a straight rise over the warm-up, then half a cosine down to 0.

    Source: Loshchilov and Hutter, "SGDR" (2016), arXiv 1608.03983.
    """
    rise = max(1, round(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def train(
    model: nn.Module,
    batch: Callable[[int], Any],
    recipe: Recipe,
    *,
    loss: Callable[[nn.Module, Any], tuple[Tensor, Tensor]] = next_token_nll,
    checkpoint: Path | None = None,
    every: int = 100,
    progress: Progress | None = None,
) -> Tensor:
    """Train what is not frozen in a model, in place; return the mean loss of each step, (steps, members), in nats.

    Seeds belong before: call `seed_everything`, then build the model and its adapters, then train. The loop itself draws
    nothing, and `batch(step)` must give the same batch for the same step; so a training that was interrupted ends with the
    very weights of one that was not. Under `accelerate launch` every process takes its share of each batch's rows.

    Args:
        batch: gives the batch of a step (0, 1, ...), a `Batch` or what has its `share`; or a list of several, which
            needn't fit into memory at once and give the step that one large batch would, however the labels are spread.
        loss: sum of the loss and number of items for each member, as `next_token_nll` gives them.
        checkpoint: a file to go on from if it is there, written every so many steps and at the end.
        progress: called with (steps done, steps).

    Raises:
        ValueError: nothing to train, a recipe that can't be followed, or a loss that is not finite.
        CourseError: the checkpoint is of another training, or can't be written.
    """
    from accelerate import Accelerator

    weights = [weight for weight in model.parameters() if weight.requires_grad]
    members = getattr(model, "members", 1)
    _check(recipe, weights, members)
    accelerator = Accelerator(device_placement=False)
    if accelerator.num_processes > 1:
        model.to(accelerator.device)
    rates = torch.tensor(recipe.lr, dtype=torch.float32, device=weights[0].device).broadcast_to(members)
    optimizer = torch.optim.AdamW(weights, lr=1.0, betas=recipe.betas, weight_decay=recipe.weight_decay, fused=True)
    kept = Checkpoint(checkpoint, model, optimizer, recipe)
    losses = kept.resume()
    model.train()
    prepared = accelerator.prepare(model)
    for step in range(len(losses), recipe.steps):
        losses.append(_backward(prepared, batch(step), loss, accelerator, weights))
        clip_each(weights, recipe.clip, members)
        _update(optimizer, weights, rates * cosine(step, recipe.steps, recipe.warmup))
        if (step + 1) % every == 0 or step + 1 == recipe.steps:
            _stop_if_broken(losses[-1], step)
            if accelerator.is_main_process:
                kept.write(losses)
        if progress is not None:
            progress(step + 1, recipe.steps)
    model.eval()
    return torch.stack(losses).cpu()


def clip_each(weights: Sequence[nn.Parameter], most: float, members: int = 1) -> Tensor:
    """Shrink each member's gradient to a norm of at most `most`, in place; return the norms before, (members,).

    For one member it is torch's `clip_grad_norm_`.
    """
    grads = [weight.grad for weight in weights if weight.grad is not None]
    norms = torch.stack([grad.reshape(members, -1).norm(dim=1) for grad in grads]).norm(dim=0)
    shrink = (most / (norms + 1e-6)).clamp(max=1.0)
    for grad in grads:
        grad.mul_(shrink.view(members, *[1] * (grad.dim() - 1)))
    return norms


@torch.no_grad()
def _update(optimizer: torch.optim.Optimizer, weights: Sequence[nn.Parameter], rates: Tensor) -> None:
    """One step of AdamW at rate 1, of which each member goes its own rate's part (AdamW's step is linear in the rate)."""
    rate = float(rates[0])
    same = bool((rates == rate).all())
    optimizer.param_groups[0]["lr"] = rate if same else 1.0
    before = [] if same else [weight.clone() for weight in weights]
    optimizer.step()
    optimizer.zero_grad()
    for old, weight in zip(before, weights, strict=False):
        torch.lerp(old, weight, rates.view(-1, *[1] * (weight.dim() - 1)).to(weight.dtype), out=weight)


def _backward(model: nn.Module, batch: Any, loss: Any, accelerator: Any, weights: Sequence[Tensor]) -> Tensor:
    """Leave the gradients of a step's mean loss in the weights and return that loss, (members,)."""
    parts = batch if isinstance(batch, list) else [batch]
    sums, counts = [], []
    for part in parts:
        total, count = loss(model, _share(part, accelerator))
        sums.append(accelerator.reduce(total.detach(), "sum"))
        counts.append(accelerator.reduce(count, "sum"))
        # gradients are averaged over processes, but the loss is one sum over all of them
        scale = counts[0].clamp(min=1) if len(parts) == 1 else torch.ones_like(total)
        accelerator.backward((total / scale).sum() * accelerator.num_processes)
    items = torch.stack(counts).sum(0).clamp(min=1)
    if len(parts) > 1:  # only now is it known by how many labels to divide: a mean of means would weigh short parts more
        for weight in weights:
            if weight.grad is not None:
                weight.grad.div_(items.view(-1, *[1] * (weight.dim() - 1)))
    return torch.stack(sums).sum(0) / items


def _share(batch: Any, accelerator: Any) -> Any:
    """This process's rows of a batch."""
    count = accelerator.num_processes
    return batch if count == 1 else batch.share(count, accelerator.process_index)


def _check(recipe: Recipe, weights: Sequence[nn.Parameter], members: int) -> None:
    if not weights:
        raise ValueError("Nothing to train: every weight of this model is frozen.")
    rates = torch.tensor(recipe.lr, dtype=torch.float64).flatten().tolist()
    if len(rates) not in (1, members):
        raise ValueError(f"A recipe has one learning rate, or one for each of the {members} members, not {len(rates)}.")
    if recipe.steps < 1 or not all(0 < rate < math.inf for rate in rates) or not 0 <= recipe.warmup <= 1 or recipe.clip <= 0:
        raise ValueError(f"A recipe needs steps >= 1, lr > 0, warmup in 0..1 and clip > 0, unlike {recipe}.")


def _stop_if_broken(loss: Tensor, step: int) -> None:
    if not loss.isfinite().all():
        raise ValueError(f"The loss is no longer a finite number at step {step + 1}; train with a smaller learning rate.")
