"""The ROC curve and the threshold chosen on it equal those of scikit-learn, and say what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memcourse import metrics

# few different scores, so that ties are common; some of both kinds
LABELLED = (
    st.lists(st.tuples(st.integers(-4, 4).map(float), st.booleans()), min_size=2, max_size=40)
    .filter(lambda rows: len({label for _, label in rows}) == 2)
    .map(lambda rows: ([score for score, _ in rows], [label for _, label in rows]))
)


@settings(deadline=None)  # the first call imports scikit-learn
@given(LABELLED)
def test_roc_is_that_of_scikit_learn(labelled):
    from sklearn.metrics import roc_curve

    scores, positive = labelled
    wrong, right, thresholds = roc_curve(positive, scores, drop_intermediate=False)
    mine = metrics.roc(scores, positive)
    # theirs begins with a threshold of infinity, which nothing reaches
    for got, wanted in zip(mine, (thresholds[1:], right[1:], wrong[1:]), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-12)


@given(LABELLED)
def test_shares_rise_to_1_as_the_threshold_falls_and_their_area_is_auc(labelled):
    thresholds, right, wrong = metrics.roc(*labelled)
    assert (np.diff(thresholds) < 0).all() and (np.diff(right) >= 0).all() and (np.diff(wrong) >= 0).all()
    assert right[-1] == wrong[-1] == 1
    area = np.trapezoid([0, *right], [0, *wrong])
    assert area == pytest.approx(metrics.auc(*labelled))


@given(LABELLED)
def test_no_threshold_separates_better_than_the_best_and_no_higher_one_as_well(labelled):
    scores, positive = np.array(labelled[0]), np.array(labelled[1])
    best = metrics.best_threshold(*labelled)

    def gain(threshold):
        return (scores[positive] >= threshold).mean() - (scores[~positive] >= threshold).mean()

    assert best in scores
    assert all(gain(best) >= gain(other) - 1e-12 for other in scores)
    assert [other for other in scores if other > best and gain(other) > gain(best) - 1e-12] == []


def test_a_threshold_by_hand():
    scores, positive = [0.9, 0.8, 0.8, 0.4, 0.3, 0.1], [1, 1, 0, 1, 0, 0]
    thresholds, right, wrong = metrics.roc(scores, positive)
    assert thresholds.tolist() == [0.9, 0.8, 0.4, 0.3, 0.1]
    np.testing.assert_allclose(right, [1 / 3, 2 / 3, 1, 1, 1])
    np.testing.assert_allclose(wrong, [0, 1 / 3, 1 / 3, 2 / 3, 1])
    assert metrics.best_threshold(scores, positive) == 0.4
    assert metrics.best_threshold([3, 2, 1, 0], [1, 1, 0, 0]) == 2
    # 1/3 of the positives and no negative is as good as all positives and 2/3 of the negatives
    assert metrics.best_threshold([6, 5, 4, 3, 2, 1], [1, 0, 0, 1, 1, 0]) == 6
    assert metrics.best_threshold([1, 2], [1, 0]) == 1  # upside down: all or nothing is best


@pytest.mark.parametrize(
    ("scores", "positive", "message"),
    [
        ([], [], "0 scores"),
        ([1.0, 2.0], [True, True], "2 positives and 0 negatives"),
        ([1.0, 2.0], [False, False], "0 positives and 2 negatives"),
        ([1.0, 2.0, 3.0], [True, False], r"3 scores \(0 of them NaN\) for 1 positives and 1 negatives"),
        ([1.0, float("nan")], [True, False], "1 of them NaN"),
    ],
)
@pytest.mark.parametrize("measure", [metrics.roc, metrics.best_threshold])
def test_roc_refuses(measure, scores, positive, message):
    with pytest.raises(ValueError, match=message):
        measure(scores, positive)
