"""What few numbers can and can't say: known cases by hand, four dimensions by construction, and LIMIT in small."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memcourse.retrieval import dimension
from memcourse.retrieval.dimension import critical_n, free_vectors, limit_recall, limit_set, on_a_curve, solved

QUICK = {"steps": 300, "restarts": 2}
THINGS = ["kites", "plums", "stamps", "ferns", "chess", "ponds", "drums", "snow", "wool", "bells", "figs", "moths"]
NAMES = ["Ada", "Bo", "Cy", "Di"]


def share_solved(n: int, dtype: torch.dtype) -> float:
    documents, questions = on_a_curve(n)
    return solved(torch.tensor(questions).to(dtype), torch.tensor(documents).to(dtype)).item()


def test_solved_by_hand():
    documents = torch.eye(3)
    questions = torch.tensor([[1.0, 1, 0], [1, 0, 1], [0, 1, 1]])  # pairs (0, 1), (0, 2), (1, 2)
    assert solved(questions, documents) == 1
    assert solved(questions.flip(0), documents) == pytest.approx(1 / 3)  # (0, 2) alone is still in its place
    assert solved(torch.tensor([[2.0, 1, 0], [1, 0, 0], [1, 1, 1]]), documents) == pytest.approx(1 / 3)  # ties don't count
    both = solved(torch.stack([questions, -questions]), documents.expand(2, 3, 3))
    assert both.tolist() == [1, 0]


@given(st.integers(0, 1000), st.integers(3, 7), st.integers(1, 4))
def test_solved_counts_the_pairs_that_are_the_two_best(seed, n, d):
    draw = torch.Generator().manual_seed(seed)
    pairs = list(combinations(range(n), 2))
    questions, documents = torch.randn(len(pairs), d, generator=draw), torch.randn(n, d, generator=draw)
    best = (questions @ documents.T).topk(2).indices.sort(-1).values.tolist()
    assert solved(questions, documents) == pytest.approx(np.mean([tuple(b) == p for b, p in zip(best, pairs, strict=True)]))


@given(st.integers(3, 60))
@settings(deadline=None, max_examples=58)
def test_four_dimensions_hold_any_number_of_documents_in_double_precision(n):
    documents, questions = on_a_curve(n)
    assert documents.shape == (n, 4) and questions.shape == (n * (n - 1) // 2, 4)
    assert documents.dtype == questions.dtype == np.float64
    np.testing.assert_allclose(np.linalg.norm(documents, axis=1), 1)
    np.testing.assert_allclose(np.linalg.norm(questions, axis=1), 1)
    assert share_solved(n, torch.float64) == 1


def test_what_is_gained_by_construction_is_lost_in_half_precision():
    assert share_solved(10, torch.float16) == 1 > share_solved(60, torch.float16) > share_solved(150, torch.float16)
    assert share_solved(60, torch.float32) == 1


def test_the_gap_to_the_third_document_shrinks_with_the_fourth_power():
    gaps = []
    for n in (40, 80):
        documents, questions = on_a_curve(n)
        scores = np.sort(questions @ documents.T, axis=1)
        gaps.append((scores[:, -2] - scores[:, -3]).min())
    assert gaps[0] / gaps[1] == pytest.approx(16, rel=0.05)


def test_fewer_than_three_documents_are_refused():
    for n in (2, 0):
        with pytest.raises(ValueError, match=f"At least 3 documents are needed, not {n}"):
            on_a_curve(n)
    for n, d in ((2, 3), (4, 0)):
        with pytest.raises(ValueError, match=f"at least 3 documents and 1 dimension, not n = {n} and d = {d}"):
            free_vectors(n, d)


def test_free_vectors_find_what_there_is():
    assert free_vectors(4, 3, **QUICK) == 1  # the corners of a tetrahedron
    assert free_vectors(3, 2, **QUICK) == 1
    assert free_vectors(4, 3, **QUICK, seed=1) == free_vectors(4, 3, **QUICK, seed=1)


@pytest.mark.parametrize("n", [4, 5, 6])
def test_on_a_circle_only_neighbours_can_be_returned(n):
    """The two nearest to any direction stand side by side, so at most n of the n (n - 1) / 2 pairs are found."""
    most = n / (n * (n - 1) / 2)
    assert 0.3 * most < free_vectors(n, 2, **QUICK) <= most + 1e-6 < 1


def test_critical_n_never_falls_and_begins_with_what_one_dimension_can_do():
    found = critical_n([3, 1, 2], steps=300)
    # on a line only two documents can be told from all others: of three, two share an end
    assert found == [(1, 2), (2, 3), (3, 4)] and found[0].d == 1 and found[0].n == 2


def test_critical_n_keeps_the_n_of_the_dimension_before(monkeypatch):
    asked = []

    def solves(n, d, **settings):
        asked.append((n, d, settings["temperature"], settings["seed"]))
        return 1.0 if n <= {2: 5, 3: 4, 4: 6}[d] else 0.9

    monkeypatch.setattr(dimension, "free_vectors", solves)
    told = []
    found = critical_n([4, 2, 3], temperature=0.3, seed=7, progress=lambda *at: told.append(at))
    assert found == [(2, 5), (3, 5), (4, 6)] and told == [(1, 3), (2, 3), (3, 3)]
    assert [(n, d) for n, d, *_ in asked] == [(3, 2), (4, 2), (5, 2), (6, 2), (6, 3), (6, 4), (7, 4)]
    assert {(temperature, seed) for *_, temperature, seed in asked} == {(0.3, 7)}
    labels = []
    curves = dimension.critical_curves({0.1: [2, 3], 1.0: [4]}, label=labels.append)
    assert {key: rows.tolist() for key, rows in curves.items()} == {
        "temperature 0.1": [[2, 5], [3, 5]],
        "temperature 1.0": [[4, 6]],
    }
    assert labels == ["temperature 0.1", "temperature 1.0"] and asked[-1][2] == 1.0


def test_the_published_fit_extrapolates_as_the_paper_says():
    """The paper names 500 thousand documents at d = 512, 1.7 million at 768, 4 million at 1024."""
    for d, documents in ((512, 0.5e6), (768, 1.7e6), (1024, 4e6)):
        assert dimension.published_fit(d) == pytest.approx(documents, rel=0.08)


@given(st.integers(2, 6), st.integers(0, 3), st.integers(0, 1000))
def test_each_thing_is_liked_by_exactly_two_and_every_pair_is_asked_for_once(n, surplus, seed):
    names = [f"Name{i}" for i in range(n)]
    vocabulary = [f"thing{i:02}" for i in range(n * (n - 1) // 2 + surplus)]
    texts, questions, gold = limit_set(vocabulary, names, seed)
    assert sorted(map(tuple, gold)) == list(combinations(range(n), 2)) and len(questions) == len(set(questions)) == len(gold)
    for question, pair in zip(questions, gold, strict=True):
        thing = question.removeprefix("Who likes ").removesuffix("?")
        assert thing in vocabulary
        assert [i for i, text in enumerate(texts) if thing in text] == pair
    for name, text in zip(names, texts, strict=True):
        assert text.startswith(f"{name} likes ") and text.count("thing") == n - 1 and text.endswith(".")


def test_limit_set_is_drawn_by_its_seed():
    assert limit_set(THINGS, NAMES, 1) == limit_set(THINGS, NAMES, 1) != limit_set(THINGS, NAMES, 2)


@pytest.mark.parametrize(
    ("things", "names"), [(THINGS[:5], NAMES), ([*THINGS[:6], "kites"], NAMES), (THINGS, ["Ada", "Bo", "Cy", "Ada"])]
)
def test_limit_set_refuses_too_few_things_and_anything_twice(things, names):
    with pytest.raises(ValueError, match="4 different names need 6 different things"):
        limit_set(things, names)


def test_words_find_both_documents_where_vectors_need_not():
    def blind(texts):
        return np.ones((len(texts), 1))

    found = limit_recall(blind, THINGS, NAMES, [1, 2, 4])
    assert found["words"].shape == found["vectors"].shape == (3, 6)
    np.testing.assert_array_equal(found["words"][0], 0.5)  # one document is at most half of two
    np.testing.assert_array_equal(found["words"][1:], 1)
    # with nothing to tell them apart the first two documents always come first
    assert sorted(found["vectors"][1]) == [0, 0.5, 0.5, 0.5, 0.5, 1] and (found["vectors"][2] == 1).all()


def test_recall_of_vectors_uses_the_encoder():
    def things_only(some):
        return np.array([[float(thing in text) for thing in THINGS] for text in some])

    assert (limit_recall(things_only, THINGS, NAMES, [2], seed=5)["vectors"] == 1).all()

    def upside_down(some):
        return things_only(some) if some[0].startswith("Who") else -things_only(some)

    assert (limit_recall(upside_down, THINGS, NAMES, [2], seed=5)["vectors"] == 0).all()
