"""Ranking metrics: values worked by hand, their promises for any ranking, and scikit-learn's nDCG."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memcourse import metrics

# some graded items, often equal, at least one relevant; the ranking may lack some and have others
GRADES = st.dictionaries(st.integers(0, 9), st.sampled_from([0, 0, 1, 2, 3]) | st.floats(0, 1e3), min_size=1).filter(
    lambda grades: any(grades.values())
)
RANKED = st.permutations(range(12)).flatmap(lambda items: st.integers(0, 12).map(lambda n: items[:n]))
K = st.integers(1, 14)


def relevant_of(grades):
    return {item for item, grade in grades.items() if grade > 0}


def all_three(ranked, grades, k):
    relevant = relevant_of(grades)
    return np.array(
        [
            metrics.recall_at(ranked, relevant, k),
            metrics.reciprocal_rank(ranked, relevant),
            metrics.ndcg(ranked, grades, k),
        ]
    )


@pytest.mark.parametrize(("k", "share"), [(1, 0), (2, 1 / 3), (3, 1 / 3), (4, 2 / 3), (9, 2 / 3)])
def test_recall_by_hand(k, share):
    assert metrics.recall_at(["x", "a", "y", "b"], {"a", "b", "c"}, k) == pytest.approx(share)


@pytest.mark.parametrize(("ranked", "value"), [("abx", 1), ("xab", 1 / 2), ("xyzb", 1 / 4), ("xyz", 0), ("", 0)])
def test_reciprocal_rank_by_hand(ranked, value):
    assert metrics.reciprocal_rank(list(ranked), ["a", "b"]) == pytest.approx(value)


@pytest.mark.parametrize(
    ("ranked", "k", "value"),
    [
        # gains 0, 3, 1 at the discounts 1, log2 3, 2; at best 3, 2, 1
        ("xac", 3, (3 / np.log2(3) + 1 / 2) / (3 + 2 / np.log2(3) + 1 / 2)),
        ("xac", 2, (3 / np.log2(3)) / (3 + 2 / np.log2(3))),
        ("xac", 1, 0),
        ("b", 1, 2 / 3),  # linear: with gains of 2^grade - 1 it would be 3 / 7
        ("a", 10, 3 / (3 + 2 / np.log2(3) + 1 / 2)),  # one item for k = 10: what it lacks counts
        ("abc", 3, 1),
        ("0abc", 3, (3 / np.log2(3) + 2 / 2) / (3 + 2 / np.log2(3) + 1 / 2)),
        ("", 3, 0),
    ],
)
def test_ndcg_by_hand(ranked, k, value):
    assert metrics.ndcg(list(ranked), {"a": 3, "b": 2, "c": 1, "0": 0}, k) == pytest.approx(value)


@given(RANKED, GRADES, K)
def test_all_lie_between_0_and_1(ranked, grades, k):
    values = all_three(ranked, grades, k)
    assert (values >= 0).all() and (values <= 1).all()
    assert (values[1] > 0) == bool(relevant_of(grades) & set(ranked))


@given(RANKED.filter(lambda ranked: len(ranked) > 1), GRADES, K, st.data())
def test_moving_a_relevant_item_up_lowers_none(ranked, grades, k, data):
    old = data.draw(st.integers(1, len(ranked) - 1))
    # above those that are no better: above a better one it may lower nDCG, rightly
    least = old
    while least and grades.get(ranked[least - 1], 0) <= grades.get(ranked[old], 0):
        least -= 1
    new = data.draw(st.integers(least, old))
    moved = [item for item in ranked if item != ranked[old]]
    moved.insert(new, ranked[old])
    assert (all_three(moved, grades, k) >= all_three(ranked, grades, k) - 1e-12).all()


@given(RANKED.filter(lambda ranked: len(ranked) > 1), st.sets(st.integers(0, 9), min_size=1), K, st.data())
def test_with_one_grade_a_relevant_item_may_move_anywhere_up(ranked, relevant, k, data):
    old = data.draw(st.integers(1, len(ranked) - 1))
    moved = [item for item in ranked if item != ranked[old]]
    moved.insert(data.draw(st.integers(0, old)), ranked[old])
    before, after = (all_three(order, dict.fromkeys(relevant, 1), k) for order in (ranked, moved))
    if ranked[old] in relevant:
        assert (after >= before - 1e-12).all()
    else:
        assert (after <= before + 1e-12).all()


@given(GRADES, K)
def test_the_best_order_gives_1(grades, k):
    ideal = sorted(grades, key=lambda item: -grades[item])
    recall, first, gain = all_three(ideal, grades, k)
    assert first == gain == 1 and recall == min(1, k / len(relevant_of(grades)))


@settings(deadline=None)  # the first call imports scikit-learn
@given(st.permutations(range(10)), GRADES, K)
def test_ndcg_is_that_of_scikit_learn(ranked, grades, k):
    from sklearn.metrics import ndcg_score

    gains = [grades.get(item, 0) for item in range(10)]
    scores = [-ranked.index(item) for item in range(10)]
    assert metrics.ndcg(ranked, grades, k) == pytest.approx(ndcg_score([gains], [scores], k=k), abs=1e-9)


@given(RANKED, GRADES, K)
def test_items_without_relevance_may_be_listed_or_not(ranked, grades, k):
    bare = {item: grade for item, grade in grades.items() if grade > 0}
    assert metrics.ndcg(ranked, grades, k) == metrics.ndcg(ranked, bare, k)
    # grades given for the relevant: those of 0 don't count as relevant
    assert metrics.recall_at(ranked, grades, k) == metrics.recall_at(ranked, bare, k)
    assert metrics.reciprocal_rank(ranked, grades) == metrics.reciprocal_rank(ranked, bare)


def test_the_relevant_count_once():
    assert metrics.recall_at([1, 2], [1, 1, 3], 2) == 0.5


def test_ndcg_neither_overflows_nor_is_rounded_above_1():
    large, small = (metrics.ndcg([0, 1], {1: grade, 2: grade}, 2) for grade in (1.5e308, 1))
    assert large == pytest.approx(small) and 0 < small < 1
    nearly_equal = {0: 1.0, 1: 1.0000000000000002, 2: 1.0000000000000004}
    assert metrics.ndcg([2, 0, 1], nearly_equal, 3) <= 1


@pytest.mark.parametrize("kind", [np.array, torch.tensor, tuple])
def test_ids_may_come_in_an_array_or_a_tensor(kind):
    assert metrics.recall_at(kind([5, 3, 4]), {3, 9}, 2) == metrics.recall_at([5, 3, 4], kind([3, 9]), 2) == 0.5
    assert metrics.reciprocal_rank(kind([5, 3, 4]), {3}) == metrics.reciprocal_rank([5, 3, 4], kind([3])) == 0.5
    assert metrics.ndcg(kind([3, 4]), {3: 2.0}, 2) == 1


MEASURES = {
    "recall": lambda ranked, grades, k=3: metrics.recall_at(ranked, grades, k),
    "reciprocal": lambda ranked, grades, k=3: metrics.reciprocal_rank(ranked, grades),
    "ndcg": lambda ranked, grades, k=3: metrics.ndcg(ranked, grades, k),
}
each = pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)


@each
@pytest.mark.parametrize(
    ("ranked", "relevant", "words"),
    [
        ("abc", {"a": 1}, r"not as one string; got 'abc'"),
        (["a"], "abc", r"not as one string; got \['a'\] and 'abc'"),
        (["a"], {}, "At least one item must be relevant .* of 0 none is"),
        (["a"], {"a": 0, "b": 0.0}, "At least one item must be relevant .* of 2 none is"),
        (["a", "b", "a"], {"a": 1}, r"each item once; it has \['a'\] more than once"),
        (torch.tensor([7, 7]), {7: 1}, r"it has \[7\] more than once"),
        (["a"], {"a": 1, "b": -1}, r"finite and not negative, unlike \{'b': -1\}"),
        (["a"], {"a": 1, "b": float("nan")}, r"finite and not negative, unlike \{'b': nan\}"),
        (["a"], {"a": float("inf")}, r"finite and not negative, unlike \{'a': inf\}"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(measure, ranked, relevant, words):
    with pytest.raises(ValueError, match=words) as refused:
        measure(ranked, relevant)
    assert "\n" not in str(refused.value) and str(refused.value).endswith(".")


@pytest.mark.parametrize("k", [0, -1, float("nan")])
@pytest.mark.parametrize("name", ["recall", "ndcg"])
def test_k_below_1_is_refused(name, k):
    with pytest.raises(ValueError, match=f"k must be at least 1, not {k}"):
        MEASURES[name](["a"], {"a": 1}, k)


@each
def test_nothing_relevant_is_refused_for_a_list_too(measure):
    with pytest.raises(ValueError, match="At least one item must be relevant"):
        measure(["a"], [])
