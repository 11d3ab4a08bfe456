"""Records and their vectors in memory, behind the reading calls of a `Store`: for collections that need no database."""

from __future__ import annotations

import copy
from collections.abc import Sequence, Set
from dataclasses import asdict

import numpy as np

from memcourse.model.batching import check_texts
from memcourse.retrieval.fusion import Hits
from memcourse.retrieval.index import VectorIndex
from memcourse.retrieval.store_rows import Documents, Found, Record, Where, condition, field_names, records_of, unit_rows
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
            ValueError, TypeError: as for `Store.add_many`, and for the fields as when a `Store` is made.
        """
        self.embedder, self.fields = embedder, field_names(fields)
        found, _, self.blank = records_of(documents, self.fields)
        self._fill(list(found.values()), self._embedded(list(found.values())))

    def _embedded(self, records: Sequence[Record]) -> np.ndarray:
        name = f"vector from {self.embedder.name}"
        return unit_rows(self.embedder.encode([r.text for r in records]), self.embedder.dim, name)

    def _fill(self, records: Sequence[Record], vectors: np.ndarray) -> None:
        order = sorted(
            range(len(records)), key=lambda i: (records[i].document, records[i].start, records[i].end, records[i].id)
        )
        self._records, self._vectors = [records[i] for i in order], vectors[order]
        self._places = {record.id: place for place, record in enumerate(self._records)}
        self._index = VectorIndex(self.embedder.dim, embedder=self.embedder)
        self._index.add(self._vectors)

    def plus(self, documents: Documents) -> MemoryStore:
        """A new store with some documents more; this one stays as it is, and what it holds is not embedded again.

        Raises:
            ValueError, TypeError: as for a new store of all of them: also for a chunk that is here with other metadata.
        """
        found, _, blank = records_of(documents, self.fields)
        for record in found.values():
            here = self._records[self._places[record.id]] if record.id in self._places else record
            if here != record:
                raise ValueError(
                    f"Document {record.document!r} is here with the metadata {dict(here.metadata)}, not with "
                    f"{dict(record.metadata)}; give it the same."
                )
        new = [record for record in found.values() if record.id not in self._places]
        more = copy.copy(self)
        more.blank = self.blank + blank
        vectors = [self._vectors, self._embedded(new)] if new else [self._vectors]
        more._fill([*self._records, *new], np.concatenate(vectors))
        return more

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
        """For each query the k records that fulfil a condition and have the highest cosine, best first.

        Raises:
            ValueError, TypeError: as for `Store.search_many`.
        """
        asked = check_texts(queries, "query")
        for i, query in enumerate(asked):
            if not query.strip():
                raise ValueError(f"Query {i} is empty; ask for something.")
        condition(where, self.fields)  # a wrong condition is told before anything is embedded
        return self.search_vectors(self.embedder.encode(asked), k, where) if asked else []

    def search_vectors(self, vectors: np.ndarray, k: int = 5, where: Where | None = None) -> list[list[Found]]:
        """What is nearest to each of n ready vectors, an (n, d) array, or (d,) for n = 1; only their directions count.

        Raises:
            ValueError, TypeError: as for `Store.search_vectors`.
        """
        if k < 1:
            raise ValueError(f"A search needs k >= 1, not {k}.")
        allowed = {record.id for record in self.records(where)}
        hits = self._index.search(vectors, k if where is None else max(k, len(self)))
        return [self._found(found, allowed)[:k] for found in hits]

    def _found(self, hits: Hits, allowed: Set[str]) -> list[Found]:
        """The allowed ones of an index's hits; of equal scores the lower id first, as in a `Store`."""
        pairs = [(self._records[place], float(score)) for place, score in zip(hits.ids, hits.scores, strict=True)]
        found = [Found(**asdict(record), score=score) for record, score in pairs if record.id in allowed]
        return sorted(found, key=lambda hit: (-hit.score, hit.id))


def _fulfils(record: Record, where: Where | None) -> bool:
    for key, value in (where or {}).items():
        values = [value] if isinstance(value, str) else value
        if (getattr(record, key) if key in ("id", "document") else record.metadata[key]) not in values:
            return False
    return True
