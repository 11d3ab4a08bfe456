"""The experiment on indexes: neighbours by NumPy, vectors that resemble real ones, points, bytes and an IVF by hand."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memcourse.retrieval import VectorIndex, frontier, index_kinds, people_pairs
from memcourse.retrieval.frontier import (
    Point,
    brute_force,
    bytes_on_paper,
    compare_indexes,
    ivf_by_hand,
    kmeans_lists,
    measure,
    more_like,
    pareto,
    structure,
)
from memcourse.world import load_world, make_people

from .index_support import some_vectors, unit


def unit_vectors(n=700, dim=16, seed=0):
    return unit(some_vectors(n, dim, seed)).astype(np.float32)


def in_clusters(n=600, dim=24, seed=0):
    """Unit vectors around a few centres, so that lists and graphs have something to find."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((12, dim))
    return unit(centres[rng.integers(0, 12, n)] + 0.4 * rng.standard_normal((n, dim))).astype(np.float32)


@pytest.fixture(scope="module")
def real(embedder):
    """About five hundred sentence vectors: what the town's documents say, and statements on invented people."""
    kit = make_people(40, attributes=8)
    texts = [passage.text for passage in load_world().passages.values()]
    return embedder.encode(texts + [pair.passage for pair in people_pairs(kit.people, kit, 0)])


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.integers(0, 30), st.integers(1, 12), st.integers(1, 50), st.integers(0, 2**32))
def test_brute_force_finds_what_sorting_everything_finds(n, n_queries, dim, k, seed):
    vectors, queries = unit_vectors(n, dim, seed), unit_vectors(n_queries, dim, seed + 1)
    found = brute_force(vectors, queries, k)
    cosines = queries @ vectors.T
    assert found.shape == (n_queries, min(k, n)) and all(len(set(row)) == len(row) for row in found.tolist())
    np.testing.assert_allclose(np.take_along_axis(cosines, found, 1), -np.sort(-cosines, axis=1)[:, :k], atol=1e-6)


def test_brute_force_in_blocks_finds_the_same(monkeypatch):
    vectors, queries = unit_vectors(300), unit_vectors(50, seed=1)
    whole = brute_force(vectors, queries, 5)
    for block in (1, 7, 700):
        monkeypatch.setattr(frontier, "BLOCK", block)
        np.testing.assert_array_equal(brute_force(vectors, queries, 5), whole)


def test_generated_vectors_resemble_real_ones_far_more_than_random_ones_do(real):
    generated, random = more_like(real, len(real)), unit_vectors(len(real), real.shape[1])
    assert generated.shape == real.shape and generated.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(generated, axis=1), 1, atol=1e-5)
    truth, like, unlike = (np.array(structure(some)) for some in (real, generated, random))
    assert (np.abs(like - truth) < np.abs(unlike - truth) / 4).all()


def test_generated_vectors_follow_from_the_seed_and_are_no_copies(real):
    some = more_like(real, 200, seed=3)
    np.testing.assert_array_equal(some, more_like(real, 200, seed=3))
    assert not np.array_equal(some, more_like(real, 200, seed=4))
    assert more_like(real, 0).shape == (0, real.shape[1])
    cosines = some @ np.concatenate([real, some]).T
    cosines[np.arange(200), len(real) + np.arange(200)] = -1  # with itself
    assert cosines.max() < 0.9999


@pytest.mark.parametrize("d", [2, 5, 10])
def test_the_dimension_is_that_of_the_sphere_on_which_the_vectors_lie(d):
    sphere = unit_vectors(4000, d + 1)
    turn = np.linalg.qr(some_vectors(40, 40, seed=1))[0][: d + 1]
    found = structure(sphere @ turn)
    assert found.dimension == pytest.approx(d, rel=0.12)
    assert found.random_cosine == pytest.approx(0, abs=0.05)


