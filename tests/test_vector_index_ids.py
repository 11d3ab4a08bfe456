"""Every vector stays with its id, through additions, removals and files; a damaged file is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from memcourse.errors import CourseError
from memcourse.retrieval.index import VectorIndex

from .index_support import EXACT, KINDS, TRAINED, made, some_vectors, unit


@pytest.mark.parametrize(
    ("ids", "error", "words"),
    [
        ([1.0, 2.0], TypeError, "Ids are whole numbers from 0 to"),
        (["a", "b"], TypeError, "Ids are whole numbers from 0 to"),
        ([True, False], TypeError, "Ids are whole numbers from 0 to"),
        ([1, 2**63], TypeError, "Ids are whole numbers from 0 to"),
        ([8, -1], ValueError, r"from 0 to 2\*\*63 - 1, not -1"),
        ([1], ValueError, "there are 2 vectors and 1 ids"),
        ([[1, 2]], ValueError, "not an array of shape"),
        ([7, 7], ValueError, "The id 7 is given twice"),
        ([7, 4], ValueError, "The id 4 is in the index already"),
    ],
)
def test_o34_impossible_ids_are_refused_before_anything_is_added(ids, error, words):
    index = made("flat", some_vectors(5))
    with pytest.raises(error, match=words):
        index.add(some_vectors(2), ids)
    assert len(index) == 5 and index.add(some_vectors(1)).tolist() == [5]


def test_o34_the_largest_id_is_possible_and_then_there_are_no_others():
    index = made("flat", some_vectors(1), [2**63 - 1])
    assert index.search(some_vectors(1))[0].ids.tolist() == [2**63 - 1]
    with pytest.raises(ValueError, match="there are no 1 left"):
        index.add(some_vectors(1))


@settings(deadline=None, max_examples=40)
@given(st.data(), st.sampled_from(["flat", "ivf", "hnsw", "pq"]))
def test_o34_every_vector_stays_with_its_id(data, kind):
    """Any order of adding, removing, saving and loading, against a dictionary; the first vectors serve the training."""
    vectors = unit(some_vectors(300, 8)).astype(np.float32)
    index = VectorIndex(8, kind, **{"ivf": {"nlist": 3, "nprobe": 3}, "pq": {"m": 8, "bits": 3}}.get(kind, {}))
    index.train(np.concatenate([vectors, vectors]))
    model: dict[int, int] = {}  # id -> row of the vectors
    used = [-1]
    fresh = iter(range(300))
    for _ in range(data.draw(st.integers(1, 6), label="steps")):
        step = data.draw(st.sampled_from(["add", "add ids", "remove"] if kind != "hnsw" else ["add", "add ids"]))
        if step == "remove":
            gone = data.draw(st.lists(st.integers(0, max(used) + 3)))
            assert index.remove(gone) == len(set(gone) & set(model))
            model = {number: row for number, row in model.items() if number not in gone}
            continue
        rows = [next(fresh) for _ in range(data.draw(st.integers(0, 8)))]
        ids = None
        if step == "add ids":
            free = [number for number in range(max(used) + 12) if number not in model]
            ids = data.draw(st.permutations(free))[: len(rows)]
        added = index.add(vectors[rows], ids).tolist()
        assert added == (list(range(max(used) + 1, max(used) + 1 + len(rows))) if ids is None else ids)
        model |= dict(zip(added, rows, strict=True))
        used += added
    assert len(index) == len(model) and index.ids.tolist() == sorted(model)
    if model:
        numbers, rows = list(model), list(model.values())
        np.testing.assert_allclose(index.get(numbers), vectors[rows], atol=1.0 if kind == "pq" else 1e-6)
        nearest = [hits.ids[0] for hits in index.search(index.get(numbers), 1)]
        if kind != "pq":
            assert nearest == numbers
        assert sorted(index.search(vectors[0], 400)[0].ids) == sorted(model)


@pytest.mark.parametrize("kind", ["flat", *TRAINED])
def test_o34_ids_stay_after_a_removal(kind):
    vectors = some_vectors(710)
    index = made(kind, vectors[:700])
    assert index.remove([3, 7, 7, 9_999, -4]) == 2 and index.remove(3) == 0
    assert index.add(vectors[700:702]).tolist() == [700, 701] and len(index) == 700
    kept = [i for i in range(702) if i not in (3, 7)]
    close = np.abs(index.get(kept) - unit(vectors[kept])).max(axis=1)
    assert (close < (1e-6 if kind in EXACT else 0.9)).all()
    for unknown in (3, 702, -1):
        with pytest.raises(ValueError, match=f"no vector with the id {unknown}"):
            index.get([0, unknown])
    assert index.remove([700, 701]) == 2
    assert index.add(vectors[702:704], [7, 3]).tolist() == [7, 3]  # free again, for whoever asks for them
    assert index.add(vectors[704]).tolist() == [702]


def test_o34_hnsw_cannot_remove_and_says_so():
    with pytest.raises(ValueError, match="'hnsw' can't remove vectors; build a new one"):
        made("hnsw", some_vectors(5)).remove([1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_index_comes_back_whole(kind, tmp_path):
    metric = "dot" if kind == "flat" else "cosine"
    index = made(kind, some_vectors(), np.arange(700) * 2, metric=metric, embedder="minilm")
    if kind != "hnsw":
        index.remove([1398])
    path = tmp_path / "new folder" / "index.bin"
    index.save(str(path))
    loaded = VectorIndex.load(path)
    assert repr(loaded) == repr(index) and loaded.nbytes == index.nbytes and list(path.parent.iterdir()) == [path]
    np.testing.assert_array_equal(loaded.ids, index.ids)
    np.testing.assert_array_equal(loaded.get(loaded.ids), index.get(index.ids))
    for found, hits in zip(loaded.search(some_vectors(30)), index.search(some_vectors(30)), strict=True):
        np.testing.assert_array_equal(found.ids, hits.ids)
        np.testing.assert_array_equal(found.scores, hits.scores)
    assert loaded.add(some_vectors(1, seed=9)).tolist() == [1399]  # 1398 was taken, even where it is gone
    if kind != "hnsw":
        assert loaded.remove([1399, 0]) == 2
    if kind in ("ivf", "ivfpq"):
        loaded.tune(nprobe=1)
    if kind == "hnsw":
        loaded.tune(ef_search=5)
        assert loaded.options["ef_search"] == 5


def test_an_untrained_index_can_be_saved(tmp_path):
    index = VectorIndex(16, "ivf", nprobe=3)
    assert index.nbytes == 0
    index.save(tmp_path / "index")
    loaded = VectorIndex.load(tmp_path / "index")
    loaded.add(some_vectors())
    assert loaded.options == {"nlist": 17, "nprobe": 3} and len(loaded) == 700


def test_a_missing_foreign_or_cut_file_is_named(tmp_path):
    path = tmp_path / "index"
    with pytest.raises(CourseError, match=r"There is no file .*index: build the index and save it first"):
        VectorIndex.load(path)
    made("flat", some_vectors(5)).save(path)
    whole = path.read_bytes()
    other = tmp_path / "other"
    save_file({"ids": np.zeros(1)}, other)
    for content in (b"", b"text", whole[:50], whole[:-1], whole + b"x", other.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(CourseError, match="is damaged or no vector index of this course"):
            VectorIndex.load(path)
    with pytest.raises(CourseError, match="is damaged or no vector index"):
        VectorIndex.load(tmp_path)


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 10**6), st.integers(1, 255))
def test_a_damaged_byte_is_noticed_wherever_it_is(tmp_path_factory, place, change):
    path = tmp_path_factory.getbasetemp() / "damaged"
    index = made("flat", some_vectors(3), embedder="minilm")
    index.save(path)
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= change
    path.write_bytes(content)
    try:
        loaded = VectorIndex.load(path)
    except CourseError:
        return
    assert repr(loaded) == repr(index) and (loaded.get([0, 1, 2]) == index.get([0, 1, 2])).all()  # mere padding
