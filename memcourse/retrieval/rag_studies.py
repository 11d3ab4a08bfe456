"""The measurements of notebook 06: one function each, giving plain values that can be stored as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from memcourse import metrics
from memcourse.model.lm import LanguageModel
from memcourse.model.prompts import Example
from memcourse.progress import Label, silent
from memcourse.retrieval.chunking import Chunk, by_sentences, sentences
from memcourse.retrieval.memory_store import MemoryStore
from memcourse.retrieval.poison import FORMS, Sieve, planted
from memcourse.retrieval.rag import RAG
from memcourse.retrieval.rag_measures import (
    complete_within,
    documents_of,
    evidence,
    gold_passages,
    gold_sentences,
    judged,
    ranked_passages,
    read_everything,
)
from memcourse.retrieval.retriever import Ranked, Retriever, Search
from memcourse.retrieval.store_rows import Record
from memcourse.retrieval.store_view import Encoder
from memcourse.world.changes import Change
from memcourse.world.records import Collection, Question

Texts = dict[str, list[str]]


def texts_of(questions: Iterable[Question]) -> list[str]:
    """The questions as a search wants them."""
    return [question.text for question in questions]


def chunked(collection: Collection, embedder: Encoder, size: int) -> MemoryStore:
    """A collection in chunks of whole sentences up to `size` characters, or of one sentence each for 0, with its kinds."""
    cut: Callable[[str], list[Chunk]] = (lambda text: by_sentences(text, size)) if size else sentences
    return MemoryStore(documents_of(collection, cut, ["kind"]), embedder, ["kind"])


def ranking_scores(
    collection: Collection, questions: Sequence[Question], found: Sequence[Sequence[Ranked]]
) -> dict[str, list[float]]:
    """recall@5, reciprocal rank and nDCG@10 of each question, judged by passages."""
    rows = [(ranked_passages(collection, hits), question) for hits, question in zip(found, questions, strict=True)]
    return {
        "recall@5": [metrics.recall_at(row, question.passages, 5) for row, question in rows],
        "MRR": [metrics.reciprocal_rank(row, question.passages) for row, question in rows],
        "nDCG@10": [metrics.ndcg(row, question.relevance, 10) for row, question in rows],
    }


def compare_sources(
    rag: RAG, collection: Collection, questions: Sequence[Question], examples: Sequence[Example], label: Label = silent
) -> dict[str, list[dict[str, Any]]]:
    """The same questions closed book, from what is retrieved, from the gold passages, and from their telling sentences only.

    Returns:
        For each of the four the rows that `judged` gives.
    """
    blind = [example._replace(passage=None) for example in examples]
    alone = RAG(rag.lm, rag.search, examples=blind, max_new_tokens=rag.max_new_tokens)
    nothing: list[list[Ranked]] = [[] for _ in questions]
    passages = [gold_passages(collection, question) for question in questions]
    telling = [gold_sentences(collection, question) for question in questions]
    return {
        "closed book": judged(alone, collection, questions, nothing, label("closed book")),
        "RAG": judged(rag, collection, questions, None, label("RAG")),
        "gold passage": judged(rag, collection, questions, passages, label("gold passage")),
        "gold sentences": judged(rag, collection, questions, telling, label("gold sentences")),
    }


def whole_corpus(
    lm: LanguageModel,
    collection: Collection,
    questions: Sequence[Question],
    records: Sequence[Record],
    examples: Sequence[Example],
    limit: int,
    room: int = 16,
) -> dict[str, Any]:
    """Token F1 with as much of the collection in the prompt as fits, and which share of each question's facts is inside."""
    said, kept = read_everything(lm, texts_of(questions), records, examples, limit, room)
    facts = {fact.id: fact for fact in collection.facts}
    return {
        "f1": [metrics.token_f1(text, question.answers) for text, question in zip(said, questions, strict=True)],
        "inside": [evidence(question, facts, kept) for question in questions],
        "kept": len(kept),
    }


