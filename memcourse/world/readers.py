"""Anyone's documents and questions, read into the same dataclasses as the course's own world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

from memcourse.errors import CourseError
from memcourse.world.documents import SUFFIXES, document, read_text_documents
from memcourse.world.records import TODAY, Collection, Document, Fact, Passage, Question
from memcourse.world.rows import Row, once, read_rows
from memcourse.world.squad import read_squad

SPLITS = ("", "train", "dev", "test")


def read_collection(source: Path | str, questions: Path | str | None = None, split: str = "test") -> Collection:
    """Read documents, and questions where there are any, from whatever form they lie in.

    Args:
        source: a folder of .md and .txt files (its subfolders as well); a BEIR folder (corpus.jsonl, queries.jsonl,
            qrels/<split>.tsv); a SQuAD file (.json); or documents as rows (.jsonl, .csv, .tsv; see `read_documents`).
        questions: rows of questions (see `read_questions`); BEIR and SQuAD bring their own.
        split: which of BEIR's qrels to read, and the split of SQuAD's questions.

    Raises:
        CourseError: the source does not exist, has another form, or has bad rows, each named with file and line.
        ValueError: questions are given for a source that brings its own.
    """
    source = Path(source)
    beir, squad = (source / "corpus.jsonl").is_file(), source.suffix == ".json" and source.is_file()
    if beir or squad:
        if questions is not None:
            raise ValueError(f"{source} brings its own questions; leave `questions` out.")
        return read_beir(source, split) if beir else read_squad(source, split)
    documents = tuple(read_documents(source))
    return Collection(documents, tuple(read_questions(questions, documents)) if questions is not None else ())


def read_documents(source: Path | str) -> list[Document]:
    """Documents from a folder of .md and .txt files, one such file, or rows (.jsonl, .csv, .tsv).

    Rows have the columns "id" (or "_id"), "text", and perhaps "title"; every further column with a text becomes metadata.

    Raises:
        CourseError: nothing to read is there, or bad rows, each named with file and line.
    """
    source = Path(source)
    if source.is_dir():
        files = sorted(path for path in source.rglob("*") if path.suffix in SUFFIXES and path.is_file())
        if not files:
            raise CourseError(f"{source} holds no .md or .txt file.")
        return read_text_documents(files)
    if source.suffix in SUFFIXES:
        return read_text_documents([source])
    return read_rows(source, _document_maker())


def _document_maker():
    unique = once("id")

    def make(row: Row) -> Document:
        name = unique(row.text("id", "_id"), row.line)
        rest = {key: value for key, value in row.values.items() if key not in ("id", "_id", "title", "text")}
        metadata = {key: str(value) for key, value in rest.items() if isinstance(value, str | int | float) and value != ""}
        return document(name, row.text("text"), row.text("title", default=""), metadata)

    return make


def read_questions(path: Path | str, documents: Sequence[Document], facts: Sequence[Fact] = ()) -> list[Question]:
    """Questions as rows (.jsonl, .csv, .tsv).

    Columns: "id" (or "_id") and "question" (or "text"); optional "answers" (or "answer"; several in CSV: "red|crimson"),
    "passages" (ids of passages such as "tariff#2", or of documents, whose passages then all count as relevant), "facts",
    "kind", "type", "split", "as_of", "derive" (see `Question`).

    Raises:
        CourseError: bad rows, each named with file and line: a missing column, an id twice, an unknown passage or fact.
    """
    unique = once("id")
    names = {name for d in documents for name in (d.id, *(p.id for p in d.passages))}
    inside = {d.id: [p.id for p in d.passages] for d in documents}
    known_facts = {fact.id for fact in facts}

    def make(row: Row) -> Question:
        passages, supports, split = row.texts("passages"), row.texts("facts"), row.text("split", default="")
        _known("passage", passages, names)
        _known("fact", supports, known_facts)
        _known("split", [split], SPLITS)
        relevance = {p: 1 for name in passages for p in inside.get(name, [name])}
        return Question(
            unique(row.text("id", "_id"), row.line), row.text("question", "text"), row.texts("answers", "answer"), relevance,
            kind=row.text("kind", default=""), answer_type=row.text("type", default=""), facts=supports, split=split,
            as_of=_day(row, "as_of") or TODAY, derive=row.text("derive", default=""),
        )  # fmt: skip

    return read_rows(Path(path), make)


def read_facts(path: Path | str, documents: Sequence[Document]) -> list[Fact]:
    """Facts as rows with the columns of `Fact`: id, subject, attribute, value, valid_from, valid_to, document, split.

    Raises:
        CourseError: bad rows, each named with file and line.
    """
    unique = once("id")
    names = {d.id for d in documents}

    def make(row: Row) -> Fact:
        where, split = row.text("document"), row.text("split", default="")
        _known("document", [where], names)
        _known("split", [split], SPLITS)
        return Fact(
            unique(row.text("id"), row.line), row.text("subject"), row.text("attribute"), row.text("value"),
            _day(row, "valid_from"), _day(row, "valid_to"), where, split,
        )  # fmt: skip

    return read_rows(Path(path), make)


def read_beir(folder: Path | str, split: str = "test") -> Collection:
    """A folder in the form of BEIR (Thakur et al., 2021): corpus.jsonl, queries.jsonl and qrels/<split>.tsv.

    Each text of the corpus is one document with one passage (where it is empty, its title); the questions are those
    that the qrels judge, with the grades given there.

    Raises:
        CourseError: a missing file, or bad rows, each named with file and line.
    """
    folder = Path(folder)
    documents = read_rows(folder / "corpus.jsonl", _beir_document_maker())
    unique = once("id")
    queries = dict(
        read_rows(folder / "queries.jsonl", lambda row: (unique(row.text("_id", "id"), row.line), row.text("text")))
    )
    known = {d.id for d in documents}

    def judgement(row: Row) -> tuple[str, str, int]:
        query, name, score = row.text("query-id"), row.text("corpus-id"), row.text("score")
        _known("query", [query], queries)
        _known("document", [name], known)
        if not score.isdecimal():
            raise ValueError(f"'score' must be a whole number from 0 on, not {score!r}")
        return query, f"{name}#1", int(score)

    judged: dict[str, dict[str, int]] = {}
    for query, passage, score in read_rows(folder / "qrels" / f"{split}.tsv", judgement):
        judged.setdefault(query, {})[passage] = score
    questions = [Question(name, queries[name], relevance=grades, split=split) for name, grades in judged.items()]
    return Collection(tuple(documents), tuple(questions))


def _beir_document_maker():
    unique = once("id")

    def make(row: Row) -> Document:
        name, title = unique(row.text("_id", "id"), row.line), row.text("title", default="")
        text = row.text("text", "title")
        return Document(name, title, text, (Passage(f"{name}#1", name, text, 0, len(text)),))

    return make


def _known(what: str, names: Sequence[str], known: Sequence[str] | set[str] | Mapping[str, str]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"there is no {what} {name!r}")


def _day(row: Row, column: str) -> str:
    text = row.text(column, default="")
    try:
        return date.fromisoformat(text).isoformat() if text else ""
    except ValueError:
        raise ValueError(f"{column!r} must be a day like 2026-09-01, not {text!r}") from None
