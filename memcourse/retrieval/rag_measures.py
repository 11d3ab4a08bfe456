"""How good the answers of a RAG are, kind by kind, and which part of it is to blame for the wrong ones. Notebook 06."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from memcourse import metrics
from memcourse.model.batching import check_texts
from memcourse.model.lm import LanguageModel
from memcourse.model.prompts import Example, open_question, prompt_head
from memcourse.progress import Progress
from memcourse.retrieval.chunking import Chunk, sentences
from memcourse.retrieval.citations import cite
from memcourse.retrieval.rag import RAG, Answer
from memcourse.retrieval.retriever import Ranked
from memcourse.retrieval.store_rows import Piece, Record, content_id
from memcourse.world.records import Collection, Fact, Question

VERDICTS = ("right", "retrieval", "assembly", "model")


def documents_of(
    collection: Collection, cut: Callable[[str], Iterable[Chunk]], fields: Sequence[str] = ()
) -> list[tuple[str, list[Chunk], dict[str, str]]]:
    """The documents of a collection as a store wants them: id, chunks (as `cut` makes them of the whole text), metadata."""
    return [
        (each.id, list(cut(each.text)), {name: each.metadata.get(name, "") for name in fields})
        for each in collection.documents
    ]


def gold_passages(collection: Collection, question: Question) -> list[Ranked]:
    """The relevant passages of a question, as if a perfect search had found them and nothing else."""
    return [_given(collection.passages[name], 0) for name in question.passages]


def gold_sentences(collection: Collection, question: Question) -> list[Ranked]:
    """Of the relevant passages only the sentences that state a fact behind the question, as a perfect search would find.

    A question without facts gets none.
    """
    facts = {fact.id: fact for fact in collection.facts if fact.id in question.facts}
    found = []
    for gold in gold_passages(collection, question):
        for piece in sentences(gold.record.text):
            hit = _given(piece, gold.record.start, gold.record.document)
            if any(fact.document == hit.record.document and _stands_in(fact.value, [hit.record]) for fact in facts.values()):
                found.append(hit)
    return found


def _given(piece: Piece, offset: int, document: str = "") -> Ranked:
    """A piece as if a search had found it; `offset` is where the text begins in whose places start and end are given."""
    document, start, end = document or getattr(piece, "document", ""), piece.start + offset, piece.end + offset
    return Ranked(Record(content_id(document, start, end, piece.text), document, start, end, piece.text), 1.0, 1.0)


def ranked_passages(collection: Collection, hits: Iterable[Ranked]) -> list[str]:
    """Ids of the passages in which chunks lie, best first, each once: what judgements by passage are compared with.

    A chunk that reaches over several passages counts for the one with which it shares most characters.
    """
    by_document: dict[str, list[Any]] = {}
    for passage in collection.passages.values():
        by_document.setdefault(passage.document, []).append(passage)
    names = []
    for hit in hits:
        start, end = hit.record.start, hit.record.end
        near = by_document.get(hit.record.document, [])
        best = max(near, key=lambda p: min(end, p.end) - max(start, p.start), default=None)
        if best and min(end, best.end) > max(start, best.start):
            names.append(best.id)
    return list(dict.fromkeys(names))


def evidence(question: Question, facts: dict[str, Fact], records: Sequence[Record]) -> float:
    """Share of the facts behind a question whose value stands in some record of the document that states it.

    Case doesn't count, and only whole words do: 2 does not stand in 2019.

    Raises:
        ValueError: the question rests on no facts (unanswerable ones don't).
    """
    if not question.facts:
        raise ValueError(f"Question {question.id} rests on no facts, so there is no evidence to look for.")
    there = [
        _stands_in(facts[name].value, [record for record in records if record.document == facts[name].document])
        for name in question.facts
    ]
    return sum(there) / len(there)


def _stands_in(value: str, records: Sequence[Record]) -> bool:
    return any(citation.exact for citation in cite(value, records))


def complete_within(
    collection: Collection, questions: Sequence[Question], found: Sequence[Sequence[Ranked]], characters: int
) -> list[int]:
    """For each question 1 if all its facts stand in the first passages that fit into so many characters, else 0.

    A fair way to compare chunks of different sizes: each size shows the same amount of text. What is found is taken in
    order, and the passage with which the characters run out is cut off there.

    Raises:
        ValueError: a question that rests on no facts, or not as many lists of passages as questions.
    """
    facts, complete = {fact.id: fact for fact in collection.facts}, []
    for question, hits in zip(questions, found, strict=True):
        shown: list[Record] = []
        left = characters
        for hit in hits:
            record, text = hit.record, hit.record.text[: max(left, 0)]
            shown.append(replace(record, text=text, end=record.start + len(text)))
            left -= len(text)
        complete.append(int(evidence(question, facts, shown) == 1))
    return complete


def verdict(question: Question, facts: dict[str, Fact], answer: Answer) -> str:
    """Where an answer went wrong: "right", or the first part that failed.

    "retrieval": a fact that is needed was not found; "assembly": it was found and did not fit into the prompt; "model": it
    was in the prompt and the answer is wrong all the same. Right means an exact match, which luck can bring about, too.
    """
    if metrics.exact_match(answer.draft, question.answers):
        return "right"
    if evidence(question, facts, [hit.record for hit in answer.retrieved]) < 1:
        return "retrieval"
    cut = {record.id for record in answer.cut}
    # read each by itself, `used` names only the passages whose answer won; the others were read, too
    read = [*answer.used, *(hit.record for hit in answer.retrieved if hit.record.id not in cut)]
    return "assembly" if evidence(question, facts, read) < 1 else "model"


def judged(
    rag: RAG,
    collection: Collection,
    questions: Sequence[Question],
    found: Sequence[Sequence[Ranked]] | None = None,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Ask a RAG, and judge what it says: one row of plain values a question, fit to be stored as JSON.

    Args:
        found: passages to answer from in place of a search: none at all for closed book, or `gold_passages`.

    Returns:
        Rows with id, kind, answer (the draft), em, f1 (both None without a right answer), confidence, tokens, seconds,
        cited (whether the answer stands word for word in a passage), retrieved (passage ids), verdict (None without facts).
    """
    texts = [question.text for question in questions]
    answers = rag.answer_many(texts, progress) if found is None else rag.read_many(texts, found, progress)
    facts = {fact.id: fact for fact in collection.facts}
    return [_row(collection, facts, question, answer) for question, answer in zip(questions, answers, strict=True)]


def _row(collection: Collection, facts: dict[str, Fact], question: Question, answer: Answer) -> dict[str, Any]:
    known = question.answers
    return {
        "id": question.id,
        "kind": question.kind,
        "answer": answer.draft,
        "em": metrics.exact_match(answer.draft, known) if known else None,
        "f1": metrics.token_f1(answer.draft, known) if known else None,
        "confidence": answer.confidence,
        "tokens": answer.tokens,
        "seconds": sum(answer.seconds.values()),
        "cited": any(citation.exact for citation in answer.citations),
        "retrieved": ranked_passages(collection, answer.retrieved),
        "verdict": verdict(question, facts, answer) if question.facts and known else None,
    }


def solved_examples(collection: Collection, n: int = 16) -> list[Example]:
    """n solved questions of split train for the head of a prompt, each with the one sentence that holds its answer.

    Taken at even distances from all that have a short answer and one passage. Many, since which ones they are matters much
    to a small model, and their number little to the time: they are read once for all questions.

    Raises:
        ValueError: n < 1, or more than there are.
    """
    fit = []
    for question in collection.select(split="train"):
        if len(question.passages) == 1 and question.answers and len(question.answer) < 25:
            passage = collection.passages[question.passages[0]]
            pieces = [Record("", passage.document, *piece[1:], piece.text.strip()) for piece in sentences(passage.text)]
            holding = [piece.text for piece in pieces if _stands_in(question.answer, [piece])]
            fit += [Example(question.text, question.answer, holding[0])] if holding else []
    if not 1 <= n <= len(fit):
        raise ValueError(f"There are {len(fit)} solved questions with one sentence each; n must be from 1 to that, not {n}.")
    return [fit[i * len(fit) // n] for i in range(n)]


def read_everything(
    lm: LanguageModel,
    questions: Sequence[str],
    records: Sequence[Record],
    examples: Sequence[Example],
    limit: int,
    room: int = 16,
) -> tuple[list[str], list[Record]]:
    """Answers with a whole collection in the prompt, as far as it fits: no search at all.

    The passages stand before the question, in their order, and run through the model once for all questions.

    Returns:
        The answers, and the records that fitted into `limit` tokens (prompt and answer together).

    Raises:
        TypeError: a single string for the questions, or something that is no string.
        ValueError: not even the first record fits, there is none, an empty question, or room < 1.
    """
    asked = [open_question(question) for question in check_texts(questions, "question")]
    if room < 1:
        raise ValueError(f"The answer needs a room of at least 1 token, not {room}.")
    head = prompt_head(examples)
    longest = max(asked, key=lambda text: len(lm.encode(text)), default="")
    kept = _fitting(lm, records, lambda kept: _shared(head, kept) + longest, min(limit, lm.window) - room)
    if not kept:
        raise ValueError(
            f"Not even the first passage fits into {limit:,} tokens with the examples and the question."
            if records
            else "There is no passage to read; give at least one record."
        )
    if not asked:
        return [], kept
    answers = lm.generate(asked, room, stop=["\n"], prefix=lm.prefix(_shared(head, kept)))
    return [answer.strip() for answer in answers], kept


def _shared(head: str, records: Sequence[Record]) -> str:
    return f"{head}Passage: {' '.join(record.text.strip() for record in records)}\n"


def _fitting(
    lm: LanguageModel, records: Sequence[Record], prompt: Callable[[Sequence[Record]], str], most: int
) -> list[Record]:
    """The first records whose prompt has at most so many tokens."""
    kept: list[Record] = []
    used = 0
    for record in records:  # each is counted once, since the whole prompt may be long
        used += len(lm.encode(" " + record.text.strip() if kept else prompt([record])))
        if used > most:
            break
        kept.append(record)
    # the parts of a text may have fewer tokens than the whole
    while kept and len(lm.encode(prompt(kept))) > most:
        kept.pop()
    return kept
