"""A store finds what numpy finds, under any condition, for its own embedder only; and refuses what makes no sense."""

from __future__ import annotations

import numpy as np
import pytest

from memcourse.retrieval import Chunk
from memcourse.retrieval.store import Replaced, Store

from .store_support import Hashed, pieces

NASTY = [
    "it's", "''", "'", "50%", "_", "%", "a\\b", "a\\'b", "\\", "l\n2", "'; DROP TABLE chunks; --", "x' OR '1'='1", '"q"',
    "`b`", "\0", "\u00fc\u6f22\U0001f600", "?", ":x", "null", "$1", "-- x", "/* x", " ", "A", "a", "e\u0301", "\u00e9",
]  # fmt: skip


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store", Hashed(), fields=["year", "kind"])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda s: s.delete({}), ValueError, "empty condition would delete every record"),
        (lambda s: s.update({}, {"year": "1"}), ValueError, "empty condition would update every record"),
        (lambda s: s.update({"document": "a"}, {}), ValueError, "nothing to update"),
        (lambda s: s.update({"document": "a"}, {"document": "b"}), ValueError, "no field 'document'.*year, kind"),
        (lambda s: s.add("b", pieces("x"), {"colour": "red"}), ValueError, "no field 'colour'.*year, kind"),
        (lambda s: s.add("b", pieces("x"), {"year": 2025}), TypeError, "'year' must be a string, not 2025"),
        (lambda s: s.add("", pieces("x")), TypeError, "document's id must be a string that is not empty"),
        (lambda s: s.add("b", pieces("x\ud800")), ValueError, "from 0 to 2 of document 'b' holds half a surrogate"),
        (lambda s: s.search("one", where={"text": "x"}), ValueError, "by 'text'; this store knows id, document, year, kind"),
        (lambda s: s.count({"year": 2025}), TypeError, "'year' must be a string or a list of strings, not 2025"),
        (lambda s: s.search(" \n"), ValueError, "Query 0 is empty"),
        (lambda s: s.search(["one"]), TypeError, "search_many takes several"),
        (lambda s: s.search_many("one"), TypeError, "list of queries"),
        (lambda s: s.search("one", k=0), ValueError, "k >= 1, not 0"),
        (lambda s: s.search_vectors(np.ones((1, 3))), ValueError, "3.*16"),
        (lambda s: s.search_vectors(np.full((1, 16), np.inf)), ValueError, "query vector in row 0 .*infinite"),
        (lambda s: s.at(99), ValueError, "no version 99 .*there are 1, 2"),
    ],
)
def test_what_makes_no_sense_is_told_in_a_sentence_and_changes_nothing(store, call, error, words):
    store.add("a", pieces("one"))
    before = store.records()
    with pytest.raises(error, match=words):
        call(store)
    assert store.records() == before and len(store.versions()) == 2


def test_values_are_matched_as_they_are_whatever_they_hold(store):
    store.add_many((name, pieces(f"text {i}"), {"kind": name}) for i, name in enumerate(NASTY))
    for i, name in enumerate(NASTY):
        for where in ({"document": name}, {"kind": [name, "not there"]}, {"kind": name, "document": [name]}):
            assert [hit.text for hit in store.search("anything", 99, where)] == [f"text {i}"]
    assert store.count({"document": NASTY}) == len(NASTY) and store.count({"document": []}) == 0
    for absent in ("it", "50", "b", "\ud800", "text 1"):
        assert store.count({"document": absent}) == 0
    for i, name in enumerate(NASTY):
        assert store.replace(name, pieces(f"new {i}")) == Replaced(1, 0, 1, 0)
    for name in NASTY:
        assert store.delete({"document": name}) == 1
    assert len(store) == 0


