"""Which characters of which document an answer rests on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from memcourse.retrieval.bm25 import words
from memcourse.retrieval.chunking import by_sentences
from memcourse.retrieval.store_rows import Record


class Citation(NamedTuple):
    """A place in a document: `document.text[start:end] == text` where the record's own place was right.

    Attributes:
        document: the document's id.
        start, end: characters.
        text: what stands there.
        exact: True if the answer stands there word for word; False if it is only the most similar sentence.
    """

    document: str
    start: int
    end: int
    text: str
    exact: bool


def cite(answer: str, records: Sequence[Record], question: str = "") -> tuple[Citation, ...]:
    """The places at which passages hold an answer word for word (case and white space don't count), one for each passage.

    Where none does, the one sentence that shares most of its words with the answer (then with the question) is named, as
    not exact; and nothing where no word of the answer is found. That an answer stands somewhere doesn't make it right.

    Args:
        records: the passages that the model read, the most trusted first.
    """
    parts = answer.split()
    if not parts or not words(answer):
        return ()
    # whole words only: 40 does not stand in 140
    pattern = re.compile(r"(?<!\w)" + r"\s+".join(map(re.escape, parts)) + r"(?!\w)", re.IGNORECASE)
    exact = []
    for record in records:
        match = pattern.search(record.text)
        if match:
            exact.append(_at(record, match.start(), match.end(), True))
    return tuple(exact) or _nearest(answer, records, question)


def _nearest(answer: str, records: Sequence[Record], question: str) -> tuple[Citation, ...]:
    wanted, asked = set(words(answer)), set(words(question))
    best, most = None, (0, 0)
    for record in records:
        for sentence in by_sentences(record.text, 1_000_000) if len(record.text) < 200 else by_sentences(record.text, 200):
            here = set(words(sentence.text))
            overlap = len(wanted & here), len(asked & here)
            if overlap[0] and overlap > most:
                best, most = _at(record, sentence.start, sentence.end, False), overlap
    return (best,) if best else ()


def _at(record: Record, start: int, end: int, exact: bool) -> Citation:
    text = record.text[start:end]
    start, text = start + len(text) - len(text.lstrip()), text.strip()
    return Citation(record.document, record.start + start, record.start + start + len(text), text, exact)
