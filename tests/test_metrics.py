"""Intervals and correlations equal those of SciPy, and impossible input is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
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


ANSWERS = st.text("aAthe nN,.42-'é", max_size=12)


@settings(deadline=None)  # the first call imports torchmetrics
@given(ANSWERS, st.lists(ANSWERS, min_size=1, max_size=3))
def test_exact_match_and_f1_are_torchmetrics_squad(answer, golds):
    from torchmetrics.functional.text import squad

    row = {"answers": {"answer_start": [0] * len(golds), "text": golds}, "id": "1"}
    theirs = squad([{"prediction_text": answer, "id": "1"}], [row])
    assert metrics.exact_match(answer, golds) == pytest.approx(theirs["exact_match"].item() / 100)
    assert metrics.token_f1(answer, golds) == pytest.approx(theirs["f1"].item() / 100, abs=1e-6)


@pytest.mark.parametrize(
    ("answer", "f1"), [("the 14 crowns.", 1), ("14", 2 / 3), ("nothing", 0), ("14 crowns for fish", 2 / 3)]
)
def test_f1_by_hand(answer, f1):
    assert metrics.token_f1(answer, ["a fee", "14 crowns"]) == pytest.approx(f1)


@pytest.mark.parametrize("golds", [[], "14 crowns"])
@pytest.mark.parametrize("measure", [metrics.exact_match, metrics.token_f1])
def test_an_answer_needs_gold_answers_in_a_list(measure, golds):
    with pytest.raises(ValueError, match="At least one gold answer"):
        measure("14", golds)


@pytest.mark.parametrize("power", [1, 2, 0.5])
def test_log_slope_is_the_power(power):
    x = [256, 512, 1024, 2048]
    slope = metrics.log_slope(x, [3 * n**power for n in x])
    assert slope.value == pytest.approx(power) and slope.low == pytest.approx(power, abs=1e-6) and slope.n == 4
    noisy = metrics.log_slope(x, [3 * n**power * f for n, f in zip(x, (1.1, 0.9, 1.05, 0.97), strict=True)])
    assert noisy.low < power < noisy.high


@pytest.mark.parametrize(("x", "y"), [([1, 2], [1, 2]), ([1, 2, 3], [1, 2]), ([1, 2, 3], [1, 0, 2])])
def test_log_slope_refuses(x, y):
    with pytest.raises(ValueError, match="three pairs of numbers above 0"):
        metrics.log_slope(x, y)


def test_over_seeds_is_students_interval():
    values = [2.5, 2.7, 2.9]
    wanted = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    got = metrics.over_seeds(values)
    assert got.interval == pytest.approx(wanted) and got.value == pytest.approx(2.7) and got.n == 3
    for bad in ([1.0], [1.0, float("nan")], [[1.0, 2.0], [3.0, 4.0]]):
        with pytest.raises(ValueError, match="at least two finite figures"):
            metrics.over_seeds(bad)
