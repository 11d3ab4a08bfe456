"""The vector index finds what NumPy finds, and options and trainings that FAISS would let pass are refused in a sentence."""

from __future__ import annotations

import importlib
import sys

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memcourse.retrieval import index_kinds
from memcourse.retrieval.index import VectorIndex

from .index_support import EXACT, KINDS, TRAINED, made, some_vectors, unit


def check_against_brute_force(index, vectors, ids, queries, k):
    """Each hit has the score that NumPy gives to its id, best first, and the scores are the k best of all."""
    if index.metric == "cosine":
        queries, vectors = unit(queries), unit(vectors)
    scores = queries.astype(np.float64) @ vectors.astype(np.float64).T
    place = {int(number): i for i, number in enumerate(ids)}
    lengths = [np.linalg.norm(rows, axis=1).max(initial=0) for rows in (queries, vectors)]
    tolerance = 1e-5 * max(1.0, lengths[0] * lengths[1])  # rounding goes with the terms, which may cancel
    for hits, row in zip(index.search(queries, k), scores, strict=True):
        assert hits.ids.dtype == np.int64 and hits.scores.dtype == np.float32
        assert len(hits) == len(hits.ids) == len(hits.scores) == min(k, len(vectors))
        assert len(set(hits.ids.tolist())) == len(hits)
        np.testing.assert_allclose(hits.scores, [row[place[number]] for number in hits.ids.tolist()], atol=tolerance)
        np.testing.assert_allclose(hits.scores, np.sort(row)[::-1][: len(hits)], atol=tolerance)
        assert (np.diff(hits.scores) <= 0).all()


@settings(deadline=None, max_examples=100)
@given(
    st.integers(1, 20), st.integers(0, 40), st.integers(1, 25), st.integers(1, 60), st.sampled_from(["cosine", "dot"]),
    st.integers(0, 2**32), st.sampled_from([1e-20, 1.0, 1e6]),
)  # fmt: skip
def test_a_flat_index_finds_what_brute_force_finds(dim, n, n_queries, k, metric, seed, scale):
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-2, 3, (n, dim)).astype(np.float32) * np.float32(scale)  # ties, and rows of zeros
    queries = rng.standard_normal((n_queries, dim)).astype(np.float32)
    ids = rng.choice(10 * n + 1, n, replace=False)
    index = VectorIndex(dim, metric=metric)
    index.add(vectors, ids)
    check_against_brute_force(index, vectors, ids, queries, k)


@pytest.mark.parametrize("metric", ["cosine", "dot"])
@pytest.mark.parametrize("kind", EXACT)
def test_the_other_kinds_find_the_same_where_they_search_everything(kind, metric):
    vectors, ids = some_vectors(400), np.random.default_rng(1).permutation(400) * 5
    index = made(kind, vectors, ids, metric=metric, **({"ef_search": 400} if kind == "hnsw" else {}))
    for n_queries in (1, 19, 20, 33):  # FAISS computes twenty and more together in another way
        check_against_brute_force(index, vectors, ids, some_vectors(n_queries, seed=2), 10)


@pytest.mark.parametrize("kind", ["pq", "ivfpq"])
def test_codes_find_approximately_the_same_and_score_what_they_store(kind):
    vectors = some_vectors(640)
    vectors = vectors[:20].repeat(32, axis=0) + 0.1 * vectors
    index = made(kind, vectors)
    hits = index.search(vectors[::32], 10)
    assert all(i * 32 <= number < (i + 1) * 32 for i, found in enumerate(hits) for number in found.ids)
    by_hand = [unit(vectors[i * 32][None]) @ index.get(found.ids).T for i, found in enumerate(hits)]
    np.testing.assert_allclose([found.scores for found in hits], np.clip(np.concatenate(by_hand), -1, 1), atol=1e-4)
    assert index.nbytes < made("flat", vectors).nbytes / 2


def test_o26_there_are_never_more_hits_than_vectors():
    for kind in ("flat", "hnsw"):
        (hits,) = made(kind, some_vectors(3)).search(some_vectors(1, seed=1), 10)
        assert sorted(hits.ids) == [0, 1, 2] and (np.abs(hits.scores) <= 1).all()


