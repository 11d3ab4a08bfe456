"""The few lines of training that the experiments of this room share: one loss, Adam, a falling rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from memcourse.progress import Progress


def fit(
    weights: Iterable[Tensor],
    loss: Callable[[int], Tensor],
    steps: int,
    lr: float,
    *,
    done: Callable[[int], bool] | None = None,
    progress: Progress | None = None,
) -> list[float]:
    """Lower `loss(step)` by AdamW over weights, in place; return the loss of each step.

    The rate rises over the first tenth of the steps and falls in a straight line after. Nothing here is random.

    Args:
        done: asked before each step; True ends the training early.

    Raises:
        ValueError: steps < 1, or an lr that is not above 0.
        FloatingPointError: the loss is no longer finite.
    """
    if steps < 1 or not lr > 0:
        raise ValueError(f"Training needs at least one step and a rate above 0, not {steps} steps and lr = {lr}.")
    optimizer = torch.optim.AdamW(list(weights), lr=lr, weight_decay=0.0)
    rise = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / rise, (steps - step) / max(1, steps - rise))
    )
    losses = []
    for step in range(steps):
        if done is not None and done(step):
            break
        value = loss(step)
        if not torch.isfinite(value):
            raise FloatingPointError(f"The loss is {value.item()} at step {step}; try a lower rate than {lr}.")
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        schedule.step()
        losses.append(value.item())
        if progress is not None:
            progress(step + 1, steps)
    return losses
