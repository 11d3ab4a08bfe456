"""Reciprocal rank fusion: agreement wins, and the scale of its scores is what the docstring says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memcourse.retrieval import reciprocal_rank_fusion

rankings = st.lists(
    st.permutations(range(8)).flatmap(lambda r: st.integers(0, 8).map(lambda n: r[:n])), min_size=1, max_size=4
)


def test_scores_follow_the_formula():
    fused = dict(reciprocal_rank_fusion([["a", "b"], ["b", "c"]], k=60))
    assert fused["b"] == pytest.approx((1 / 62 + 1 / 61) / (2 / 61))
    assert fused["a"] == pytest.approx(0.5) and fused["c"] == pytest.approx(61 / 62 / 2)


def test_o45_what_is_first_everywhere_has_1_and_first_once_in_two_has_a_half():
    assert reciprocal_rank_fusion([[7, 1], [7, 2], [7]])[0] == (7, 1.0)
    assert dict(reciprocal_rank_fusion([[7], [8]])) == {7: 0.5, 8: 0.5}


def test_o45_agreement_wins_over_single_first_places():
    found = reciprocal_rank_fusion([["x", "p", "q", "both"], ["y", "r", "s", "both"]])
    assert found[0][0] == "both"
    # with k = 0 a single first place wins, which is why 60 is the default
    assert reciprocal_rank_fusion([["x", "p", "q", "both"], ["y", "r", "s", "both"]], k=0)[0][0] == "x"


@given(rankings, st.sampled_from([0, 1, 60, 1e6]))
def test_everything_once_in_falling_order_between_0_and_1(lists, k):
    fused = reciprocal_rank_fusion(lists, k)
    assert sorted(i for i, _ in fused) == sorted(set().union(*lists))
    scores = [score for _, score in fused]
    assert scores == sorted(scores, reverse=True) and all(0 < score <= 1 + 1e-12 for score in scores)


@given(st.permutations(range(6)))
def test_one_ranking_stays_as_it_is(ranking):
    assert [i for i, _ in reciprocal_rank_fusion([ranking])] == ranking
    assert [i for i, _ in reciprocal_rank_fusion([ranking, ranking, []])] == ranking


def test_equal_scores_keep_the_order_of_the_rankings():
    assert [i for i, _ in reciprocal_rank_fusion([["b"], ["a"]])] == ["b", "a"]


def test_a_weight_decides_whom_to_trust():
    assert reciprocal_rank_fusion([["a", "b"], ["b", "a"]], weights=[1, 3])[0] == (
        "b",
        pytest.approx((1 / 62 + 3 / 61) / (4 / 61)),
    )


def test_numpy_ids_become_plain_ones():
    (first, score), *_ = reciprocal_rank_fusion([np.array([4, 2]), np.array([4])])
    assert type(first) is int and (first, score) == (4, 1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([],), "at least one ranking"),
        (([[1, 2, 1]],), "Ranking 0 holds an id twice"),
        (([[1]], -1), "k = -1"),
        (([[1]], math.nan), "k = nan"),
        (([[1], [2]], 60, [1]), r"weights \[1.0\]"),
        (([[1]], 60, [0]), r"weight above 0"),
    ],
)
def test_bad_input_gets_a_sentence(arguments, message):
    with pytest.raises(ValueError, match=message):
        reciprocal_rank_fusion(*arguments)
