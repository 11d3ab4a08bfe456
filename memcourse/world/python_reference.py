"""Python's own language reference as a test collection: the topics of `help()`, read from the reader's own Python."""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from memcourse.errors import CourseError
from memcourse.world.documents import document
from memcourse.world.manifest import data_path
from memcourse.world.records import Collection, Document, Passage, Question
from memcourse.world.rows import Row, once, read_rows

SOURCE = "pydoc_data.topics"


@dataclass(frozen=True)
class PythonReference(Collection):
    """The reference as it is in one version of Python, and the questions that this version answers.

    Attributes:
        left_out: ids of the questions that none of their topics answers in this version, in the order of the file.
    """

    left_out: tuple[str, ...] = ()


def load_python_reference(topics: Mapping[str, str] | None = None) -> PythonReference:
    """The topics of `help()`, one document each, and up to 40 questions on them.

    The texts differ from version to version, so nothing of them is stored: relevance is found anew each time. A passage
    is relevant to a question if it belongs to one of the question's topics and one of the answers stands in it as a word
    of its own, in the same case. Some topics repeat others ("compound" holds "for"), so a passage of any topic with the
    same text, blanks and line breaks aside, is relevant as well. A question without such a passage is left out.

    Args:
        topics: name to text; by default those of the Python that runs.

    Raises:
        ValueError: `topics` is empty, or holds something else than texts.
        CourseError: this Python came without its reference, or the file of questions is missing or was changed.
    """
    topics = _own_topics() if topics is None else topics
    strange = next((item for item in topics.items() if not all(isinstance(part, str) for part in item)), None)
    if not topics or strange:
        shown = f"{strange!r:.60}" if strange else "an empty mapping"
        raise ValueError(f"topics must map names to texts, one at least; it holds {shown}: leave it out, or mend it.")
    metadata = {"source": SOURCE, "python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    documents = tuple(document(name, text, name, metadata) for name, text in topics.items())
    asked = _questions(documents)
    answered = tuple(question for question in asked if question.relevance)
    return PythonReference(documents, answered, left_out=tuple(question.id for question in asked if not question.relevance))


def _own_topics() -> Mapping[str, str]:
    try:
        from pydoc_data.topics import topics  # only here: some distributions leave the module out
    except ImportError as error:
        raise CourseError(
            f"This Python came without its language reference (the module {SOURCE}): install the package that holds the "
            "whole standard library (libpython3-stdlib on Debian and Ubuntu, python3-libs on Fedora), or Python from "
            "python.org or conda."
        ) from error
    return topics


def _questions(documents: Sequence[Document]) -> list[Question]:
    """Every question of the file; `relevance` is empty where no passage holds an answer."""
    inside = {d.id: d.passages for d in documents}
    copies: dict[str, list[str]] = defaultdict(list)
    for passage in (p for d in documents for p in d.passages):
        copies[_plain(passage.text)].append(passage.id)
    unique = once("id")

    def make(row: Row) -> Question:
        answers = row.texts("answers")
        told = [p for name in row.texts("topics") for p in inside.get(name, ()) if _holds(p, answers)]
        relevance = {copy: 1 for passage in told for copy in copies[_plain(passage.text)]}
        name, split = unique(row.text("id"), row.line), row.text("split")
        return Question(name, row.text("question"), answers, relevance, kind="single", split=split)

    return read_rows(data_path("python_questions.jsonl"), make)


def _holds(passage: Passage, answers: Sequence[str]) -> bool:
    text = _plain(passage.text)
    return any(re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text) for answer in answers)


def _plain(text: str) -> str:
    """The text on one line; a word that was broken after its hyphen is whole again."""
    return " ".join(re.sub(r"(?<=\w-)\n\s*(?=\w)", "", text).split())