def compare_k(
    rag: RAG,
    collection: Collection,
    questions: Sequence[Question],
    ks: Sequence[int],
    label: Label = silent,
    known: Mapping[int, Sequence[Mapping[str, Any]]] | None = None,
) -> dict[str, list[list[float]]]:
    """For each k the token F1 of every question, and whether all its facts were found.

    Args:
        known: rows of `judged` for these questions, by k, where they are there already.
    """
    f1, found = [], []
    for k in ks:
        rows = (known or {}).get(k) or judged(rag.using(rag.search, k), collection, questions, None, label(f"k = {k}"))
        f1.append([row["f1"] for row in rows])
        hits = rag.search.search(texts_of(questions), k)
        found.append([float(x) for x in complete_within(collection, questions, hits, 10**6)])
    return {"f1": f1, "found": found}


def compare_searches(
    rag: RAG, searches: dict[str, Search], collection: Collection, questions: Sequence[Question], k: int
) -> dict[str, dict[str, list[float]]]:
    """For several searches: whether all facts are found among k passages, token F1, tokens and seconds of each question."""
    result = {}
    for name, search in searches.items():
        system = rag.using(search, k)
        # first, so that what search and model do only once is not counted in the seconds
        hits = search.search(texts_of(questions), k)
        system.answer_many(texts_of(questions[:1]))
        rows = judged(system, collection, questions)
        result[name] = {
            "found": [float(x) for x in complete_within(collection, questions, hits, 10**6)],
            **{part: [float(row[part]) for row in rows] for part in ("f1", "tokens", "seconds")},
        }
    return result


def swap_editions(rag: RAG, store: MemoryStore, changes: Sequence[Change], label: Label = silent) -> Texts:
    """What is said about today from an index with the newer editions of documents, with the older ones, and with both."""
    newer, older = {c.now.document for c in changes}, {c.before.document for c in changes}
    said = {}
    for name, dropped in {"newer": older, "older": newer, "both": set[str]()}.items():
        kept = sorted({record.document for record in store.records()} - dropped)
        system = rag.using(Retriever(store, where={"document": kept}))
        answers = system.answer_many(texts_of(change.question for change in changes), label(name))
        said[name] = [answer.draft for answer in answers]
    return said


def starve(
    rag: RAG, collection: Collection, questions: Sequence[Question], unanswerable: Sequence[Question]
) -> dict[str, list[dict[str, Any]]]:
    """Rows for questions with the documents that they need taken away, and for unanswerable ones."""
    without = []
    for question, hits in zip(questions, rag.search.search(texts_of(questions), 10 * rag.k), strict=True):
        needed = {collection.passages[name].document for name in question.passages}
        without.append([hit for hit in hits if hit.record.document not in needed][: rag.k])
    return {
        "needed documents removed": judged(rag, collection, questions, without),
        "unanswerable": judged(rag, collection, unanswerable),
    }


def poison_study(
    rag: RAG,
    store: MemoryStore,
    questions: Sequence[Question],
    claims: Sequence[str],
    trusted: Sequence[str],
    label: Label = silent,
) -> Texts:
    """What is said when a letter with a wrong answer is planted for every question, by its form and by the defence.

    Provenance (only `trusted` kinds of documents) keeps out letters of any form, so that it is measured for one of them. The
    store needs the field "kind".
    """
    said = {}
    for form in FORMS:
        texts = [planted(question.text, claim, form) for question, claim in zip(questions, claims, strict=True)]
        letters = [(f"planted-{i}", [Chunk(text, 0, len(text))], {"kind": "letter"}) for i, text in enumerate(texts)]
        everything = store.plus(letters)
        plain = Retriever(everything)
        ways: dict[str, Search] = {"no defence": plain, "sieve": Sieve(plain)}
        if form == "quiet":
            ways["provenance"] = Retriever(everything, where={"kind": list(trusted)})
        for name, search in ways.items():
            answers = rag.using(search).answer_many(texts_of(questions), label(f"{form}, {name}"))
            said[f"{form}, {name}"] = [answer.draft for answer in answers]
    return said
