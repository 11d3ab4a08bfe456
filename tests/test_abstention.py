"""Answer or abstain: risk, coverage, the area and the threshold have the values worked out by hand, also with ties."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_curve

from memcourse.retrieval import area_under_risk_coverage, risk_coverage, threshold_for

# five answers, surest first: right, right, wrong, right, wrong
CONFIDENCE, RIGHT = [0.9, 0.8, 0.7, 0.6, 0.5], [True, True, False, True, False]

# few different confidences, so that ties are common; eighths are exact in binary
graded = st.lists(st.tuples(st.integers(-8, 8).map(lambda i: i / 8), st.booleans()), min_size=1, max_size=30)


def columns(rows):
    return [c for c, _ in rows], [r for _, r in rows]


def test_coverage_and_risk_by_hand():
    coverage, risk = risk_coverage(CONFIDENCE, RIGHT)
    assert coverage == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0]) and risk == pytest.approx([0, 0, 1 / 3, 1 / 4, 2 / 5])


def test_the_order_of_the_questions_says_nothing():
    order = [3, 0, 4, 2, 1]
    shuffled = [CONFIDENCE[i] for i in order], [RIGHT[i] for i in order]
    assert all((a == b).all() for a, b in zip(risk_coverage(*shuffled), risk_coverage(CONFIDENCE, RIGHT), strict=True))
    assert area_under_risk_coverage(*shuffled) == area_under_risk_coverage(CONFIDENCE, RIGHT)


def test_equal_confidences_are_answered_together():
    coverage, risk = risk_coverage([2, 1, 2, 1, 1], [1, 0, 0, 1, 1])
    assert coverage == pytest.approx([0.4, 1.0]) and risk == pytest.approx([0.5, 0.4])


@given(graded.filter(lambda rows: any(r for _, r in rows)))
def test_one_minus_risk_is_the_precision_of_scikit_learn(rows):
    confidence, right = columns(rows)
    coverage, risk = risk_coverage(confidence, right)
    precision, _, thresholds = precision_recall_curve(right, confidence)
    assert risk == pytest.approx(1 - precision[:-1][::-1])
    assert coverage == pytest.approx([np.mean(np.asarray(confidence) >= t) for t in thresholds[::-1]])


@given(graded)
def test_the_last_point_answers_everything(rows):
    confidence, right = columns(rows)
    coverage, risk = risk_coverage(confidence, right)
    assert len(coverage) == len(risk) == len(set(confidence))
    assert (np.diff(coverage) > 0).all() and coverage[-1] == 1 and risk[-1] == pytest.approx(1 - np.mean(right))
    assert ((risk >= 0) & (risk <= 1)).all()


def test_the_area_by_hand():
    assert area_under_risk_coverage(CONFIDENCE, RIGHT) == pytest.approx((0 + 0 + 1 / 3 + 1 / 4 + 2 / 5) / 5)
    # two wrong of four: all right ones first, all wrong ones first, and a confidence that says nothing
    right = [1, 1, 0, 0]
    assert area_under_risk_coverage([4, 3, 2, 1], right) == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)
    assert area_under_risk_coverage([1, 2, 3, 4], right) == pytest.approx((1 + 1 + 2 / 3 + 1 / 2) / 4)
    assert area_under_risk_coverage([7, 7, 7, 7], right) == pytest.approx(1 / 2)


def test_nothing_wrong_has_no_risk_and_nothing_right_has_only_risk():
    assert area_under_risk_coverage([1, 2, 2], [1, 1, 1]) == 0 and area_under_risk_coverage([1, 2, 2], [0, 0, 0]) == 1


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=6))
def test_the_area_with_ties_is_the_mean_over_all_their_orders(rows):
    risks = []
    for order in permutations(rows):
        wrong = [not right for _, right in sorted(order, key=lambda row: -row[0])]
        risks.append(np.mean(np.cumsum(wrong) / np.arange(1, len(rows) + 1)))
    assert area_under_risk_coverage(*columns(rows)) == pytest.approx(np.mean(risks))


@given(graded)
def test_the_area_lies_between_the_best_order_and_the_worst(rows):
    confidence, right = columns(rows)
    best, worst = area_under_risk_coverage(right, right), area_under_risk_coverage(np.asarray(right) * -1, right)
    assert best - 1e-12 <= area_under_risk_coverage(confidence, right) <= worst + 1e-12


def test_the_threshold_by_hand():
    assert threshold_for(CONFIDENCE, RIGHT, 0) == 0.8
    # the risk falls again at 0.6: the lowest threshold counts, not the first that fails
    assert threshold_for(CONFIDENCE, RIGHT, 0.3) == 0.6
    assert threshold_for(CONFIDENCE, RIGHT, 0.4) == 0.5
    assert threshold_for([0.9, 0.8], [False, True], 0.4) is None
    assert threshold_for([0.5, 0.5], [True, False], 0.4) is None, "ties can't be told apart"


def test_the_threshold_forgives_rounding():
    assert threshold_for(range(10), [0] + [1] * 9, 1 - 0.9) == 0


@given(graded, st.floats(0, 1))
def test_the_threshold_keeps_the_risk_and_no_lower_one_does(rows, risk):
    confidence, right = (np.asarray(column, dtype=float) for column in columns(rows))
    found = threshold_for(confidence, right, risk)
    for threshold in np.unique(confidence):
        keeps = 1 - right[confidence >= threshold].mean() <= risk + 1e-9
        if found is None or threshold < found:
            assert not keeps or 1 - right[confidence >= threshold].mean() > risk
        if threshold == found:
            assert keeps


def test_certainty_and_its_opposite_have_a_place():
    coverage, risk = risk_coverage([-math.inf, 0.5, math.inf], [0, 1, 1])
    assert len(coverage) == 3 and risk == pytest.approx([0, 0, 1 / 3])
    assert threshold_for([-math.inf, 0.5, math.inf], [0, 1, 1], 0) == 0.5


@pytest.mark.parametrize("function", [risk_coverage, area_under_risk_coverage, lambda c, r: threshold_for(c, r, 0.1)])
@pytest.mark.parametrize(
    ("confidence", "right", "message"),
    [
        ([], [], r"at least one answer; not shapes \(0,\) and \(0,\)"),
        ([0.1, 0.2], [1], r"shapes \(2,\) and \(1,\)"),
        ([[0.1]], [[1]], r"shapes \(1, 1\)"),
        ([0.1, math.nan], [1, 0], "Confidence 1 is NaN"),
        ([0.1, 0.2], [1, 0.4], "but 0.4 at 1"),
        ([0.1, 0.2], [math.nan, 0], "but nan at 0"),
    ],
)
def test_bad_input_gets_a_sentence(function, confidence, right, message):
    with pytest.raises(ValueError, match=message):
        function(confidence, right)


@pytest.mark.parametrize("risk", [-0.1, 1.1, math.nan])
def test_a_risk_is_a_share(risk):
    with pytest.raises(ValueError, match=f"from 0 to 1, not {risk}"):
        threshold_for(CONFIDENCE, RIGHT, risk)
