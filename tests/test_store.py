"""A store keeps each chunk once, whole and with its own vector, and forgets what it is told to forget."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memcourse.errors import CourseError
from memcourse.retrieval import Chunk
from memcourse.retrieval.store import Added, Replaced, Store
from memcourse.world.records import Passage

from .store_support import Hashed, check_vectors, pieces, texts


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store", Hashed(), fields=["year", "kind"])


class Broken(Hashed):
    """An embedder that gives a number that is none for one text, or a vector too few."""

    def encode(self, texts):
        vectors = super().encode(texts)
        if "nan" in texts:
            vectors[texts.index("nan"), 3] = np.nan
        return vectors[1:] if "lost" in texts else vectors


def files_with(folder: Path, content: bytes) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and content in path.read_bytes()]


def test_o34_text_vector_and_id_stay_together_through_adds_and_deletes(store):
    store.add_many((f"d{i}", pieces(f"text {i}"), None) for i in range(10))
    before = {record.id: record for record in store.records()}
    assert store.delete({"document": ["d3", "d7"]}) == 2
    store.add("d10", pieces("text 10"))
    store.add("d11", pieces("text 11"))
    records = store.records()
    assert store.get([record.id for record in records[::-1]]) == records[::-1]
    assert sorted(record.text for record in records) == sorted(f"text {i}" for i in range(12) if i not in (3, 7))
    assert len({record.id for record in records}) == len(store) == 10
    assert all(record == before.get(record.id, record) for record in records)
    check_vectors(store)
    assert [found[0].text for found in store.search_many([r.text for r in records], k=1)] == [r.text for r in records]
    for unknown in ({"id": "0" * 32}, {"document": "d3"}):
        assert store.delete(unknown) == 0
    assert store.add("d10", pieces("text 10")) == Added(0, 1, 0) and len(store) == 10
    with pytest.raises(ValueError, match="No record has the id 'nobody'; 1 of 2 are not there"):
        store.get([records[0].id, "nobody"])


def test_the_same_is_there_once_and_embedded_once(store):
    chunks = [*pieces("one", "two"), *pieces("one")]
    assert store.add("a", chunks, {"year": "2025"}) == Added(2, 1, 0)
    assert store.add("a", chunks, {"year": "2025"}) == Added(0, 3, 0)
    assert sorted(store.embedder.seen) == ["one", "two"] and len(store.versions()) == 2
    assert store.add("b", [Passage("b#1", "b", "one", 0, 3)]) == Added(1, 0, 0)  # another document's is another record
    assert store.add("a", [Chunk("one", 9, 12)], {"year": "2025"}) == Added(1, 0, 0)  # and so is another place
    assert store.documents() == {"a": 3, "b": 1}


def test_what_is_known_with_other_metadata_is_refused_and_not_passed_over(store):
    store.add("a", pieces("one"), {"year": "2024"})
    with pytest.raises(ValueError, match=r"Chunks of document 'a'.*'2024'.*not with.*'2025'.*update or replace"):
        store.add("a", pieces("one", "two"), {"year": "2025"})
    with pytest.raises(ValueError, match="two kinds of metadata"):
        store.add_many([("b", pieces("one"), {"year": "1"}), ("b", pieces("one"), {"year": "2"})])
    assert texts(store) == ["one"]


def test_o41_blank_chunks_are_counted_and_nothing_at_all_is_an_error(store):
    assert store.add("a", [Chunk("", 0, 0), *pieces("good", " \n\u3000"), Chunk(None, 0, 0)]) == Added(1, 0, 3)
    for nothing in ([], pieces(""), pieces("  \n", " ")):
        for write in (store.add, store.replace):
            with pytest.raises(ValueError, match=f"No text found in {len(nothing)} chunks"):
                write("a", nothing)
    assert texts(store) == ["good"]


def test_replacing_a_document_is_one_step_that_embeds_only_what_is_new(store):
    store.add("other", pieces("stays"))
    assert store.replace("a", pieces("one", "two", "three"), {"year": "2024"}) == Replaced(3, 0, 0, 0)
    version = store.versions()[-1].number
    store.embedder.seen.clear()
    new = [*pieces("one", "two"), Chunk("four", 6, 10), Chunk(" ", 10, 11)]
    assert store.replace("a", new, {"year": "2025"}) == Replaced(1, 2, 1, 1)
    assert store.embedder.seen == ["four"] and [v.number for v in store.versions()][-2:] == [version, version + 1]
    assert texts(store) == ["one", "two", "four", "stays"]
    assert store.count({"year": "2025"}) == 3 and store.count({"year": "2024"}) == 0
    check_vectors(store)
    assert store.replace("a", new, {"year": "2025"}) == Replaced(0, 3, 0, 1) and len(store.versions()) == version + 1
    assert store.replace("a", [Chunk("four", 0, 4), Chunk("five", 4, 8)]) == Replaced(2, 0, 3, 0)  # "four" has only moved
    assert store.embedder.seen == ["four", "five"]


def test_fields_are_updated_and_ids_stay(store):
    store.add("a", pieces("one", "two"), {"year": "2024", "kind": "letter"})
    before = store.records()
    assert store.update({"year": "2024"}, {"kind": "it's \\ 5%\n"}) == 2 == store.count({"kind": "it's \\ 5%\n"})
    assert [record.id for record in store.records()] == [record.id for record in before]
    assert store.records()[0].metadata == {"year": "2024", "kind": "it's \\ 5%\n"}
    assert store.update({"year": "1900"}, {"kind": "x"}) == 0
    check_vectors(store)


@pytest.mark.parametrize("others", [0, 200])
def test_what_is_deleted_stays_on_the_disk_until_it_is_forgotten(tmp_path, others):
    """Among 200 others, too: compaction alone would leave the one row's bytes where they are."""
    store, folder = Store(tmp_path / "store", Hashed()), tmp_path / "store"
    chunks = pieces(*[f"text {i}" for i in range(others)], "the ZEBRA-SECRET")
    store.add("SECRET-NAME", chunks)
    [hit] = store.search("the ZEBRA-SECRET", 1)
    vector = store.vectors([hit.id]).tobytes()
    assert files_with(folder, b"ZEBRA-SECRET") and files_with(folder, vector)
    assert store.delete({"id": hit.id, "document": "SECRET-NAME"}) == 1
    assert len(store) == others and "the ZEBRA-SECRET" not in [found.text for found in store.search(hit.text)]
    assert files_with(folder, b"ZEBRA-SECRET") and files_with(folder, vector) and files_with(folder, hit.id.encode())
    old = store.at(store.versions()[-2].number)
    assert old.search("the ZEBRA-SECRET", 1)[0] == hit and len(old) == others + 1  # the "deleted" row is still there
    assert store.delete({"id": hit.id}, for_good=True) == 0 and len(store.versions()) == 1
    assert not files_with(folder, b"ZEBRA-SECRET") and not files_with(folder, vector)
    assert not files_with(folder, hit.id.encode())
    with pytest.raises(ValueError, match=r"no version 2 \(any more\)"):
        store.at(2)
    if others:  # a file of one row is so small that the view holds it in memory
        with pytest.raises(CourseError, match=r"Version 2 of the store.*forgotten"):
            old.records()
    assert len(store) == others and len(Store(folder, Hashed()).records()) == others
    store.add("b", pieces("and on it goes"))
    check_vectors(store)


