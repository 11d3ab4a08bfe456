"""The reading-comprehension format of SQuAD 1.1 and 2.0 (Rajpurkar et al., 2016 and 2018), which XQuAD shares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from memcourse.errors import CourseError
from memcourse.world.documents import read_utf8
from memcourse.world.records import Collection, Document, Passage, Question


def read_squad(path: Path | str, split: str = "") -> Collection:
    """Read a SQuAD file: each article becomes a document, each of its paragraphs ("context") a passage.

    A question's answers are its distinct answer texts; `is_impossible` (2.0) gives kind "unanswerable".

    Args:
        split: what the questions' `split` is to say (the file itself doesn't).

    Raises:
        CourseError: no JSON of that form; the message names the file and the place (line, or data[3].paragraphs[2]).
    """
    path = Path(path)
    try:
        data = json.loads(read_utf8(path))
    except json.JSONDecodeError as error:
        raise CourseError(f"{path}, line {error.lineno}: no valid JSON ({error.msg}).") from error
    reader = _Reader(path, split)
    articles = reader.get(data, "data", list, "the top level")
    documents = [reader.article(article, number) for number, article in enumerate(articles)]
    if not documents:
        raise CourseError(f"{path}: 'data' holds no article.")
    return Collection(tuple(documents), tuple(reader.questions))


class _Reader:
    """Walks through one file; keeps the questions that it meets and the names already taken."""

    def __init__(self, path: Path, split: str) -> None:
        self.path = path
        self.split = split
        self.questions: list[Question] = []
        self.seen: dict[str, str] = {}

    def get(self, row: Any, key: str, kind: type, place: str) -> Any:
        value = row.get(key) if isinstance(row, dict) else None
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
            raise CourseError(f"{self.path}, {place}: {key!r} must be a {_KINDS[kind]}, not {value!r:.60}.")
        return value

    def unique(self, name: str, place: str) -> str:
        if name in self.seen:
            raise CourseError(f"{self.path}, {place}: the id {name!r} stands already in {self.seen[name]}.")
        self.seen[name] = place
        return name

    def article(self, article: Any, number: int) -> Document:
        place = f"data[{number}]"
        contexts = self.get(article, "paragraphs", list, place)
        title = article.get("title") or f"article-{number + 1}"
        name = self.unique(str(title), place)
        passages: list[Passage] = []
        start = 0
        for i, paragraph in enumerate(contexts):
            here = f"{place}.paragraphs[{i}]"
            text = self.get(paragraph, "context", str, here)
            passages.append(Passage(f"{name}#{i + 1}", name, text, start, start + len(text)))
            start += len(text) + 2  # two line ends join the paragraphs
            for j, row in enumerate(self.get(paragraph, "qas", list, here)):
                self.questions.append(self.question(row, passages[-1], f"{here}.qas[{j}]"))
        return Document(name, str(title), "\n\n".join(p.text for p in passages), tuple(passages))

    def question(self, row: Any, passage: Passage, place: str) -> Question:
        text = self.get(row, "question", str, place).strip()
        name = self.unique(self.get(row, "id", str, place), place)
        impossible = row.get("is_impossible", False) is True
        answers: list[str] = []
        for number, answer in enumerate(self.get(row, "answers", list, place)):
            here = f"{place}.answers[{number}]"
            words, start = self.get(answer, "text", str, here), self.get(answer, "answer_start", int, here)
            if start < 0 or passage.text[start : start + len(words)] != words:
                raise CourseError(f"{self.path}, {here}: {words!r:.60} does not stand at character {start} of its context.")
            answers.append(words)
        if not text or (not answers and not impossible):
            raise CourseError(f"{self.path}, {place}: {'the question is empty' if not text else 'it has no answer'}.")
        kind = "unanswerable" if impossible else "single"
        answers = [] if impossible else list(dict.fromkeys(answers))
        return Question(name, text, tuple(answers), {passage.id: 1}, kind=kind, split=self.split)


_KINDS = {list: "list", str: "text", int: "whole number"}