def test_structure_by_hand():
    angles = np.arange(100) * np.pi / 50  # a circle, in equal steps
    circle = np.stack([np.cos(angles), np.sin(angles)], 1)
    chords = np.sin(np.pi * np.repeat(range(1, 6), 2) / 100)  # to the ten nearest, but for a factor
    found = structure(circle, k=10)
    assert found.nearest_cosine == pytest.approx(np.cos(np.pi / 50))
    assert found.dimension == pytest.approx(1 / np.log(chords[-1] / chords[:-1]).mean())
    assert found.ten_directions == pytest.approx(1)
    twice = np.concatenate([circle, circle[:50]])
    assert 1 < structure(twice, k=10).dimension < 1.5  # a twin at the distance 0 would make it 0


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw", "pq", "ivfpq"])
def test_a_point_tells_what_the_index_itself_finds(kind):
    vectors, queries = in_clusters(1200), in_clusters(30, seed=1)
    options: dict[str, Any] = {"flat": {}, "hnsw": {"m": 4}, "ivf": {"nlist": 8}, "pq": {"m": 4, "bits": 4}}
    options["ivfpq"] = options["ivf"] | options["pq"]
    dials = {"ivf": {"nprobe": 2}, "ivfpq": {"nprobe": 2}, "hnsw": {"ef_search": 5}}
    truth = brute_force(vectors, queries, 10)
    [point] = measure(kind, vectors, queries, truth, [dials.get(kind, {})], repeats=1, **options[kind])
    index = VectorIndex(24, kind, **options[kind])
    index.add(vectors)
    index.tune(**dials.get(kind, {}))
    hits = index.search(queries, 10)
    found = sum(len(set(h.ids.tolist()) & set(row)) for h, row in zip(hits, truth.tolist(), strict=True))
    assert point.recall == found / 300
    assert (point.recall == 1) if kind == "flat" else (0.1 < point.recall < 1)
    assert point.bytes_per_vector == index.nbytes / 1200 and point.milliseconds > 0 and point.build_seconds > 0
    assert (point.kind, point.setting) == (kind, ", ".join(f"{k}={v}" for k, v in dials.get(kind, {}).items()))


def test_recall_does_not_fall_with_the_lists_searched_and_ends_at_one():
    vectors, queries, told = in_clusters(), in_clusters(40, seed=1), []
    truth = brute_force(vectors, queries, 10)
    probes = [{"nprobe": n} for n in (1, 2, 4, 8)]
    points = measure("ivf", vectors, queries, truth, probes, nlist=8, progress=lambda *done: told.append(done))
    recalls = [point.recall for point in points]
    assert recalls == sorted(recalls) and recalls[0] < recalls[-1] == 1
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)] and len({point.build_seconds for point in points}) == 1


def test_what_is_not_found_counts_as_missed():
    vectors, queries = in_clusters(), in_clusters(20, seed=1)
    truth = brute_force(vectors, queries, len(vectors))  # all, so that whatever is found is right, and most is missing
    [point] = measure("ivf", vectors, queries, truth, [{"nprobe": 1}], nlist=8)
    assert 0 < point.recall < 0.5


def test_all_kinds_are_compared_over_their_dials():
    vectors, queries = in_clusters(256 * 39, 8), in_clusters(20, 8, seed=1)
    points = compare_indexes(vectors, queries, brute_force(vectors, queries, 10), nlist=8, m=4)["points"]
    counts = {kind: sum(point.kind == kind for point in points) for kind in dict.fromkeys(p.kind for p in points)}
    assert counts == {"flat": 1, "ivf": 4, "hnsw": 5, "pq": 1, "ivfpq": 4}
    assert points[0].recall == 1 and len({(point.kind, point.setting) for point in points}) == len(points)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=20))
def test_pareto_keeps_what_nothing_beats(figures):
    points = [Point("flat", str(i), recall / 5, float(time), 0.0, 0.0) for i, (recall, time) in enumerate(figures)]

    def beats(a, b):
        return a.recall >= b.recall and a.milliseconds <= b.milliseconds and a[2:4] != b[2:4]

    best = pareto(points)
    assert [p.milliseconds for p in best] == sorted(p.milliseconds for p in best)
    assert not any(beats(point, kept) for point in points for kept in best)
    unbeaten = {p[2:4] for p in points if not any(beats(other, p) for other in points)}
    assert {p[2:4] for p in best} == unbeaten and len(best) == len(unbeaten)


@pytest.mark.parametrize("dim", [64, 384])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("flat", {}),
        ("ivf", {"nlist": 16}),
        ("hnsw", {"m": 16}),
        ("hnsw", {"m": 32}),
        ("pq", {"m": 16, "bits": 5}),
        ("pq", {"m": 32, "bits": 6}),
        ("ivfpq", {"nlist": 16, "m": 8, "bits": 4}),
        ("ivfpq", {"nlist": 8, "m": 32, "bits": 6}),
    ],
)
def test_the_bytes_on_paper_are_those_that_faiss_keeps(kind, options, dim):
    index = VectorIndex(dim, kind, **options)
    index.add(unit_vectors(3000, dim))
    assert bytes_on_paper(3000, dim, kind, **options) == pytest.approx(index.nbytes, rel=0.1)


