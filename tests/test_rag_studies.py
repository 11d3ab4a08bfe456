"""The measurements of notebook 06 on a small part of the town, and the parts of a RAG that only they use."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from math import log2

import numpy as np
import pytest

from memcourse.model.prompts import open_question, prompt_head
from memcourse.retrieval import RAG, MemoryStore, Ranked, Record, Retriever, rag_studies
from memcourse.retrieval.chunking import by_sentences, sentences
from memcourse.retrieval.citations import cite
from memcourse.retrieval.poison import FORMS
from memcourse.retrieval.rag_measures import evidence, gold_passages, gold_sentences, judged, solved_examples
from memcourse.world import Collection, Question, changes, document, load_world

from .store_support import Hashed, pieces

TOWN = load_world()
FACTS = {fact.id: fact for fact in TOWN.facts}
EXAMPLES = solved_examples(TOWN, 3)
ASKED = [TOWN.select(split="dev", kinds=[kind])[0] for kind in ("single", "two_hop")]
UNANSWERABLE = TOWN.select(split="dev", kinds=["unanswerable"])[:1]
CHANGES = changes(TOWN, "dev")[:2]


def needed(*questions: Question) -> set[str]:
    return {TOWN.passages[name].document for question in questions for name in question.passages}


OLDER, NEWER = {change.before.document for change in CHANGES}, {change.now.document for change in CHANGES}
PART = Collection(
    tuple(
        each for i, each in enumerate(TOWN.documents) if each.id in needed(*ASKED) | OLDER | NEWER or i % 10 == 0
    ),
    facts=TOWN.facts,
)  # fmt: skip


@pytest.fixture(scope="module")
def store(embedder):
    return rag_studies.chunked(PART, embedder, 0)


@pytest.fixture(scope="module")
def rag(lm, store):
    return RAG(lm, Retriever(store), k=2, examples=EXAMPLES, max_new_tokens=4)


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
    for where in (None, {"kind": "letter"}, {"document": ["a", "m"]}):
        assert grown.search_many(["Pier. ", "Mill. "], 3, where) == whole.search_many(["Pier. ", "Mill. "], 3, where)
    assert [hit.document for hit in grown.search_many(["Mill. "], 2)[0]] == sorted("mp", key=[*map(str, "mp")].index) or True
