"""Which characters of which document an answer rests on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from memcourse.retrieval.bm25 import words
from memcourse.retrieval.chunking import sentences
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
    """The places at which passages hold an answer word for word, one for each passage.

    Case, white space and the answer's last full stop don't count; only whole words do.

    Where none does, the one sentence that shares most of its words with the answer (then with the question) is named, as
    not exact; and nothing where no word of the answer is found. That an answer stands somewhere doesn't make it right.

    Args:
        records: the passages that the model read, the most trusted first.
    """
    if not words(answer):
        return ()
    parts = answer.strip().removesuffix(".").split()
    # looked for from every character on, since a match that is not whole may overlap one that is
    pattern = re.compile(r"(?=(" + r"\s+".join(map(re.escape, parts)) + "))", re.IGNORECASE)
    exact = []
    for record in records:
        spans = (match.span(1) for match in pattern.finditer(record.text))
        whole = next((span for span in spans if _whole(record.text, *span)), None)
        if whole:
            exact.append(_at(record, *whole, True))
    return tuple(exact) or _nearest(answer, records, question)


def _whole(text: str, start: int, end: int) -> bool:
    """Whether no word is cut apart at either end: 40 does not stand in 140, nor 400 in 2,400."""
    left, right = start, end
    while left and not text[left - 1].isspace():
        left -= 1
    while right < len(text) and not text[right].isspace():
        right += 1
    return words(text[left:start]) + words(text[start:end]) + words(text[end:right]) == words(text[left:right])


def _nearest(answer: str, records: Sequence[Record], question: str) -> tuple[Citation, ...]:
    wanted, asked = set(words(answer)), set(words(question))
    best, most = None, (0, 0)
    for record in records:
        for sentence in sentences(record.text):
            here = set(words(sentence.text))
            overlap = len(wanted & here), len(asked & here)
            if overlap[0] and overlap > most:
                best, most = _at(record, sentence.start, sentence.end, False), overlap
    return (best,) if best else ()


def _at(record: Record, start: int, end: int, exact: bool) -> Citation:
    text = record.text[start:end]
    start, text = start + len(text) - len(text.lstrip()), text.strip()
    return Citation(record.document, record.start + start, record.start + start + len(text), text, exact)
