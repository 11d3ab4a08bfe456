"""Records and their vectors in memory, behind the reading calls of a `Store`: for collections that need no database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from memcourse.retrieval.index import VectorIndex
from memcourse.retrieval.store_rows import Documents, Found, Record, Where, condition, records_of
from memcourse.retrieval.store_view import Encoder


class MemoryStore:
    """A fixed set of records with exact vector search.

    Attributes:
        embedder: gives the vectors.
        fields: names of the metadata that records have.
        state: always 0, since nothing changes; a `Store` counts its versions.
    """

    state = 0

    def __init__(self, documents: Documents, embedder: Encoder, fields: Sequence[str] = ()) -> None:
        """Embed the chunks of documents, given as (document, chunks, metadata); blank chunks are left out.

        Raises:
            ValueError, TypeError: as for `Store.add_many`.
        """
        self.embedder, self.fields = embedder, tuple(fields)
        found, _, self.blank = records_of(documents, self.fields)
        self._records = sorted(found.values(), key=lambda record: (record.document, record.start, record.end, record.id))
        self._places = {record.id: place for place, record in enumerate(self._records)}
        self._vectors = embedder.encode([record.text for record in self._records])
        self._index = VectorIndex(embedder.dim, embedder=embedder)
        self._index.add(self._vectors)

    def __len__(self) -> int:
        return len(self._records)

    def snapshot(self) -> MemoryStore:
        """Itself."""
        return self

    def records(self, where: Where | None = None) -> list[Record]:
        """The records that fulfil a condition, ordered by document and place."""
        condition(where, self.fields)  # refuses what a store would refuse
        return [record for record in self._records if _fulfils(record, where)]

    def vectors(self, ids: Sequence[str]) -> np.ndarray:
        """(n, d) float32, the vectors of the records with these ids; raises ValueError for an unknown one."""
        unknown = [name for name in ids if name not in self._places]
        if unknown:
            raise ValueError(f"No record has the id {unknown[0]!r}; {len(unknown)} of {len(ids)} are not there.")
        return self._vectors[[self._places[name] for name in ids]]

    def search_many(self, queries: Sequence[str], k: int = 5, where: Where | None = None) -> list[list[Found]]:
        """For each query the k records that fulfil a condition and have the highest cosine, best first."""
        allowed = {record.id for record in self.records(where)}
        if not queries:
            return []
        hits = self._index.search(self.embedder.encode(list(queries)), k if where is None else max(k, len(self)))
        return [
            [
                Found(**asdict(record), score=float(score))
                for place, score in zip(found.ids, found.scores, strict=True)
                if (record := self._records[place]).id in allowed
            ][:k]
            for found in hits
        ]


def _fulfils(record: Record, where: Where | None) -> bool:
    for key, value in (where or {}).items():
        values = [value] if isinstance(value, str) else value
        if (getattr(record, key) if key in ("id", "document") else record.metadata[key]) not in values:
            return False
    return True