def test_o26_one_list_searched_gives_fewer_hits_and_no_minus_one():
    index = made("ivf", some_vectors(), nprobe=1)
    found = index.search(some_vectors(30, seed=1), 700)
    assert all(0 < len(hits) < 700 and hits.ids.min() >= 0 and np.abs(hits.scores).max() <= 1 for hits in found)
    index.tune(nprobe=8)
    assert all(sorted(hits.ids) == list(range(700)) for hits in index.search(some_vectors(30, seed=1), 700))


@pytest.mark.parametrize("kind", KINDS)
def test_o27_an_empty_index_finds_nothing_for_any_number_of_queries(kind):
    index = VectorIndex(16, kind, **KINDS[kind])
    for n in (1, 32):
        found = index.search(some_vectors(n))
        assert [hits.ids.shape + hits.scores.shape for hits in found] == [(0, 0)] * n
    assert index.search([]) == [] and index.search(np.zeros((0, 16))) == [] and index.add([]).shape == (0,)
    assert made(kind, some_vectors()).search([]) == []


def test_an_index_from_which_all_was_removed_is_empty_and_can_be_filled_again():
    for kind in ("flat", *TRAINED):
        index = made(kind, some_vectors())
        assert index.remove(range(700)) == 700 and len(index) == 0
        assert [len(hits) for hits in index.search(some_vectors(32))] == [0] * 32
        assert index.add(some_vectors(1)).tolist() == [700] and index.search(some_vectors(1))[0].ids.tolist() == [700]


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("ivf", {"nprobs": 8}, "'ivf' has no option 'nprobs'; it has nlist and nprobe"),
        ("hnsw", {"nprobe": 8}, "'hnsw' has no option 'nprobe'; it has m, ef_construction and ef_search"),
        ("pq", {"nlist": 8}, "it has m and bits"),
        ("flat", {"m": 8}, "'flat' has no option 'm'; it has none"),
        ("ivf", {"nprobe": 0}, "nprobe is 1 or more; 0 is out of range"),
        ("pq", {"bits": 9}, "bits is 1 or more, up to 8; 9 is out of range"),
        ("hnsw", {"m": 1}, "m is 2 or more"),
        ("pq", {"m": 5}, "m = 5 parts of the same length can't be cut from 16 numbers; 4 can"),
        ("tree", {}, "no kind 'tree' of index; there are flat, ivf, hnsw, pq and ivfpq"),
        ("flat", {"metric": "l2"}, "no metric 'l2'; there are cosine and dot"),
    ],
)
def test_o28_an_unknown_or_impossible_option_is_refused(kind, options, words):
    with pytest.raises(ValueError, match=words):
        VectorIndex(16, kind, **options)


def test_o28_the_options_in_effect_are_those_of_faiss():
    assert VectorIndex(16, "ivf").options == {"nlist": None, "nprobe": 8}
    assert made("ivf", some_vectors(), nlist=None, nprobe=100).options == {"nlist": 17, "nprobe": 17}
    assert VectorIndex(16, "ivf", nlist=4, nprobe=3).options == {"nlist": 4, "nprobe": 3}
    assert VectorIndex(384, "pq").options == {"m": 48, "bits": 8} and VectorIndex(7, "pq").options["m"] == 1
    index = VectorIndex(16, "hnsw", m=8, ef_construction=np.int32(50))
    assert index.options == {"m": 8, "ef_construction": 50, "ef_search": 64}
    index.tune(ef_search=90)
    assert index.options["ef_search"] == 90 == faiss.downcast_index(index._faiss.index).hnsw.efSearch
    assert "kind='hnsw', metric='cosine', embedder=None, m=8, ef_construction=50, ef_search=90, 0 vectors" in repr(index)


def test_o28_only_options_of_the_search_can_be_tuned():
    for kind, options, words in [
        ("ivf", {"nlist": 4}, "'ivf' has no option 'nlist' that can be changed later; it has nprobe"),
        ("ivf", {"nprobs": 4}, "it has nprobe"),
        ("hnsw", {"m": 4}, "it has ef_search"),
        ("pq", {"bits": 4}, "it has none"),
    ]:
        with pytest.raises(ValueError, match=words):
            VectorIndex(16, kind).tune(**options)
    for value in (True, 2.0, "8", None):
        with pytest.raises(TypeError, match="nprobe is a whole number, not"):
            VectorIndex(16, "ivf").tune(nprobe=value)