@pytest.mark.parametrize("dim", [64, 100, 384])
def test_a_byte_or_a_bit_for_each_number_is_what_faiss_takes_too(dim):
    scalar = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_8bit)
    binary = faiss.IndexBinaryFlat(-(-dim // 8) * 8)
    assert bytes_on_paper(10, dim, "int8") == 10 * (scalar.code_size + 8) == 10 * (dim + 8)
    assert bytes_on_paper(10, dim, "binary") == 10 * (binary.code_size + 8)


def test_the_bytes_of_a_billion_by_hand():
    assert bytes_on_paper(10**9, 384, "flat") == 10**9 * (4 * 384 + 8)
    assert bytes_on_paper(10**9, 384, "hnsw", m=32) == 10**9 * (4 * 384 + 2 * 32 * 4 + 8)
    assert bytes_on_paper(10**9, 384, "ivfpq", nlist=65536, m=48) == 10**9 * (48 + 24) + 384 * 4 * (65536 + 256)


def test_lists_hold_each_vector_once_with_its_nearest_centre():
    vectors = in_clusters()
    centres, lists = kmeans_lists(vectors, 10)
    assert sorted(np.concatenate(lists).tolist()) == list(range(len(vectors)))
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 1, atol=1e-5)
    nearest = (vectors @ centres.T).argmax(axis=1)
    assert all((nearest[places] == i).all() for i, places in enumerate(lists))
    after = [(vectors @ kmeans_lists(vectors, 10, rounds=n)[0].T).max(axis=1).mean() for n in range(6)]
    assert (np.diff(after) > -1e-6).all() and after[-1] > after[0] + 0.01  # every round brings the centres nearer
    np.testing.assert_array_equal(centres, kmeans_lists(vectors, 10)[0])


def test_an_ivf_by_hand_that_searches_every_list_finds_what_faiss_finds():
    vectors, queries = in_clusters(), in_clusters(20, seed=1)
    index = VectorIndex(24, "ivf", nlist=8, nprobe=8)
    index.add(vectors)
    centres, lists = kmeans_lists(vectors, 8)
    for query, hits, truth in zip(queries, index.search(queries, 10), brute_force(vectors, queries, 10), strict=True):
        assert ivf_by_hand(query, vectors, centres, lists, 8, 10) == hits.ids.tolist() == truth.tolist()


@pytest.mark.parametrize("nprobe", [1, 3, 8])
def test_an_ivf_by_hand_with_the_centres_of_faiss_finds_what_it_finds(nprobe):
    vectors, queries = in_clusters(), in_clusters(20, seed=1)
    index = VectorIndex(24, "ivf", nlist=8, nprobe=nprobe)
    index.add(vectors)
    centres = index_kinds.inner_of(index._faiss).quantizer.reconstruct_n(0, 8)
    nearest = (vectors @ centres.T).argmax(axis=1)
    lists = [np.flatnonzero(nearest == i) for i in range(8)]
    for query, hits in zip(queries, index.search(queries, 10), strict=True):
        assert ivf_by_hand(query, vectors, centres, lists, nprobe, 10) == hits.ids.tolist()


def test_what_makes_no_sense_is_refused_before_any_work(monkeypatch):
    monkeypatch.setattr(frontier, "VectorIndex", None)  # a build would fail with another error
    x = unit_vectors(50, 8)
    truth, twins = brute_force(x, x, 3), np.repeat(np.eye(8, dtype=np.float32), 9, axis=0)
    centres, lists = kmeans_lists(x, 4)
    for call, words in (
        (lambda: brute_force(x, x, 0), "k must be at least 1, not 0"),
        (lambda: brute_force(x, x[0], 3), r"not of shapes \(50, 8\) and \(8,\)"),
        (lambda: brute_force(x, x[:, :4], 3), r"not of shapes \(50, 8\) and \(50, 4\)"),
        (lambda: more_like(x[:10], 5), "More real vectors than neighbours"),
        (lambda: more_like(x, -1), "not 50, 10 and n = -1"),
        (lambda: structure(x[:21]), "More than 21 vectors are needed, not 21"),
        (lambda: structure(x, k=1), "k must be at least 2, not 1"),
        (lambda: structure(twins, k=5), "stands in the set twice"),
        (lambda: measure("flat", x, x[:9], truth), r"truth of shape \(50, 3\) for 9 queries"),
        (lambda: measure("flat", x, x, truth[:, 0]), r"truth of shape \(50,\)"),
        (lambda: measure("flat", x, x[:0], truth[:0]), r"truth of shape \(0, 3\) for 0 queries"),
        (lambda: measure("flat", x, x, truth, []), "0 settings"),
        (lambda: measure("flat", x, x, truth, repeats=0), "repeats = 0"),
        (lambda: measure("ivf", x, x, truth, [{"ef_search": 4}]), "no option 'ef_search'"),
        (lambda: bytes_on_paper(9, 8, "int4"), "Bytes are known for these kinds: .* not for 'int4'"),
        (lambda: bytes_on_paper(9, 8, "ivfpq", m=2), "nlist = 0, m = 2"),
        (lambda: bytes_on_paper(-1, 8, "flat"), "not n = -1"),
        (lambda: kmeans_lists(x, 51), "from 1 to 50, the number of vectors, not 51"),
        (lambda: ivf_by_hand(x[0], x, centres, lists, 0, 3), "must be at least 1, not 0 and 3"),
        (lambda: ivf_by_hand(x[0], x, centres, lists, 1, 0), "must be at least 1, not 1 and 0"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
