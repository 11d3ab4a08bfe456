"""What goes into the vector index: any dtype and layout, no NaN, no other dimension or embedder; and what scores mean."""

from __future__ import annotations

from types import SimpleNamespace

import faiss
import numpy as np
import pytest
import torch

from memcourse.retrieval.index import VectorIndex
from memcourse.retrieval.vectors import cosine_from_l2

from .index_support import KINDS, made, some_vectors, unit

BASE = np.round(some_vectors(700) * 8).astype(np.float32)  # small whole numbers, exact in every format
FORMS = {
    "float64": lambda x: x.astype(np.float64),
    "float16": lambda x: x.astype(np.float16),
    "int32": lambda x: x.astype(np.int32),
    "big endian": lambda x: x.astype(">f4"),
    "transposed": lambda x: x.T.copy().T,
    "strided": lambda x: np.repeat(np.repeat(x, 2, axis=0), 3, axis=1)[::2, ::3],
    "read-only": lambda x: np.frombuffer(x.tobytes(), dtype=np.float32).reshape(x.shape),
    "tensor with grad": lambda x: torch.tensor(x, requires_grad=True),
    "bfloat16": lambda x: torch.tensor(x, dtype=torch.bfloat16, requires_grad=True),
    "integer tensor": lambda x: torch.tensor(x).long(),
    "list of lists": lambda x: x.tolist(),
    "tuple of arrays": tuple,
    "list of tensors": lambda x: list(torch.tensor(x, dtype=torch.bfloat16, requires_grad=True)),
    "generator": lambda x: (row for row in x),
}


def test_o30_another_dimension_is_refused_with_both_sizes():
    index = made("flat", some_vectors(5))
    for call in (index.add, index.search):
        for wrong in (some_vectors(2, 24), some_vectors(1, 24)[0], np.zeros((0, 24))):
            with pytest.raises(ValueError, match="has 24 numbers, but the index is for 16"):
                call(wrong)
        for wrong in (np.zeros((2, 3, 16)), np.float32(1)):
            with pytest.raises(ValueError, match=r"of shape \(n, 16\) is wanted"):
                call(wrong)
        with pytest.raises(ValueError, match="must have the same number of numbers"):
            call([[1.0] * 16, [1.0] * 15])
    with pytest.raises(ValueError, match="dim is 1 or more"):
        VectorIndex(0)


def test_o30_one_vector_alone_is_one_query():
    index = made("flat", some_vectors(5))
    (hits,) = index.search(some_vectors(5)[3], 1)
    assert hits.ids.tolist() == [3] and index.add(some_vectors(1, seed=1)[0], 77).tolist() == [77]


def test_o30_the_index_remembers_the_embedder_and_refuses_another(tmp_path):
    minilm, other = SimpleNamespace(name="minilm", dim=16), SimpleNamespace(name="other", dim=16)
    index = VectorIndex(16, embedder=minilm)
    index.add(some_vectors(5), embedder="minilm")
    index.save(tmp_path / "index")
    assert index.embedder == "minilm" == VectorIndex.load(tmp_path / "index", embedder=minilm).embedder
    assert len(index.search(some_vectors(1), embedder=minilm)) == len(index.search(some_vectors(1))) == 1
    for call in (
        lambda: index.add(some_vectors(2), embedder=other),
        lambda: index.train(some_vectors(2), embedder=other),
        lambda: index.search(some_vectors(2), embedder="other"),
        lambda: VectorIndex.load(tmp_path / "index", embedder=other),
    ):
        with pytest.raises(ValueError, match="come from 'minilm', not from 'other'"):
            call()
    assert len(index) == 5
    with pytest.raises(ValueError, match="for 8 numbers, but vectors of minilm have 16"):
        VectorIndex(8, embedder=minilm)
    with pytest.raises(TypeError, match="given by its name"):
        VectorIndex(16, embedder=3)


def test_o30_an_empty_index_takes_the_name_over_and_a_full_one_without_a_name_cannot_be_checked():
    index = VectorIndex(16)
    assert index.search(some_vectors(1), embedder="minilm")[0].ids.size == 0 and index.embedder is None
    index.add(some_vectors(5), embedder="minilm")
    assert index.embedder == "minilm"
    for call in (made("flat", some_vectors(5)).add, made("flat", some_vectors(5)).search):
        with pytest.raises(ValueError, match="an embedder that it was not told of, not from 'minilm'"):
            call(some_vectors(2), embedder="minilm")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_o31_every_dtype_and_layout_gives_the_same_as_float32(kind, form):
    wanted, index = made(kind, BASE), VectorIndex(16, kind, **KINDS[kind])
    given = FORMS[form](BASE)
    before = given.copy() if isinstance(given, np.ndarray) else None
    index.add(given)
    np.testing.assert_array_equal(index.get(range(700)), wanted.get(range(700)))
    for found, hits in zip(index.search(FORMS[form](BASE[:30])), wanted.search(BASE[:30]), strict=True):
        np.testing.assert_array_equal(found.ids, hits.ids)
        np.testing.assert_array_equal(found.scores, hits.scores)
    if before is not None:
        np.testing.assert_array_equal(given, before)


