"""Retrieval: records in memory behave as a store's, fusion is the known one, and a store may change all the while."""

from __future__ import annotations

import threading
from itertools import chain

import numpy as np
import pytest

from memcourse.retrieval import BM25, MemoryStore, Retriever, Store, reciprocal_rank_fusion

from .store_support import Hashed, pieces

TOWNS = {
    "lyon": ("Lyon lies on the Rhone.", " Its market opens at seven."),
    "oslo": ("Oslo lies on a fjord.", " Its opera opened in 2008.", " "),
    "rome": ("Rome lies on the Tiber.", " Its market opens at six.", " The Tiber floods in winter."),
}
DOCUMENTS = [(name, pieces(*parts), {"size": "big" if name == "rome" else "small"}) for name, parts in TOWNS.items()]
QUESTIONS = ["When does the market in Rome open?", "Which river floods?", "Where does Oslo lie?", "zzz"]
CONDITIONS = [None, {}, {"size": "small"}, {"size": ["big", "small"], "document": ["rome", "oslo"]}, {"document": "nowhere"}]


@pytest.fixture(scope="module", params=["hashed", "minilm"])
def encoder(request):
    """Vectors that are not of length 1, and a real model's."""
    return Hashed() if request.param == "hashed" else request.getfixturevalue("embedder")


@pytest.fixture(scope="module")
def both(encoder, tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store") / "s", encoder, ["size"])
    store.add_many(DOCUMENTS)
    return MemoryStore(DOCUMENTS, encoder, ["size"]), store


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store", Hashed(), ["size"])
    store.add_many(DOCUMENTS)
    return store


def found(retriever, question="Tiber", k=10) -> list[str]:
    (hits,) = retriever.search([question], k)
    return [hit.record.text.strip() for hit in hits]


@pytest.mark.parametrize("where", CONDITIONS)
def test_records_in_memory_are_a_stores(both, where):
    memory, store = both
    assert memory.records(where) == store.records(where) and len(memory) == len(store) == 7 and memory.blank == 1
    ids = [record.id for record in store.records(where)][::-1]
    np.testing.assert_allclose(memory.vectors(ids), store.vectors(ids), atol=1e-6)
    assert memory.fields == store.fields and memory.snapshot() is memory and memory.state == memory.state
    for k in (1, 3, 50):
        ours, theirs = memory.search_many(QUESTIONS, k, where), store.search_many(QUESTIONS, k, where)
        assert [[hit.id for hit in hits] for hits in ours] == [[hit.id for hit in hits] for hits in theirs]
        for a, b in zip(chain(*ours), chain(*theirs), strict=True):
            assert (a.text, a.start, a.metadata) == (b.text, b.start, b.metadata)
            assert a.score == pytest.approx(b.score, abs=1e-5)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda s: s.search_many("one string"), TypeError),
        (lambda s: s.search_many(["a", " "]), ValueError),
        (lambda s: s.search_many(["a"], 0), ValueError),
        (lambda s: s.search_many(["a"], -1, {"size": "big"}), ValueError),
        (lambda s: s.search_many(["a"], where={"colour": "red"}), ValueError),
        (lambda s: s.records({"size": 3}), TypeError),
        (lambda s: s.vectors(["nothing"]), ValueError),
    ],
)
def test_memory_refuses_what_a_store_refuses(both, call, error):
    for source in both:
        with pytest.raises(error):
            call(source)
    assert all(source.search_many([]) == [] and source.vectors([]).shape == (0, source.embedder.dim) for source in both)


def test_memory_refuses_documents_that_a_store_refuses():
    for documents, fields, error in (([], (), ValueError), (DOCUMENTS, (), ValueError), (DOCUMENTS, "size", TypeError)):
        with pytest.raises(error):
            MemoryStore(documents, Hashed(), fields)


@pytest.mark.parametrize("where", [None, {"size": "small"}])
def test_fused_is_the_fusion_of_words_and_vectors(both, where):
    for source in both:
        records = source.records(where)
        lexical = BM25([record.text for record in records]).search(QUESTIONS, 2)
        near = source.search_many(QUESTIONS, 2, where)
        ranked = Retriever(source, where=where, depth=2).search(QUESTIONS, 2)
        for hits, nearest, matches in zip(ranked, near, lexical, strict=True):
            fused = reciprocal_rank_fusion([[hit.id for hit in nearest], [records[i].id for i in matches.ids]])[:2]
            assert [(hit.record.id, hit.score) for hit in hits] == fused
            assert all(hit.record in records for hit in hits)


def test_one_way_alone_ranks_and_scores_as_that_search_does(both):
    for source in both:
        records = source.records()
        for hits, found in zip(
            Retriever(source, "vectors").search(QUESTIONS, 4), source.search_many(QUESTIONS, 4), strict=True
        ):
            assert [hit.record.id for hit in hits] == [one.id for one in found]
            assert [hit.score for hit in hits] == pytest.approx([one.score for one in found], abs=1e-6)
            assert [hit.cosine for hit in hits] == pytest.approx([one.score for one in found], abs=1e-5)
        lexical = BM25([record.text for record in records]).search(QUESTIONS, 4)
        for hits, best in zip(Retriever(source, "words").search(QUESTIONS, 4), lexical, strict=True):
            assert [hit.record for hit in hits] == [records[i] for i in best.ids]
            assert [hit.score for hit in hits] == best.scores.tolist()
        assert Retriever(source, "words").search(["zzz"]) == [[]], "no word is shared"


