"""The measurements of notebook 06 on a small part of the town, and the parts of a RAG that only they use."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import log2

import numpy as np
import pytest

from memcourse.metrics import token_f1
from memcourse.model.prompts import open_question, prompt_head
from memcourse.retrieval import RAG, MemoryStore, Ranked, Record, Retriever, rag_studies
from memcourse.retrieval.chunking import by_sentences, sentences
from memcourse.retrieval.citations import cite
from memcourse.retrieval.poison import FORMS
from memcourse.retrieval.rag_measures import complete_within, evidence, gold_passages, gold_sentences, solved_examples
from memcourse.world import Collection, Question, changes, document, load_world

from .store_support import Hashed, pieces

TOWN = load_world()
FACTS = {fact.id: fact for fact in TOWN.facts}
EXAMPLES = solved_examples(TOWN, 2)
ASKED = [TOWN.select(split="dev", kinds=["single"])[0], TOWN.select(split="dev", kinds=["two_hop"])[3]]
TEXTS = [question.text for question in ASKED]
CHANGES = changes(TOWN, "dev")[:2]


def needed(*questions: Question) -> set[str]:
    return {TOWN.passages[name].document for question in questions for name in question.passages}


OLDER, NEWER = {change.before.document for change in CHANGES}, {change.now.document for change in CHANGES}
KEPT = needed(*ASKED) | OLDER | NEWER | {each.id for each in TOWN.documents[::15]}
PART = Collection(tuple(each for each in TOWN.documents if each.id in KEPT), facts=TOWN.facts)


@pytest.fixture(scope="module")
def store(embedder):
    return rag_studies.chunked(PART, embedder, 0)


@pytest.fixture(scope="module")
def rag(lm, store):
    return RAG(lm, Retriever(store), k=2, examples=EXAMPLES, max_new_tokens=3)


@pytest.fixture
def read(monkeypatch):
    """The answers of every call in which a RAG reads, in the order of the calls."""
    calls, plain = [], RAG.read_many

    def recording(self, *args):
        calls.append(plain(self, *args))
        return calls[-1]

    monkeypatch.setattr(RAG, "read_many", recording)
    return calls


def documents(answers) -> set[str]:
    return {hit.record.document for answer in answers for hit in answer.retrieved}


OLD = [("m", pieces("Mill. ", "Moor. ", " "), {"kind": "note"}), ("z", pieces("Zoo. "), {"kind": "letter"})]
NEW = [("a", pieces("Ark. ", "  "), {"kind": "letter"}), ("p", pieces("Pier. ", "Mill. "), None)]


def test_a_store_plus_documents_is_a_store_made_of_all_of_them_at_once():
    whole, grown = MemoryStore([*OLD, *NEW], Hashed(), ["kind"]), MemoryStore(OLD, Hashed(), ["kind"]).plus(NEW)
    ids = [record.id for record in whole.records()]
    assert grown.records() == whole.records() and len(grown) == len(whole) == 6
    assert (grown.fields, grown.blank, grown.state) == (whole.fields, whole.blank, 0) and whole.blank == 2
    np.testing.assert_array_equal(grown.vectors(ids), whole.vectors(ids))
    for where in (None, {"kind": "letter"}):
        assert grown.search_many(["Pier. ", "Mill. "], 3, where) == whole.search_many(["Pier. ", "Mill. "], 3, where)


def test_plus_leaves_the_old_store_as_it_is_and_embeds_only_what_is_new():
    encoder = Hashed()
    old = MemoryStore(OLD, encoder, ["kind"])
    before, found = old.records(), old.search_many(["Pier. "], 9)
    encoder.seen.clear()
    grown = old.plus([OLD[0], *NEW])
    assert encoder.seen == ["Ark. ", "Pier. ", "Mill. "], "the chunks of m are there already"
    assert len(grown) == 6 and grown is not old and old.records() == before and len(old) == 3
    assert old.search_many(["Pier. "], 9) == found and len(grown.search_many(["Pier. "], 9)[0]) == 6
    assert old.blank == 1 and old.plus(OLD).records() == before, "nothing is doubled"


def test_plus_refuses_the_same_chunk_with_other_metadata_and_no_text_at_all():
    old = MemoryStore(OLD, Hashed(), ["kind"])
    with pytest.raises(ValueError, match="No text found"):
        old.plus([])
    with pytest.raises(ValueError, match=r"'m' is here with the metadata \{'kind': 'note'\}, not with \{'kind': 'letter'\}"):
        old.plus([("m", OLD[0][1], {"kind": "letter"})])


@pytest.mark.parametrize(("size", "cut"), [(0, sentences), (200, partial(by_sentences, size=200))])
def test_a_collection_is_cut_into_sentences_or_chunks_with_their_kinds(size, cut):
    found = {(r.document, r.text, r.metadata["kind"]) for r in rag_studies.chunked(PART, Hashed(), size).records()}
    assert found == {(d.id, c.text, d.metadata["kind"]) for d in PART.documents for c in cut(d.text) if c.text.strip()}


def test_using_another_search_or_k_is_a_rag_newly_built_with_it(rag, store):
    words = Retriever(store, "words")
    parts = dict(vars(rag))
    other, new = rag.using(words, 3), RAG(rag.lm, words, k=3, examples=EXAMPLES, max_new_tokens=3)
    assert other._prefix is rag._prefix and (other.search, other.k, rag.using(words).k) == (words, 3, 2)
    for one, same in zip(other.answer_many(TEXTS), new.answer_many(TEXTS), strict=True):
        assert replace(one, seconds={}, confidence=0) == replace(same, seconds={}, confidence=0)
        assert one.confidence == pytest.approx(same.confidence, abs=1e-5) and len(one.retrieved) == 3
    assert vars(rag) == parts, "the first one is as it was"
    with pytest.raises(ValueError, match=r"k must be at least 1, not 0\."):
        rag.using(words, 0)


def test_gold_sentences_are_the_spans_of_gold_passages_that_state_a_fact():
    texts = {each.id: each.text for each in TOWN.documents}
    for question in TOWN.questions:
        passages, found = [hit.record for hit in gold_passages(TOWN, question)], gold_sentences(TOWN, question)
        assert bool(found) == bool(question.facts) and len({hit.record.id for hit in found}) == len(found)
        for record in (hit.record for hit in found):
            assert texts[record.document][record.start : record.end] == record.text
            assert any(p.document == record.document and p.start <= record.start < record.end <= p.end for p in passages)
            facts = [FACTS[name] for name in question.facts if FACTS[name].document == record.document]
            assert any(each.exact for fact in facts for each in cite(fact.value, [record])), (question.id, record.text)
        assert not found or evidence(question, FACTS, [hit.record for hit in found]) == 1
    assert gold_sentences(TOWN, replace(ASKED[0], facts=())) == []
    assert sum(len(gold_sentences(TOWN, q)) - len(q.facts) for q in TOWN.questions) < 9, "nearly every one states its fact"


def test_ranking_scores_by_hand():
    paper = Collection((document("d", "\n\n".join(f"Line {i}." for i in range(1, 8))),))
    rows = [Record(str(p.id), "d", p.start, p.end, p.text) for p in paper.passages.values()]
    hits = [Ranked(rows[i - 1], 1.0, 1.0) for i in (3, 1, 1, 4, 5, 6, 2)]  # d#1 twice, so d#2 has rank 6
    question = Question("q", "Which?", ("this",), relevance={"d#1": 1, "d#2": 2, "d#7": 0})
    scores = rag_studies.ranking_scores(paper, [question, question], [hits, []])
    gained = (1 / log2(3) + 2 / log2(7)) / (2 + 1 / log2(3))
    assert scores == {"recall@5": [0.5, 0], "MRR": [0.5, 0], "nDCG@10": [pytest.approx(gained), 0]}


def test_the_same_questions_from_four_sources(rag, read):
    labels = []
    rows = rag_studies.compare_sources(rag, TOWN, ASKED, EXAMPLES, labels.append)
    assert list(rows) == labels == ["closed book", "RAG", "gold passage", "gold sentences"]
    assert [row["retrieved"] for row in rows["closed book"]] == [[], []]
    assert not any("Passage" in answer.prompt for answer in read[0]) and all("Passage" in a.prompt for a in read[1])
    assert read[1][0].retrieved == tuple(rag.search.search(TEXTS, 2)[0])
    for name, gold in (("gold passage", gold_passages), ("gold sentences", gold_sentences)):
        assert [list(a.retrieved) for a in read[list(rows).index(name)]] == [gold(TOWN, q) for q in ASKED]


def test_the_whole_corpus_says_what_fitted_and_whose_facts_were_inside(lm, monkeypatch):
    first, second = (gold_passages(TOWN, q)[0].record for q in ASKED)
    monkeypatch.setattr(lm, "generate", lambda prompts, *rest, **more: [f" {ASKED[0].answer} ", "nothing"])
    one = 16 + max(len(lm.encode(prompt_head(EXAMPLES) + open_question(text, first.text))) for text in TEXTS)
    facts = [evidence(ASKED[1], FACTS, some) for some in ([first], [first, second])]
    assert facts[0] < facts[1], "the second question needs the second passage"
    for limit, kept in ((one + 2, 1), (2000, 2)):
        result = rag_studies.whole_corpus(lm, TOWN, ASKED, [first, second], EXAMPLES, limit)
        assert result == {"f1": [1.0, 0.0], "inside": [1.0, facts[kept - 1]], "kept": kept}


def test_more_passages_never_hold_fewer_facts(rag, read):
    ks, labels = [1, 2, 4], []
    result = rag_studies.compare_k(rag, TOWN, ASKED, ks, labels.append)
    assert [[len(answer.retrieved) for answer in call] for call in read] == [[k, k] for k in ks] and rag.k == 2
    assert labels == ["k = 1", "k = 2", "k = 4"] and [len(row) for row in result["f1"]] == [2, 2, 2]
    found = np.array(result["found"])
    assert found.shape == (3, 2) and (np.diff(found, axis=0) >= 0).all() and found[0].sum() < found[-1].sum()
    drafts = [[answer.draft for answer in call] for call in read]
    assert result["f1"] == [[token_f1(a, q.answers) for a, q in zip(row, ASKED, strict=True)] for row in drafts]
    known = {2: [{"f1": 0.25}, {"f1": 0.5}]}
    again = rag_studies.compare_k(rag, TOWN, ASKED, ks, known=known)
    assert again["f1"] == [result["f1"][0], [0.25, 0.5], result["f1"][2]] and again["found"] == result["found"]


def test_every_search_is_measured_with_the_same_questions(rag, store, read):
    searches = {"fused": rag.search, "words": Retriever(store, "words")}
    result = rag_studies.compare_searches(rag, searches, TOWN, ASKED, 3)
    assert list(result) == list(searches) and rag.k == 2
    assert [len(answers) for answers in read] == [1, 2, 1, 2], "one question warms up"
    for (name, parts), answers in zip(result.items(), read[1::2], strict=True):
        assert set(parts) == {"found", "f1", "tokens", "seconds"} and {len(row) for row in parts.values()} == {2}
        hits = searches[name].search(TEXTS, 3)
        assert [list(answer.retrieved) for answer in answers] == hits
        wanted = [float(evidence(q, FACTS, [hit.record for hit in row]) == 1) for q, row in zip(ASKED, hits, strict=True)]
        assert parts["found"] == wanted and parts["tokens"] == [answer.tokens for answer in answers]


def test_an_index_of_one_edition_gives_nothing_of_the_other(rag, store, read):
    said = rag_studies.swap_editions(rag, store, CHANGES)
    newer, older, both = read
    assert said == {"newer": [a.draft for a in newer], "older": [a.draft for a in older], "both": [a.draft for a in both]}
    assert documents(newer) & NEWER and not documents(newer) & OLDER
    assert documents(older) & OLDER and not documents(older) & NEWER
    plain = rag.search.search([change.question.text for change in CHANGES], 2)
    assert [list(answer.retrieved) for answer in both] == plain, "nothing is left out, and k is the same"
    assert not {c.now.document for c in changes(TOWN)} & {c.before.document for c in changes(TOWN)}, "none is both"


def test_starved_questions_get_nothing_of_the_documents_they_need(rag, read):
    unanswerable = TOWN.select(split="dev", kinds=["unanswerable"])[:1]
    rows = rag_studies.starve(rag, TOWN, ASKED, unanswerable)
    assert list(rows) == ["needed documents removed", "unanswerable"]
    for question, starved in zip(ASKED, read[0], strict=True):
        assert documents([rag.answer(question.text)]) & needed(question) and not documents([starved]) & needed(question)
        records = [hit.record for hit in rag.search.search([question.text], 20)[0]]
        others = [record for record in records if record.document not in needed(question)]
        assert [hit.record for hit in starved.retrieved] == others[:2], "others move up"
    assert [row["id"] for row in rows["unanswerable"]] == [unanswerable[0].id]


def test_planted_letters_are_found_unless_a_defence_keeps_them_out(rag, store, read):
    trusted = sorted({each.metadata["kind"] for each in PART.documents} - {"letter"})
    question, size = CHANGES[0].question, len(store)
    said = rag_studies.poison_study(rag, store, [question], [CHANGES[0].before.value], trusted)
    wanted = {f"{form}, {way}" for form in FORMS for way in ("no defence", "sieve")} | {"quiet, provenance"}
    assert set(said) == wanted and len(said) == 7 and len(store) == size
    for (name, drafts), answers in zip(said.items(), read, strict=True):
        assert drafts == [answer.draft for answer in answers] and len(answers[0].retrieved) == 2
        letters = [hit.record for hit in answers[0].retrieved if hit.record.document == "planted-0"]
        assert bool(letters) == (name.endswith("no defence") or name == "quiet, sieve"), name
        assert all(letter.metadata == {"kind": "letter"} and question.text in letter.text for letter in letters)
    assert {hit.record.metadata["kind"] for hit in read[-1][0].retrieved} <= set(trusted)


def test_every_chunk_size_shows_the_same_characters():
    fact = next(fact for fact in TOWN.facts if fact.id == ASKED[0].facts[0])
    text = next(document.text for document in TOWN.documents if document.id == fact.document)
    end = text.index(fact.value) + len(fact.value)
    record = Record("a", fact.document, 0, len(text), text)
    other = Record("b", "elsewhere", 0, 9, "nine char")

    def complete(*records, within):
        found = [[Ranked(each, 1.0, 1.0) for each in records]]
        return complete_within(TOWN, ASKED[:1], found, within)

    assert complete(record, within=end) == [1], "a chunk that is longer than what may be shown is cut, not left out"
    assert complete(record, within=end - 1) == [0]
    assert complete(other, record, within=end + 9) == [1] and complete(other, record, within=end + 8) == [0]
    assert complete(record, within=0) == [0]