def test_a_view_of_an_older_version_stays_as_it_is(store):
    store.add("a", pieces("one"))
    old = store.at(store.versions()[-1].number)
    store.replace("a", pieces("two"))
    assert texts(old) == ["one"] and old.count({"document": "a"}) == 1 and texts(store) == ["two"]
    assert not hasattr(old, "add") and [found.text for found in old.search("two")] == ["one"]


def test_o42_no_vector_that_is_none_is_ever_stored(tmp_path):
    store = Store(tmp_path / "store", Broken())
    store.add("a", pieces("one"))
    for write in (store.add, store.replace):
        with pytest.raises(ValueError, match=r"vector from hashed in row 1 .*NaN"):
            write("a", pieces("two", "nan"))
        with pytest.raises(ValueError, match="hashed gave 1 vectors for 2 texts"):
            write("a", pieces("two", "lost"))
    assert texts(store) == ["one"] and len(store.versions()) == 2


def test_a_folder_that_is_no_whole_store_says_so(tmp_path, store):
    store.add("a", pieces("one"))
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(CourseError, match="is a file"):
        Store(tmp_path / "file", Hashed())
    with pytest.raises(CourseError, match=r"holds other things \(.*and no store"):
        Store(tmp_path, Hashed())
    for path in (store.path / "chunks.lance" / "data").iterdir():
        path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(CourseError, match=r"cannot be read: one of its files is missing or damaged"):
        Store(tmp_path / "store", Hashed()).search("one")
    for path in (store.path / "chunks.lance" / "data").iterdir():
        path.unlink()
    again = Store(tmp_path / "store", Hashed())
    for call in (lambda: again.search("one"), again.records, again.forget):
        with pytest.raises(
            CourseError, match=r"missing or damaged|Cannot write to the store .*where a file of it is missing"
        ):
            call()
    (store.path / "chunks.lance" / "data" / "left.lance").write_bytes(b"x")
    for path in (store.path / "chunks.lance" / "_versions").iterdir():
        path.unlink()
    with pytest.raises(CourseError, match="missing or damaged"):
        Store(tmp_path / "store", Hashed())