def test_o31_the_callers_array_is_neither_changed_nor_kept():
    for metric in ("cosine", "dot"):
        vectors, queries = some_vectors(5), some_vectors(2, seed=1)
        index = made("flat", vectors, metric=metric)
        stored = index.get([0]).copy()
        index.search(queries)
        np.testing.assert_array_equal(vectors, some_vectors(5))
        np.testing.assert_array_equal(queries, some_vectors(2, seed=1))
        vectors[:] = 0
        np.testing.assert_array_equal(index.get([0]), stored)


@pytest.mark.parametrize("wrong", ["text", ["text"], [["a"] * 16], [[None] * 16], [[True] * 16], [[1j] * 16], {}.get, None])
def test_o31_what_is_no_number_is_refused(wrong):
    index = made("flat", some_vectors(5))
    for call in (index.add, index.search):
        with pytest.raises(TypeError, match="holds real numbers, not values of dtype"):
            call(wrong)


@pytest.mark.parametrize(
    "ids",
    [
        np.array([3, 9], dtype=np.int32), np.array([3, 9], dtype=np.uint64), [3, 9], (3, 9), torch.tensor([3, 9]),
        [torch.tensor(3), torch.tensor(9)], range(3, 10, 6), {3: "", 9: ""},
    ],
    ids=str,
)  # fmt: skip
def test_o31_ids_may_come_in_any_form(ids):
    index = made("flat", some_vectors(2), ids)
    assert index.ids.tolist() == [3, 9] and index.get(ids).shape == (2, 16) and index.remove(ids) == 2


def test_o32_cosine_sees_the_direction_and_not_the_length():
    index = VectorIndex(2)
    index.add([[1, 0], [100, 0], [0, 1e30], [3e-30, 3e-30], [0, 0]])
    (hits,) = index.search([2e30, 0], 5)
    assert hits.ids[2] == 3 and {0, 1} == set(hits.ids[:2].tolist())
    assert hits.scores == pytest.approx([1, 1, 0.5**0.5, 0, 0], abs=1e-6)
    assert index.search([0, 0], 5)[0].scores.tolist() == [0] * 5
    vectors = np.repeat(some_vectors(1, 384, seed=5), 40, axis=0)
    scores = np.stack([hits.scores for hits in made("flat", vectors).search(np.concatenate([vectors, -vectors]), 40)])
    assert scores.max() <= 1 and scores.min() >= -1


def test_o32_the_inner_product_prefers_long_vectors():
    index = VectorIndex(2, metric="dot")
    index.add([[1, 0], [100, 0]])
    (hits,) = index.search([2, 0])
    assert hits.ids.tolist() == [1, 0] and hits.scores.tolist() == [200, 2]
    with pytest.raises(ValueError, match=r"The vector in row 1 has the length 1.0e\+20, more than 1e\+19"):
        index.add([[1, 0], [1e20, 0]])


def test_o33_cosines_from_the_squared_distances_of_faiss():
    vectors = unit(np.array([[3, 4], [-4, 3], [-3, -4], [4, 3]])).astype(np.float32)
    l2 = faiss.IndexFlatL2(2)
    l2.add(vectors)
    squared, ids = l2.search(vectors[:1], 4)
    assert ids[0].tolist() == [0, 3, 1, 2]
    assert cosine_from_l2(squared)[0] == pytest.approx([1, 0.96, 0, -1], abs=1e-6)
    assert made("flat", vectors).search(vectors[0])[0].scores == pytest.approx([1, 0.96, 0, -1], abs=1e-6)
    assert cosine_from_l2([0, 2, 4]).tolist() == [1, 0, -1]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_o42_no_nan_enters(bad):
    index, vectors = made("flat", some_vectors(5)), some_vectors(4).astype(np.float64)
    vectors[2, 5] = bad
    for call, what in ((index.add, "vector"), (index.search, "query"), (index.train, "vector")):
        with pytest.raises(ValueError, match=f"The {what} in row 2 has a number that is NaN, infinite or too large"):
            call(vectors)
    assert len(index) == 5
