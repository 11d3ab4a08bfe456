"""Documents from Markdown and plain text files, and the paragraphs of any text with their exact places."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from memcourse.errors import CourseError
from memcourse.world.records import Document, Passage

_HEADING = re.compile("#{1,6} ")
SUFFIXES = (".md", ".txt")


def paragraphs(text: str) -> list[tuple[int, int]]:
    """(start, end) of each block between blank lines, in characters; a block that is only a Markdown heading is left out.

    `text[start:end]` begins and ends with a visible character. Linear in the length of the text.
    """
    spans, start, end = [], -1, -1
    place = 0
    for line in text.splitlines(keepends=True):
        if line.strip():
            start = place + len(line) - len(line.lstrip()) if start < 0 else start
            end = place + len(line.rstrip())
        elif start >= 0:
            spans.append((start, end))
            start = -1
        place += len(line)
    if start >= 0:
        spans.append((start, end))
    return [(a, b) for a, b in spans if not (_HEADING.match(text[a:b]) and len(text[a:b].splitlines()) == 1)]


def document(id: str, text: str, title: str = "", metadata: Mapping[str, str] | None = None) -> Document:
    """A document whose passages are its paragraphs."""
    passages = tuple(
        Passage(f"{id}#{number}", id, text[start:end], start, end) for number, (start, end) in enumerate(paragraphs(text), 1)
    )
    return Document(id, title, text, passages, dict(metadata or {}))


def read_text_documents(paths: Iterable[Path]) -> list[Document]:
    """One document for each Markdown or text file; its id is the file's name without the ending.

    A Markdown file may begin with lines "key: value" between two lines "---"; `title` becomes the title, the rest
    metadata. Without a title there, the first heading is taken, or the file's name.

    Raises:
        CourseError: a file that is not UTF-8, empty or damaged at its head, or two files of one name.
    """
    found: dict[str, Path] = {}
    documents = []
    for path in paths:
        if path.stem in found:
            raise CourseError(f"{path} and {found[path.stem]} have the same name; ids must differ, so rename one of them.")
        found[path.stem] = path
        metadata, body = _front_matter(read_utf8(path), path)
        if not body.strip():
            raise CourseError(f"{path} has no text. Remove the file, or fill it.")
        heading = re.search(r"^#{1,6} (.+)$", body, re.M)
        title = metadata.pop("title", heading[1].strip() if heading else path.stem)
        documents.append(document(path.stem, body, title, metadata))
    return documents


def _front_matter(text: str, path: Path) -> tuple[dict[str, str], str]:
    lines = text.split("\n")
    if lines[0].strip() != "---":
        return {}, text
    metadata: dict[str, str] = {}
    for number, line in enumerate(lines[1:], 2):
        if line.strip() == "---":
            return metadata, "\n".join(lines[number:]).lstrip("\n")
        key, colon, value = line.partition(":")
        if not colon or not key.strip() or key.strip() in metadata:
            raise CourseError(f"{path}, line {number}: a line of the head reads 'key: value', each key once, not {line!r}.")
        metadata[key.strip()] = value.strip()
    raise CourseError(f"{path}: the head that begins with '---' in line 1 never ends; close it with another line '---'.")


def read_utf8(path: Path) -> str:
    """The text of a file, with or without a byte-order mark, its line ends as "\\n".

    Raises:
        CourseError: there is no such file, or it is not UTF-8 (the line is named).
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CourseError(f"Cannot read {path} ({error.strerror or error}).") from error
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise CourseError(f"{path}, line {line}: not UTF-8. Save the file as UTF-8 and try again.") from error