def test_without_lancedb_one_sentence_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lancedb", None)
    with pytest.raises(CourseError, match=r'needs LanceDB, which is not installed; run `pip install "memcourse\[search\]"`'):
        Store(tmp_path / "store", Hashed())


WORDS = st.lists(st.sampled_from(["one", "two", "three", "four"]), min_size=1, max_size=4)
NAMES, YEARS = st.sampled_from(["a", "b"]), st.sampled_from(["", "2024", "2025"])
STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "replace", "update", "delete", "forget"]), NAMES, WORDS, YEARS), max_size=8
)


@settings(deadline=None, max_examples=15, suppress_health_check=list(HealthCheck))
@given(STEPS)
def test_a_store_holds_what_a_dictionary_would(tmp_path_factory, steps):
    store = Store(tmp_path_factory.mktemp("model") / "store", Hashed(), fields=["year"])
    model: dict[tuple, str] = {}
    for what, name, words, year in steps:
        chunks = pieces(*words)
        keys = [(name, chunk.start, chunk.end, chunk.text) for chunk in chunks]
        if what == "add" and any(model.get(key, year) != year for key in keys):
            with pytest.raises(ValueError, match="update or replace"):
                store.add(name, chunks, {"year": year})
        elif what == "add":
            assert store.add(name, chunks, {"year": year}).new == len(set(keys) - model.keys())
            model |= dict.fromkeys(keys, year)
        elif what == "replace":
            there = {key for key in model if key[0] == name}
            assert store.replace(name, chunks, {"year": year}).removed == len(there - set(keys))
            model = {key: value for key, value in model.items() if key not in there} | dict.fromkeys(keys, year)
        elif what == "update":
            chosen = [key for key in model if key[0] == name]
            assert store.update({"document": name}, {"year": year}) == len(chosen)
            model |= dict.fromkeys(chosen, year)
        elif what == "delete":
            chosen = [key for key, value in model.items() if key[0] == name and value == year]
            assert store.delete({"document": name, "year": year}) == len(chosen)
            model = {key: value for key, value in model.items() if key not in chosen}
        else:
            store.forget()
    records = store.records()
    assert len(records) == len(model)
    assert {(r.document, r.start, r.end, r.text): r.metadata["year"] for r in records} == model
    check_vectors(store)
