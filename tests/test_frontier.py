"""The experiment on approximate indexes: exact neighbours, generated vectors like real ones, and what is measured."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memcourse import world
from memcourse.retrieval import (
    Point,
    VectorIndex,
    brute_force,
    bytes_on_paper,
    compare_indexes,
    ivf_by_hand,
    kmeans_lists,
    measure,
    more_like,
    pareto,
    people_pairs,
    structure,
    unit,
)  # fmt: skip

points = st.lists(
    st.builds(Point, st.just("ivf"), st.just(""), st.integers(0, 5), st.integers(1, 5), st.just(0.0), st.just(0.0)),
    min_size=1,
)


def clusters(n: int, d: int = 16, centres: int = 12, seed: int = 0) -> np.ndarray:
    """Unit vectors in clusters, as texts on some topics are."""
    rng = np.random.default_rng(seed)
    middle = rng.standard_normal((centres, d))
    return unit(middle[rng.integers(0, centres, n)] + 0.4 * rng.standard_normal((n, d))).astype(np.float32)


@pytest.fixture(scope="module")
def real(embedder):
    kit = world.make_people(100, attributes=8, seed=0)
    return embedder.encode([pair.passage for pair in people_pairs(kit.people, kit)])


@given(st.integers(1, 40), st.integers(0, 600), st.integers(1, 12))
@settings(max_examples=25, deadline=None)
def test_brute_force_is_the_sorted_cosines(n, m, k):
    vectors, queries = clusters(n, seed=1), clusters(m, seed=2)
    found = brute_force(vectors, queries, k)
    assert found.shape == (m, min(k, n))
    for row, query in zip(found, queries, strict=True):
        np.testing.assert_allclose((vectors @ query)[row], np.sort(vectors @ query)[::-1][:k], atol=1e-6)


def test_generated_vectors_resemble_real_ones_and_random_ones_do_not(real):
    made, random = more_like(real, len(real), seed=3), unit(np.random.default_rng(0).standard_normal(real.shape))
    assert made.shape == real.shape and made.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1, atol=1e-5)
    truth, generated, other = (structure(vectors) for vectors in (real, made, random))
    for figure in ("random_cosine", "nearest_cosine", "dimension"):
        off = abs(getattr(generated, figure) - getattr(truth, figure))
        assert off < abs(getattr(other, figure) - getattr(truth, figure)) / 2, figure
    # no copies, and nothing that stands twice
    assert (made @ real.T).max() < 0.9999 and structure(made).nearest_cosine < 0.999


def test_generated_vectors_follow_the_seed(real):
    np.testing.assert_array_equal(more_like(real, 50, seed=1), more_like(real, 50, seed=1))
    assert not np.allclose(more_like(real, 50, seed=1), more_like(real, 50, seed=2))
    assert more_like(real, 0).shape == (0, real.shape[1])


@pytest.mark.parametrize("d", [2, 6])
def test_the_intrinsic_dimension_is_that_of_the_space_the_points_lie_in(d):
    flat = np.random.default_rng(0).uniform(-0.3, 0.3, size=(4000, d))
    # a small flat patch of the sphere in 40 dimensions
    inside = unit(np.concatenate([np.ones((4000, 1)), flat, np.zeros((4000, 39 - d))], axis=1))
    assert structure(inside).dimension == pytest.approx(d, rel=0.15)


def test_an_index_is_measured_at_each_setting():
    vectors, queries = clusters(2000), clusters(30, seed=5)
    truth = brute_force(vectors, queries, 10)
    found = measure("ivf", vectors, queries, truth, [{"nprobe": n} for n in (1, 4, 16)], nlist=16)
    assert [point.setting for point in found] == ["nprobe=1", "nprobe=4", "nprobe=16"]
    recall = [point.recall for point in found]
    assert recall == sorted(recall) and recall[0] < 1 and recall[-1] == 1
    assert all(point.milliseconds > 0 and point.build_seconds > 0 for point in found)
    index = VectorIndex(16, "ivf", nlist=16)
    index.add(vectors)
    assert found[0].bytes_per_vector == index.nbytes / 2000


def test_all_kinds_are_compared_over_their_dials():
    vectors, queries = clusters(10_000, d=8), clusters(5, d=8, seed=5)
    named = []
    found = compare_indexes(vectors, queries, brute_force(vectors, queries, 5), 4, 4, lambda name: named.append(name))[
        "points"
    ]
    assert named == ["flat", "ivf", "hnsw", "pq", "ivfpq"] == list(dict.fromkeys(point.kind for point in found))
    assert found[0].recall == 1 and [p.setting for p in found if p.kind == "ivf"] == ["nprobe=1", "nprobe=2", "nprobe=4"]


@given(points)
def test_the_frontier_holds_what_nothing_else_beats(found):
    best = pareto(found)
    for point in found:
        beaten = any(
            other.recall >= point.recall and other.milliseconds <= point.milliseconds
            and (other.recall, other.milliseconds) != (point.recall, point.milliseconds)
            for other in found
        )  # fmt: skip
        assert ((point.recall, point.milliseconds) in {(p.recall, p.milliseconds) for p in best}) == (not beaten)
    assert best == sorted(best, key=lambda p: p.milliseconds)


@pytest.mark.parametrize(
    ("kind", "paper", "options"),
    [
        ("flat", {}, {}),
        ("ivf", {"nlist": 64}, {"nlist": 64}),
        ("hnsw", {"m": 16}, {"m": 16, "ef_construction": 16}),
        ("pq", {"m": 8}, {"m": 8}),
        ("ivfpq", {"nlist": 64, "m": 8}, {"nlist": 64, "m": 8}),
    ],
)
def test_bytes_on_paper_are_those_that_are_kept(kind, paper, options):
    n, d = 12_000, 64
    index = VectorIndex(d, kind, **options)
    index.add(clusters(n, d))
    predicted = bytes_on_paper(n, d, kind, **paper)
    # FAISS keeps a little more: where each id stands, for removals (16 bytes), and the graph's upper layers
    assert predicted <= index.nbytes * 1.01 and index.nbytes - predicted < 30 * n


def test_the_toy_is_exact_with_all_lists_and_agrees_with_faiss_on_its_hits():
    vectors, queries = clusters(1500), clusters(20, seed=7)
    centres, lists = kmeans_lists(vectors, 12, seed=1)
    assert sorted(np.concatenate(lists).tolist()) == list(range(1500))
    index = VectorIndex(16, "ivf", nlist=12, nprobe=12)
    index.add(vectors)
    for query, hits in zip(queries, index.search(queries, 10), strict=True):
        assert ivf_by_hand(query, vectors, centres, lists, 12, 10) == hits.ids.tolist()
        few = ivf_by_hand(query, vectors, centres, lists, 2, 10)
        assert len(few) <= 10 and set(few) <= set(np.concatenate([lists[i] for i in np.argsort(-(centres @ query))[:2]]))


def test_a_centre_without_vectors_stays():
    vectors = np.repeat(clusters(2), 5, axis=0)  # ten vectors in two places, four centres
    centres, lists = kmeans_lists(vectors, 4)
    assert np.isfinite(centres).all() and sum(map(len, lists)) == 10


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: brute_force(clusters(3), clusters(1), 0), "k must be at least 1, not 0"),
        (lambda: more_like(clusters(10), 5), "More real vectors than neighbours .* not 10, 10 and n = 5"),
        (lambda: more_like(clusters(20), -1), "n = -1"),
        (lambda: structure(clusters(21)), "More than 21 vectors are needed, not 21"),
        (lambda: bytes_on_paper(10, 4, "tree"), "not for 'tree'"),
        (lambda: bytes_on_paper(10, 4, "ivfpq", m=2), "ivfpq needs nlist and m"),
        (lambda: kmeans_lists(clusters(5), 6), "nlist must be from 1 to 5, .* not 6"),
    ],
)
def test_bad_input_gets_a_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()