def test_a_search_finds_what_numpy_finds(store):
    wanted = [f"text {i}" for i in range(300)]
    store.add_many((f"d{i}", pieces(text), {"year": str(2020 + i % 3)}) for i, text in enumerate(wanted))
    vectors = store.embedder.encode(wanted)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = np.random.default_rng(0).standard_normal((40, 16)) * np.logspace(-6, 6, 40)[:, None]
    cosines = queries @ vectors.T / np.linalg.norm(queries, axis=1, keepdims=True)
    for where, chosen in [(None, range(300)), ({"year": "2021"}, range(1, 300, 3))]:
        for found, row in zip(store.search_vectors(queries, 7, where), cosines[:, list(chosen)], strict=True):
            best = np.argsort(-row)[:7]
            assert [hit.text for hit in found] == [wanted[chosen[i]] for i in best]
            assert [hit.score for hit in found] == pytest.approx(row[best], abs=1e-5)
    assert store.search_vectors(queries[0], 7)[0] == store.search_vectors(queries[:1], 7)[0]  # one alone may be a row
    assert [hit.score for hit in store.search_vectors(np.zeros((1, 16)), 3)[0]] == [0, 0, 0]
    assert store.search("text 5", 1)[0].score == pytest.approx(1, abs=1e-6)
    assert store.search_vectors(-vectors[5:6], 300)[0][-1].score == pytest.approx(-1, abs=1e-6)


def test_the_condition_comes_before_the_ranking(store):
    store.add_many((f"near {i}", [Chunk("query", i, i + 5)], {"year": "2024"}) for i in range(60))
    store.add("far", pieces("one", "two", "three"), {"year": "2025"})
    assert {hit.text for hit in store.search("query", 3, {"year": "2025"})} == {"one", "two", "three"}
    assert len(store.search("query", 99)) == 63


def test_o27_an_empty_store_finds_nothing(store):
    assert store.search("x") == [] and store.search_many(["x"] * 32) == [[]] * 32 and store.search_many([]) == []
    assert len(store) == 0 and store.records() == [] and store.documents() == {} and store.vectors([]).shape == (0, 16)


def test_o30_a_store_opens_with_its_own_embedder_only_and_finds_its_fields_again(tmp_path, store):
    store.add("a", pieces("one"), {"kind": "x"})
    again = Store(tmp_path / "store", Hashed())
    assert again.fields == ("year", "kind") and again.search("one")[0].metadata == {"year": "", "kind": "x"}
    assert Store(tmp_path / "store", Hashed(), fields=["kind", "year"]).fields == ("year", "kind")
    for other in (Hashed("other"), Hashed(dim=8), Hashed("other", 8)):
        with pytest.raises(ValueError, match=rf"embedder 'hashed' \(dim 16\), not with '{other.name}' \(dim {other.dim}\)"):
            Store(tmp_path / "store", other)
    with pytest.raises(ValueError, match="has the fields year, kind, not colour"):
        Store(tmp_path / "store", Hashed(), fields=["colour"])


@pytest.mark.parametrize("name", ["Year", "text", "a b", "score", "_rowid", "", "x'"])
def test_a_field_needs_a_name_that_a_column_can_have(tmp_path, name):
    with pytest.raises(ValueError, match="A field has a name in small letters"):
        Store(tmp_path / "new", Hashed(), fields=["ok", name])
    with pytest.raises(TypeError, match="list of names"):
        Store(tmp_path / "new", Hashed(), fields="year")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["order", "group", "select", "from", "null", "target", "source"])
def test_a_field_may_have_a_name_that_means_something_in_sql(tmp_path, name):
    store = Store(tmp_path / "new", Hashed(), fields=[name])
    store.add("a", pieces("one"), {name: "1"})
    store.update({name: "1"}, {name: "2"})
    assert store.replace("a", pieces("two"), {name: "3"}).removed == 1
    assert store.search("two", where={name: "3"})[0].metadata == {name: "3"} and store.delete({name: ["3"]}) == 1


def test_a_store_with_the_real_embedder_finds_by_meaning(tmp_path, embedder):
    store = Store(tmp_path / "store", embedder)
    store.add("pets", pieces("The dog sleeps in the sun. ", "Cats chase mice. "))
    store.add("money", pieces("The bank raised its interest rates. "))
    [hit, *_] = Store(tmp_path / "store", embedder).search("A puppy takes a nap", k=2)
    assert hit.text == "The dog sleeps in the sun. " and 0.3 < hit.score < 1
    np.testing.assert_allclose(store.vectors([hit.id]), embedder.encode([hit.text]), atol=1e-6)