def test_what_is_tuned_before_the_training_holds_after_it():
    index = VectorIndex(16, "ivf")
    index.tune(nprobe=3)
    index.add(some_vectors())
    assert index.options == {"nlist": 17, "nprobe": 3}


@pytest.mark.parametrize(
    ("kind", "options", "n", "words"),
    [
        (
            "ivf",
            {"nlist": 100},
            100,
            "nlist=100 takes at least 3900 vectors .* there are 100; choose nlist=2 or kind 'flat'",
        ),
        ("ivf", {"nlist": 100}, 20, "there are 20; choose kind 'flat'"),
        ("ivf", {}, 38, "nlist=1 takes at least 39 vectors .* there are 38; choose kind 'flat'"),
        ("pq", {}, 111, "bits=8 takes at least 9984 vectors .* for each of 256 centres.* are 111; choose bits=1 or"),
        ("pq", {"bits": 4}, 623, "bits=4 takes at least 624 vectors .* choose bits=3 or kind 'flat'"),
        ("ivfpq", {"nlist": 2}, 111, "bits=8 takes at least 9984"),
        ("ivfpq", {"nlist": 4, "bits": 1}, 111, "nlist=4 takes at least 156 .* choose nlist=2"),
    ],
)
def test_o29_too_few_vectors_for_the_training_are_refused_and_nothing_is_added(kind, options, n, words, capfd):
    index = VectorIndex(16, kind, **options)
    for learn in (index.add, index.train):
        with pytest.raises(ValueError, match=words):
            learn(some_vectors(n))
    assert len(index) == 0 and index.add(some_vectors(10_000)).tolist() == list(range(10_000))
    assert capfd.readouterr() == ("", "")  # FAISS warns on the process's own error output


@pytest.mark.parametrize(("kind", "options", "n"), [("ivf", {}, 39), ("ivf", {"nlist": 2}, 78), ("pq", {"bits": 4}, 624)])
def test_o29_the_safe_values_are_enough_and_draw_no_warning(kind, options, n, capfd):
    index = VectorIndex(16, kind, **options)
    index.add(some_vectors(n))
    assert len(index) == n
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", TRAINED)
def test_training_apart_from_adding_and_training_twice_alike(kind):
    index = VectorIndex(16, kind, **KINDS[kind])
    index.train(some_vectors())
    assert len(index) == 0
    index.add(some_vectors(1, seed=3))  # after the training, any number will do
    assert len(index.search(some_vectors(1, seed=3))[0]) == 1
    with pytest.raises(ValueError, match="trained already"):
        index.train(some_vectors())
    one, two = (made(kind, some_vectors()) for _ in range(2))
    np.testing.assert_array_equal(faiss.serialize_index(one._faiss), faiss.serialize_index(two._faiss))


def test_flat_and_hnsw_need_no_training():
    for kind in ("flat", "hnsw"):
        index = VectorIndex(16, kind)
        index.train(some_vectors(5))
        index.add(some_vectors(5))
        index.train(some_vectors(5))
        assert len(index) == 5


def test_the_number_of_hits_is_a_whole_number_from_one_on():
    index = made("flat", some_vectors(5))
    with pytest.raises(ValueError, match="k is 1 or more, not 0"):
        index.search(some_vectors(1), 0)
    for k in (2.0, True, None):
        with pytest.raises(TypeError, match="k is a whole number"):
            index.search(some_vectors(1), k)


def test_o01_faiss_runs_on_one_thread_where_two_openmps_could_meet(monkeypatch):
    for platform, wanted in [("darwin", [1]), ("linux", []), ("win32", [])]:
        called = []
        monkeypatch.setattr(faiss, "omp_set_num_threads", called.append)
        monkeypatch.setattr(sys, "platform", platform)
        importlib.reload(index_kinds)
        assert called == wanted
