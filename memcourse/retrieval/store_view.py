"""The reading half of a store: one state of its records, which can be searched, counted and listed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from memcourse.errors import CourseError
from memcourse.retrieval.store_rows import FIXED, Found, Record, Where, condition, unit_rows

_TRIES = 5
_T = TypeVar("_T")


class Encoder(Protocol):
    """What a store needs of an embedder; memcourse.model.Embedder is one."""

    name: str
    dim: int

    def encode(self, texts: Sequence[str], /) -> np.ndarray: ...


class View:
    """One state of a store, to be read: the newest (`Store`, which is a view too), or an older one (`Store.at`).

    A condition `where` chooses records by "id", "document" or a field: {"year": "2025"}, or {"year": ["2024", "2025"]}
    for one of several; several keys must all hold. Every call looks at one state as a whole: what another process is
    writing meanwhile is seen completely or not at all. All raise ValueError or TypeError for a condition with an unknown
    key or a value that is no string, and CourseError where the store's files are damaged.
    """

    version: int | None = None  # None: always the newest

    def __init__(self, path: Path, embedder: Encoder, table: Any, version: int | None = None) -> None:
        self.path = path
        self.embedder = embedder
        self.table = table
        self.version = version
        self.fields: tuple[str, ...] = tuple(name for name in table.schema.names if name not in FIXED)

    def __len__(self) -> int:
        return self.count()

    @property
    def state(self) -> int:
        """Number of the version that is seen now; it grows with every change."""
        return int(self._read(lambda table: table.version))

    def snapshot(self) -> View:
        """A view of the state that is seen now, which later changes don't touch (an older view is one already)."""
        return self

    def count(self, where: Where | None = None) -> int:
        """Number of records."""
        chosen = condition(where, self.fields)
        return int(self._read(lambda table: table.count_rows(chosen)))

    def records(self, where: Where | None = None) -> list[Record]:
        """The records, ordered by document and place."""
        rows = [Record(**self._parts(row)) for row in self._rows(condition(where, self.fields))]
        return sorted(rows, key=lambda record: (record.document, record.start, record.end, record.id))

    def get(self, ids: Sequence[str]) -> list[Record]:
        """The records with these ids, in the order of the ids.

        Raises:
            ValueError: no record has one of the ids.
        """
        found = {record.id: record for record in self.records({"id": list(ids)})}
        self._all_there(ids, found)
        return [found[name] for name in ids]

    def vectors(self, ids: Sequence[str]) -> np.ndarray:
        """The vectors of the records with these ids: (n, d) float32, of length 1, in the order of the ids.

        Raises:
            ValueError: no record has one of the ids.
        """
        rows = self._rows(condition({"id": list(ids)}, self.fields), ["id", "vector"])
        found = {row["id"]: row["vector"] for row in rows}
        self._all_there(ids, found)
        return np.array([found[name] for name in ids], dtype=np.float32).reshape(len(ids), self.embedder.dim)

    def documents(self) -> dict[str, int]:
        """The number of chunks of each document, by its id in alphabetical order."""
        return dict(sorted(Counter(row["document"] for row in self._rows(None, ["document"])).items()))

    def search(self, query: str, k: int = 5, where: Where | None = None) -> list[Found]:
        """The k records nearest to a query, best first; fewer only where fewer fulfil the condition.

        The condition comes before the ranking. The search is exact: it compares the query with every record, which
        takes about 0.2 s for 100,000 records of 384 numbers; from a million on, an index such as FAISS's pays.

        Raises:
            ValueError: an empty query, or k < 1.
        """
        if isinstance(query, str):
            return self.search_many([query], k, where)[0]
        raise TypeError(
            f"A query is a string, not {type(query).__name__}; search_many takes several, search_vectors vectors."
        )

    def search_many(self, queries: Sequence[str], k: int = 5, where: Where | None = None) -> list[list[Found]]:
        """What `search` finds for each of the queries, all in the same state of the store.

        Raises:
            TypeError: a single string instead of a list.
            ValueError: an empty query, naming its place, or k < 1.
        """
        if isinstance(queries, str):
            raise TypeError("search_many takes a list of queries; for a single one use search(query).")
        queries = list(queries)
        for i, query in enumerate(queries):
            if not query.strip():
                raise ValueError(f"Query {i} is empty; ask for something.")
        condition(where, self.fields)  # a wrong condition is told before anything is embedded
        return self.search_vectors(self.embedder.encode(queries), k, where) if queries else []

    def search_vectors(self, vectors: np.ndarray, k: int = 5, where: Where | None = None) -> list[list[Found]]:
        """What is nearest to each of n ready vectors, an (n, d) array, or (d,) for n = 1; only their directions count.

        A vector of zeros has the score 0 with every record.

        Raises:
            TypeError: the vectors hold anything but real numbers.
            ValueError: k < 1, another shape, or a number that is not finite.
        """
        if k < 1:
            raise ValueError(f"A search needs k >= 1, not {k}.")
        chosen = condition(where, self.fields)
        vectors = unit_rows(vectors, self.embedder.dim, "query vector")
        hits: list[list[Found]] = [[] for _ in vectors]
        if not hits:
            return hits

        def ask(table: Any) -> list[dict]:
            query = table.search(vectors, vector_column_name="vector").distance_type("dot").limit(int(k))
            query = query.where(chosen, prefilter=True) if chosen else query
            return query.select([*self._plain(), "_distance"]).to_arrow().to_pylist()

        for row in self._read(ask):
            score = min(1.0, max(-1.0, 1.0 - row["_distance"]))  # LanceDB's distance is 1 - product
            hits[row.get("query_index", 0)].append(Found(**self._parts(row), score=score))
        return [sorted(found, key=lambda hit: (-hit.score, hit.id)) for found in hits]

    def _plain(self) -> list[str]:
        return [*FIXED[:-1], *self.fields]

    def _parts(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {key: row[key] for key in FIXED[:-1]} | {"metadata": {name: row[name] for name in self.fields}}

    def _rows(self, chosen: str | None, columns: list[str] | None = None) -> list[dict]:
        """Some columns of all records that a condition chooses, in no particular order."""

        def ask(table: Any) -> list[dict]:
            query = table.search()
            query = query.where(chosen) if chosen else query
            return query.select(columns or self._plain()).to_arrow().to_pylist()

        return self._read(ask)

    def _read(self, ask: Callable[[Any], _T]) -> _T:
        """Ask the table; once more where another process has removed, for good, the state that was being read."""
        for attempt in range(_TRIES):
            try:
                return ask(self.table)
            except (RuntimeError, OSError, ValueError) as error:  # LanceDB raises all three for a damaged file
                if attempt == _TRIES - 1:
                    raise self._damaged() from error
                time.sleep(0.02 * 2**attempt)
        raise AssertionError("unreachable")

    def _damaged(self) -> CourseError:
        if self.version is not None:
            return CourseError(
                f"Version {self.version} of the store in {self.path} cannot be read any more: it was forgotten, or one of "
                "its files is damaged. Look at another one."
            )
        return CourseError(
            f"The store in {self.path} cannot be read: one of its files is missing or damaged. "
            "Delete the folder, and add the documents again."
        )

    def _all_there(self, ids: Sequence[str], found: Mapping[str, object]) -> None:
        missing = [name for name in ids if name not in found]
        if missing:
            raise ValueError(f"No record has the id {missing[0]!r}; {len(missing)} of {len(ids)} are not there.")
