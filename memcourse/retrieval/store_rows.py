"""What a store keeps: records with their ids, conditions that choose among them, and vectors fit to be compared."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from memcourse.retrieval.vectors import as_rows, normalise

Where = Mapping[str, str | Sequence[str]]
FIXED = ("id", "document", "start", "end", "text", "vector")  # the columns that every store has
_TAKEN = (*FIXED, "score", "query_index")  # no field may have these names
_KEYS = ("id", "document")  # those of them that a condition may name


@dataclass(frozen=True)
class Record:
    """One chunk as it lies in a store.

    Attributes:
        id: 32 hexadecimal digits that follow from document, start, end and text; metadata may change without it.
        document: the document's id.
        start, end: the chunk's place in the document (characters).
        text: the chunk.
        metadata: a value for each of the store's fields, "" where none was given.
    """

    id: str
    document: str
    start: int
    end: int
    text: str
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Found(Record):
    """A record that a search found, with the cosine between its vector and the query's: -1 to 1, higher is better."""

    score: float = 0.0


def content_id(document: str, start: int, end: int, text: str) -> str:
    """The id of a chunk: the first 32 digits of a SHA-256 over what it is and where it stands."""
    return hashlib.sha256(json.dumps([document, start, end, text]).encode()).hexdigest()[:32]


def storable(text: str) -> bool:
    """Whether a text can be written as UTF-8; half a surrogate pair, as broken decoding leaves behind, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def condition(where: Where | None, fields: Sequence[str]) -> str | None:
    """A condition as SQL: each key has the value, or one of the values; None where there is no condition.

    Raises:
        ValueError: a key that is neither "id", "document" nor one of the store's fields.
        TypeError: a value that is neither a string nor a list of strings.
    """
    parts = []
    for key, value in (where or {}).items():
        if key not in (*_KEYS, *fields):
            raise ValueError(f"Records cannot be chosen by {key!r}; this store knows {', '.join((*_KEYS, *fields))}.")
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, Sequence | set | frozenset) or not all(isinstance(each, str) for each in values):
            raise TypeError(f"The value for {key!r} must be a string or a list of strings, not {value!r}.")
        # Quotes are the only signs that mean something inside an SQL string. What can't be stored can't match either.
        quoted = ["'" + each.replace("'", "''") + "'" for each in values if storable(each)]
        parts.append(f"`{key}` IN ({', '.join(quoted)})" if quoted else "false")
    return " AND ".join(parts) or None


def unit_rows(vectors: Any, dim: int, what: str) -> np.ndarray:
    """A new (n, dim) float32 array of n vectors at length 1, so that their products are cosines; a row of zeros stays.

    Raises what `as_rows` raises for anything but n rows of dim finite numbers; `what` is what its errors call a row.
    """
    rows = as_rows(vectors, dim, what)
    normalise(rows)
    return rows


class Piece(Protocol):
    """A part of a document: a Chunk, or a Passage."""

    @property
    def text(self) -> str: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...


Documents = Iterable[tuple[str, Iterable[Piece], Mapping[str, str] | None]]


def records_of(documents: Documents, fields: Sequence[str]) -> tuple[dict[str, Record], int, int]:
    """The records of some documents by their ids, the number of chunks that have any text, and of those that are blank.

    Raises:
        TypeError: a document's id, a text or a value of the metadata is no string.
        ValueError: no chunk has any text, a text can't be stored, metadata has a key that is no field, or the same chunk
            comes with two kinds of metadata.
    """
    records: dict[str, Record] = {}
    total = blank = 0
    for document, chunks, metadata in documents:
        if not isinstance(document, str) or not document or not storable(document):
            raise TypeError(f"A document's id must be a string that is not empty, not {document!r}.")
        check_metadata(metadata or {}, fields)
        values = {name: (metadata or {}).get(name, "") for name in fields}
        for chunk in chunks:
            text, start, end = chunk.text, int(chunk.start), int(chunk.end)
            if text is None or not text.strip():
                blank += 1
                continue
            if not storable(text):
                raise ValueError(
                    f"The chunk from {start} to {end} of document {document!r} holds half a surrogate pair, which cannot be "
                    "stored; decode the text again."
                )
            total += 1
            record = Record(content_id(document, start, end, text), document, start, end, text, values)
            if records.setdefault(record.id, record).metadata != values:
                raise ValueError(f"Document {document!r} comes with two kinds of metadata in one call; give it one.")
    if not records:
        raise ValueError(f"No text found in {blank} chunks; nothing was stored.")
    return records, total, blank


def field_names(fields: Sequence[str]) -> tuple[str, ...]:
    """The names of a store's fields, each once; small letters only, since SQL may not tell them from capitals.

    Raises:
        TypeError: a single string instead of a list.
        ValueError: a name that can't be used.
    """
    if isinstance(fields, str):
        raise TypeError(f"fields is a list of names: [{fields!r}].")
    for name in fields:
        if not re.fullmatch("[a-z][a-z0-9_]*", name) or name in _TAKEN:
            raise ValueError(
                f"A field has a name in small letters, like year, and none of {', '.join(_TAKEN)}; not {name!r}."
            )
    return tuple(dict.fromkeys(fields))


def check_metadata(metadata: Mapping[str, str], fields: Sequence[str]) -> None:
    """Refuse keys that are no fields (ValueError) and values that are no strings (TypeError)."""
    for key, value in metadata.items():
        if key not in fields:
            raise ValueError(
                f"This store has no field {key!r}; the fields that it was created with are: {', '.join(fields) or 'none'}."
            )
        if not isinstance(value, str) or not storable(value):
            raise TypeError(f"The value of the field {key!r} must be a string, not {value!r}.")


def differs(record: Record, row: Mapping[str, Any]) -> bool:
    """Whether a record has other metadata than the stored row of the same id."""
    return any(row[name] != value for name, value in record.metadata.items())


def refuse_other_metadata(records: Mapping[str, Record], there: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise ValueError for a record that is stored with other metadata: it would be neither stored anew nor changed."""
    for name in records.keys() & there.keys():
        if differs(records[name], there[name]):
            stored = {key: there[name][key] for key in records[name].metadata}
            raise ValueError(
                f"Chunks of document {records[name].document!r} are stored with the metadata {stored}, not with "
                f"{dict(records[name].metadata)}; change it with update or replace."
            )
