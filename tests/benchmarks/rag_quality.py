"""Question answering over a file of SQuAD's layout: how good the course's RAG is, beside LangChain's and LlamaIndex's.

Questions at even places are the test, those at odd places are for choosing the worked examples and the way of reading;
both halves ask about the same paragraphs. For the frameworks, install what `rag_rivals.py` names.

Run by hand, with a file of your own: python tests/benchmarks/rag_quality.py FILE.json [--rivals 60]
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rag_rivals import Models, Row, each, interleaved, timed
from rag_rivals import rivals as frameworks

from memcourse import metrics, world
from memcourse.model import Example, LanguageModel, completion_prompt, load_embedder, load_lm
from memcourse.retrieval import RAG, Answer, Chunk, MemoryStore, Ranked, Record, Retriever, content_id, sentences

EXAMPLES = 16
SHORT = 25  # characters that an example's answer must stay below
ONE_BY_ONE = 20
COMPARED = 100  # test questions for the right sentence and the closed book
WAYS = ("each", "together", "each, verbatim", "together, verbatim")
BLOCK = 10  # questions that each system answers in turn, so that a busy moment hits all of them


class Setting(NamedTuple):
    """What every run shares: the model, the search over single sentences, and where they come from."""

    lm: LanguageModel
    store: MemoryStore
    search: Retriever
    collection: world.Collection

    def rag(self, examples: Sequence[Example], way: str, k: int = 3) -> RAG:
        read, _, verbatim = way.partition(", ")
        return RAG(self.lm, self.search, k=k, read=read, verbatim=bool(verbatim), examples=examples)


def main(path: Path, *, n: int, draws: int, dev: int, rivals: int, minutes: float, plain: bool) -> None:
    """Choose on one half, test on the other, and print one table."""
    begun = time.perf_counter()
    collection = world.read_squad(path)
    asked = [question for question in collection.questions if question.answers]
    test, others = asked[::2][:n], asked[1::2]
    if min(n, draws, dev) < 1 or n > len(test) or rivals > n or dev + EXAMPLES > len(others):
        raise SystemExit(
            f"n = {n}, draws = {draws}, dev = {dev} and rivals = {rivals} don't suit this file: the first three are at "
            f"least 1, n at most {len(asked[::2])}, dev at most {len(others) - EXAMPLES}, rivals at most n."
        )
    documents = [(d.id, [chunk for p in d.passages for chunk in placed(p)], None) for d in collection.documents]
    store = MemoryStore(documents, load_embedder(device="cpu"))
    setting = Setting(load_lm(device="cpu", dtype="float32"), store, Retriever(store), collection)
    examples, way = chosen(setting, others, draws, dev)
    print(f"{time.perf_counter() - begun:.0f} s until the choice was made; {torch.get_num_threads()} threads", flush=True)
    rows = tested(setting, test, examples, way)
    print(f"{time.perf_counter() - begun:.0f} s until the test was done", flush=True)
    until = begun + 60 * minutes
    beside = compared(setting, test[:rivals], examples, way, until, plain) if rivals > 0 else []
    print(f"{'':34}{'n':>5}  {'token F1 (95 % interval)':24}  EM     recall  seconds", end="  ")
    print("ours - its F1              time / ours, / ours in a batch" if beside else "")
    for place, row in enumerate([*rows, *beside]):
        print(row.line(beside[:2] if place >= len(rows) + 2 else ()))
    print(f"{time.perf_counter() - begun:.0f} s altogether")


def placed(passage: world.Passage) -> list[Chunk]:
    """The sentences of a passage with their places in the document."""
    return [Chunk(c.text, passage.start + c.start, passage.start + c.end) for c in sentences(passage.text)]


def chosen(setting: Setting, others: Sequence[world.Question], draws: int, dev: int) -> tuple[list[Example], str]:
    """The worked examples and the way of reading that do best on questions of the half for choosing."""
    scored_on = random.Random(0).sample(others, dev)
    pool = solved(setting, [question for question in others if question not in scored_on])
    if len(pool) < EXAMPLES:
        raise SystemExit(f"Only {len(pool)} questions can serve as worked examples; {EXAMPLES} are needed. Lower --dev.")
    drawn = [random.Random(seed).sample(pool, EXAMPLES) for seed in range(draws)]

    def f1(examples: Sequence[Example], way: str, k: int) -> float:
        answers = setting.rag(examples, way, k).answer_many([question.text for question in scored_on])
        return float(Row("", [answer.text for answer in answers], scored_on).scores().mean())

    # from one passage both ways of reading are the same, and the cheapest
    values = [f1(examples, "each", 1) for examples in drawn]
    best = drawn[int(np.argmax(values))]
    ways = {way: f1(best, way, 3) for way in WAYS}
    print(f"Token F1 of {draws} draws of examples, k = 1, {dev} questions: {', '.join(f'{v:.3f}' for v in values)}")
    print(f"Examples {[e.answer for e in best]}; with them and k = 3: {'; '.join(f'{w} {v:.3f}' for w, v in ways.items())}")
    return best, max(ways, key=lambda way: ways[way])


def solved(setting: Setting, questions: Sequence[world.Question]) -> list[Example]:
    """Examples out of the questions whose short answer stands in the sentence that is found first."""
    found = setting.search.search([question.text for question in questions], 1)
    texts = [hits[0].record.text.strip() for hits in found]
    made = [Example(q.text, q.answers[0], text) for q, text in zip(questions, texts, strict=True) if q.answers[0] in text]
    # braces would be fields in the frameworks' templates
    return [e for e in made if len(e.answer) < SHORT and not set("{}") & set(e.question + e.answer + str(e.passage))]


def tested(setting: Setting, test: Sequence[world.Question], examples: Sequence[Example], way: str) -> list[Row]:
    """The test in a batch and one by one, and the same model with the right sentence and with no passage at all."""
    rag, texts = setting.rag(examples, way), [question.text for question in test]
    rag.answer(texts[0])  # warms up
    answers, took = timed(partial(rag.answer_many, texts))
    recall = np.mean([holds(answer, question.answers) for answer, question in zip(answers, test, strict=True)])
    alone = [timed(partial(rag.answer, text)) for text in texts[:ONE_BY_ONE]]
    some, texts = test[:COMPARED], texts[:COMPARED]
    right = rag.read_many(texts, [gold(setting.collection, question) for question in some])
    # without a passage in its examples, or it would look for one
    closed_book = setting.rag([e._replace(passage=None) for e in examples], way.partition(", ")[0])
    closed = closed_book.read_many(texts, [[] for _ in texts])
    return [
        Row(f"RAG, {way}, batch", [answer.text for answer in answers], test, [took / len(test)], float(recall)),
        Row(f"RAG, {way}, one by one", [a.text for a, _ in alone], test[: len(alone)], [seconds for _, seconds in alone]),
        Row("right sentence", [answer.text for answer in right], some),
        Row("closed book", [answer.text for answer in closed], some),
    ]


def holds(answer: Answer, golds: Sequence[str]) -> bool:
    """Whether an answer stands in one of the passages that were found, word for word."""
    texts = [f" {metrics.normal_answer(hit.record.text)} " for hit in answer.retrieved]
    return any(f" {metrics.normal_answer(right)} " in text for right in golds for text in texts)


def gold(collection: world.Collection, question: world.Question) -> list[Ranked]:
    """The first sentence of the right passage that holds an answer; where none does, the passage."""
    passage = collection.passages[next(iter(question.passages))]
    parts = [*placed(passage), Chunk(passage.text, passage.start, passage.end)]
    text, start, end = next((part for part in parts if any(right in part.text for right in question.answers)), parts[-1])
    return [Ranked(Record(content_id(passage.document, start, end, text), passage.document, start, end, text), 1.0, 1.0)]


def compared(
    setting: Setting, test: Sequence[world.Question], examples: Sequence[Example], way: str, until: float, plain: bool
) -> list[Row]:
    """Ours one by one and in batches of a block, then each framework's; no block begins that would end after `until`."""
    rag = setting.rag(examples, way)
    chunks = [(record.document, record.text.strip()) for record in setting.store.records()]
    template = completion_prompt("{question}", passage="{context}", examples=examples)
    models = Models(setting.lm, setting.store.embedder)
    others = frameworks(setting.collection, lambda: chunks, template, models, joiner=" ", plain=plain)
    systems: dict[str, Callable[[list[str]], list[str]]] = {
        "ours, one by one": lambda texts: [rag.answer(text).text for text in texts],
        "ours, batches": lambda texts: [answer.text for answer in rag.answer_many(texts)],
        **each(others),
    }
    return interleaved(systems, test, BLOCK, until)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Question answering with the course's RAG, on a file of SQuAD's layout.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--rivals", type=int, default=0, help="test questions for LangChain and LlamaIndex")
    parser.add_argument("--n", type=int, default=300, help="test questions")
    parser.add_argument("--draws", type=int, default=6, help="draws of worked examples to choose from")
    parser.add_argument("--dev", type=int, default=60, help="questions that the choice is made on")
    parser.add_argument("--minutes", type=float, default=24, help="after so many, no more questions for the frameworks")
    parser.add_argument("--plain", action="store_true", help="also the standard pipelines without the chat format")
    main(**vars(parser.parse_args()))
