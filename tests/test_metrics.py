"""Intervals and correlations equal those of SciPy, and impossible input is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from memcourse import metrics


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_share_is_wilsons_interval(right_of):
    right, n = right_of
    wanted = stats.binomtest(right, n).proportion_ci(0.95, method="wilson")
    assert metrics.share(right, n).interval == pytest.approx((wanted.low, wanted.high), abs=1e-9)


@pytest.mark.parametrize(("right", "n"), [(0, 0), (-1, 3), (4, 3)])
def test_share_refuses(right, n):
    with pytest.raises(ValueError, match="n >= 1"):
        metrics.share(right, n)


@given(st.floats(0.005, 0.5), st.floats(0.05, 0.95))
def test_questions_needed_is_the_smallest_number(half, p):
    n = metrics.questions_needed(half, p)
    width = lambda m: metrics.Z95 * np.sqrt(p * (1 - p) / m)  # noqa: E731
    assert width(n) <= half * (1 + 1e-6)
    assert n == 1 or width(n - 1) > half * (1 - 1e-6)


def test_bootstrap_agrees_with_scipy():
    sample = np.random.default_rng(1).normal(2, 3, 80)
    mine = metrics.bootstrap(sample, seed=3, resamples=4000)
    theirs = stats.bootstrap((sample,), np.mean, method="percentile", n_resamples=4000, rng=7).confidence_interval
    assert mine.value == pytest.approx(sample.mean())
    assert mine.interval == pytest.approx((theirs.low, theirs.high), abs=0.08)
    assert mine.n == 80


def test_bootstrap_pairs_its_samples_and_is_seeded():
    x = np.arange(30.0)
    kept = metrics.bootstrap(x, x**2, statistic=metrics.rank_correlation, seed=5)
    assert kept.interval == pytest.approx((1.0, 1.0))
    assert metrics.bootstrap(x, seed=5) == metrics.bootstrap(x, seed=5) != metrics.bootstrap(x, seed=6)


@pytest.mark.parametrize("samples", [(), ([],), ([1.0], [1.0, 2.0]), ([float("nan"), 1.0],)])
def test_bootstrap_refuses(samples):
    with pytest.raises(ValueError, match="Bootstrap needs"):
        metrics.bootstrap(*samples)


def test_accuracy_counts_the_highest_score():
    assert metrics.accuracy([[0.1, 0.9], [3, 2]], [1, 1]).value == 0.5
    with pytest.raises(ValueError, match="1 rows of scores but 2"):
        metrics.accuracy([[1.0]], [0, 0])


def test_auc_equals_that_of_scikit_learn():
    from sklearn.metrics import roc_auc_score

    draw = np.random.default_rng(2)
    scores, positive = draw.integers(0, 5, 60), draw.random(60) < 0.4
    assert metrics.auc(scores, positive) == pytest.approx(roc_auc_score(positive, scores))
    assert np.isnan(metrics.auc([1, 2], [True, True]))


def test_share_is_exact_at_its_ends():
    assert metrics.share(0, 64).low == 0 and metrics.share(64, 64).high == 1


def test_means_takes_each_row():
    rows = metrics.means([[1, 1, 1], [0, 1, 2]])
    assert [row.value for row in rows] == [1, 1] and rows[0].low == rows[0].high == 1
