"""The shared lines of training: they lower a loss, the same way each time, and stop where it makes no sense."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from memcourse.retrieval.fitting import fit


def test_fit_lowers_a_quadratic_and_tells_how_far_it_is():
    def run():
        point, told = torch.tensor([3.0, -2.0], requires_grad=True), []
        losses = fit([point], lambda _: (point - 1).square().sum(), 60, 0.3, progress=lambda *at: told.append(at))
        return point.detach(), losses, told

    point, losses, told = run()
    torch.testing.assert_close(point, torch.ones(2), atol=0.1, rtol=0)
    assert len(losses) == 60 and losses[0] == pytest.approx(13) and losses[-1] < 0.02
    assert told == [(i + 1, 60) for i in range(60)]
    again = run()
    assert torch.equal(point, again[0]) and losses == again[1]


def test_the_rate_of_fit_rises_for_a_tenth_and_falls_to_almost_nothing():
    """Adam steps by the rate itself where the gradient is always the same."""
    weight, places = torch.zeros(1, requires_grad=True), []

    def loss(step):
        places.append(weight.item())
        return weight.sum()

    fit([weight], loss, 40, 0.1)
    rates = -np.diff([*places, weight.item()])
    wanted = [0.025, 0.05, 0.075, 0.1, *(0.1 * (40 - step) / 36 for step in range(4, 40))]
    np.testing.assert_allclose(rates, wanted, atol=1e-5)


def test_fit_stops_when_it_is_done_and_refuses_what_is_not_finite():
    weight = torch.ones(1, requires_grad=True)
    assert len(fit([weight], lambda _: weight.sum(), 10, 0.1, done=lambda step: step == 4)) == 4
    with pytest.raises(FloatingPointError, match=r"nan at step 2; try a lower rate than 0\.1"):
        fit([weight], lambda step: weight.sum() * (float("nan") if step == 2 else 1), 10, 0.1)
    for steps, lr in ((0, 0.1), (5, 0.0), (5, float("nan"))):
        with pytest.raises(ValueError, match=f"not {steps} steps and lr = {lr}"):
            fit([weight], lambda _: weight.sum(), steps, lr)