@pytest.mark.parametrize("how", ["fused", "vectors", "words"])
def test_cosines_are_those_of_passage_and_question(both, how):
    memory, _ = both
    asked = [*QUESTIONS[:3], memory.records()[0].text]
    queries = memory.embedder.encode(asked)
    for query, hits in zip(queries, Retriever(memory, how).search(asked, 9), strict=True):
        assert hits
        for hit in hits:
            (vector,) = memory.embedder.encode([hit.record.text])
            wanted = float(vector @ query / np.linalg.norm(vector) / np.linalg.norm(query))
            assert hit.cosine == pytest.approx(wanted, abs=1e-5) and -1 <= hit.cosine <= 1


def test_k_above_the_depth_and_above_the_number_of_records(both):
    memory, _ = both
    assert len(found(Retriever(memory, depth=1), k=7)) == 7 and len(found(Retriever(memory, "vectors"), k=99)) == 7
    assert len(found(Retriever(memory), k=1)) == 1


@pytest.mark.parametrize("how", ["fused", "vectors", "words"])
def test_what_changes_in_a_store_is_seen_by_the_next_search(store, how):
    retriever = Retriever(store, how)
    assert "The Tiber has dolphins." not in found(retriever)
    store.add("new", pieces("The Tiber has dolphins."))
    assert "The Tiber has dolphins." in found(retriever)
    store.replace("new", pieces("The Tiber has no dolphins."))
    assert "The Tiber has no dolphins." in found(retriever) and "The Tiber has dolphins." not in found(retriever)
    store.delete({"document": "new"}, for_good=True)
    assert not any("dolphins" in text for text in found(retriever))
    store.forget()
    assert "Rome lies on the Tiber." in found(retriever)
    store.delete({"document": list(TOWNS)})
    assert found(retriever) == []
    store.add("again", pieces("The Tiber is back."))
    assert found(retriever) == ["The Tiber is back."]


def test_a_changed_field_moves_a_record_into_the_condition(store):
    retriever = Retriever(store, where={"size": "big"})
    assert found(retriever, "Oslo") == found(Retriever(store, where={"document": "rome"}), "Oslo")
    store.update({"document": "oslo"}, {"size": "big"})
    assert "Oslo lies on a fjord." in found(retriever, "Oslo")


def test_an_older_view_stays_as_it_was_until_it_is_forgotten(store):
    retriever = Retriever(store.at(store.state))
    before = found(retriever)
    store.delete({"document": "rome"})
    assert found(retriever) == before and "Rome lies on the Tiber." in before
    store.forget()
    with pytest.raises(Exception, match="cannot be read any more"):
        retriever.search(["Tiber"])


def test_nothing_is_read_anew_while_nothing_changes(store, monkeypatch):
    retriever = Retriever(store)
    monkeypatch.setattr(store, "snapshot", lambda: pytest.fail("the store has not changed"))
    assert found(retriever) == found(retriever)


def test_searches_beside_a_writer_see_whole_documents_and_never_fail(tmp_path):
    """The writer replaces a document of two chunks and forgets the older state, as fast as it can."""
    store = Store(tmp_path / "s", Hashed())
    store.replace("a", pieces("alpha 0", "beta 0"))
    stop, errors, rounds = threading.Event(), [], [0]

    def write():
        try:
            other = Store(tmp_path / "s", Hashed())
            while not stop.is_set():
                rounds[0] += 1
                other.replace("a", pieces(f"alpha {rounds[0]}", f"beta {rounds[0]}"))
                other.forget()
        except Exception as error:
            errors.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = []
        for how in ("fused", "vectors", "words") * 2:
            retriever = Retriever(store, how)
            for _ in range(3):
                numbers = [text.split()[1] for text in found(retriever, "alpha beta")]
                assert len(numbers) == 2 and len(set(numbers)) == 1
                seen.append(int(numbers[0]))
    finally:
        stop.set()
        writer.join()
    assert not errors and seen == sorted(seen) and len(set(seen)) > 5 and rounds[0] >= seen[-1]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((["Where?", " "],), ValueError, "Question 1 is empty"),
        (([""],), ValueError, "Question 0 is empty"),
        (("Where?",), TypeError, "A list of questions is needed"),
        (([3],), TypeError, "Question 0 is of type int"),
        ((["Where?"], 0), ValueError, "k must be at least 1, not 0"),
    ],
)
def test_wrong_questions_are_refused_before_anything_is_embedded(arguments, error, message):
    memory = MemoryStore(DOCUMENTS, Hashed(), ["size"])
    retriever = Retriever(memory)
    memory.embedder.seen.clear()
    with pytest.raises(error, match=message):
        retriever.search(*arguments)
    assert memory.embedder.seen == [] and retriever.search([]) == []


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"how": "magic"}, ValueError, "no search 'magic'; there are fused, vectors, words"),
        ({"depth": 0}, ValueError, "depth must be at least 1, not 0"),
        ({"where": {"colour": "red"}}, ValueError, "cannot be chosen by 'colour'"),
        ({"where": {"size": 3}}, TypeError, "'size' must be a string"),
    ],
)
def test_wrong_settings_are_refused(both, settings, error, message):
    for source in both:
        with pytest.raises(error, match=message):
            Retriever(source, **settings)
