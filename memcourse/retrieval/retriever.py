"""From a question to ranked passages: by words, by vectors or by both fused, over a store that may change meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from memcourse.errors import CourseError
from memcourse.model.batching import check_texts
from memcourse.retrieval.bm25 import BM25
from memcourse.retrieval.fusion import reciprocal_rank_fusion
from memcourse.retrieval.store_rows import Found, Record, Where, unit_rows
from memcourse.retrieval.store_view import Encoder

WAYS = ("fused", "vectors", "words")
TRIES = 20  # states of a store that are forgotten while they are read, before that is an error
_T = TypeVar("_T")


class Ranked(NamedTuple):
    """A passage that a search found.

    Attributes:
        record: the passage, and where it stands.
        score: what it was ranked by, higher is better: a fused score (above 0, at most 1), a cosine, BM25's sum, or
            whatever a later stage ranks by. Scores of one search compare; those of two kinds of search don't.
        cosine: between its vector and the question's, from -1 to 1, whatever it was ranked by.
    """

    record: Record
    score: float
    cosine: float


class State(Protocol):
    """One state of a collection that doesn't change: a view of a `Store`, or a `MemoryStore`."""

    def records(self, where: Where | None = None) -> list[Record]: ...
    def vectors(self, ids: Sequence[str]) -> np.ndarray: ...
    def search_vectors(self, vectors: np.ndarray, k: int = 5, where: Where | None = None) -> list[list[Found]]: ...


class Source(Protocol):
    """What a retriever needs: a `Store`, an older view of it, or a `MemoryStore`."""

    embedder: Encoder

    @property
    def state(self) -> int: ...
    def snapshot(self) -> Any: ...


class Search(Protocol):
    """Anything that ranks passages for questions: a `Retriever`, or a stage that ranks another one's passages anew."""

    def search(self, questions: Sequence[str], k: int = 3) -> list[list[Ranked]]: ...


class _Seen(NamedTuple):
    """What is kept of one state: always replaced as a whole, so that threads may share a retriever."""

    number: int
    state: State
    records: dict[str, Record]
    bm25: BM25


class Retriever:
    """Ranks the records of a source for questions; what changes in a store between two searches is seen by the second.

    Attributes:
        source: where the records are.
        how: "fused" (reciprocal rank fusion of the other two), "vectors" or "words" (BM25).
        where: a condition that records must fulfil, or None.
        depth: hits of each search that are fused.
    """

    def __init__(self, source: Source, how: str = "fused", *, where: Where | None = None, depth: int = 50) -> None:
        """Raises ValueError for an unknown way, a depth below 1, or a condition that the source doesn't know."""
        if how not in WAYS:
            raise ValueError(f"There is no search {how!r}; there are {', '.join(WAYS)}.")
        if depth < 1:
            raise ValueError(f"depth must be at least 1, not {depth}.")
        self.source, self.how, self.where, self.depth = source, how, where, depth
        self._seen: _Seen | None = None
        self._read(lambda seen: None)

    def search(self, questions: Sequence[str], k: int = 3) -> list[list[Ranked]]:
        """For each question at most k passages, best first; fewer where fewer fulfil the condition (or share a word).

        Raises:
            TypeError: a single string, or something that is no string.
            ValueError: an empty question, or k < 1.
        """
        asked = check_texts(questions, "question")
        for i, question in enumerate(asked):
            if not question.strip():
                raise ValueError(f"Question {i} is empty; ask for something.")
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}.")
        if not asked:
            return []
        # before anything is read: a writer that forgets states leaves little time to read one
        embedder = self.source.embedder
        queries = unit_rows(embedder.encode(asked), embedder.dim, "question's vector")
        return self._read(lambda seen: self._search(seen, asked, queries, k))

    def _read(self, ask: Callable[[_Seen], _T]) -> _T:
        """Ask the newest state; a newer one where a writer has forgotten it while it was being read."""
        for attempt in range(TRIES):
            number = self.source.state
            try:
                return ask(self._newest(number))
            except (CourseError, ValueError):
                if attempt + 1 == TRIES or self.source.state == number:
                    raise
        raise AssertionError("unreachable")

    def _newest(self, number: int) -> _Seen:
        """What was kept, if it is of this state; the source's newest state otherwise."""
        seen = self._seen
        if seen is None or seen.number != number:
            state: State = self.source.snapshot()
            records = {record.id: record for record in state.records(self.where)}
            seen = _Seen(number, state, records, BM25([record.text for record in records.values()]))
            self._seen = seen
        return seen

    def _search(self, seen: _Seen, asked: Sequence[str], queries: np.ndarray, k: int) -> list[list[Ranked]]:
        depth, names = max(k, self.depth), list(seen.records)
        near: list[dict[str, float]] = [{} for _ in asked]
        lexical: list[dict[str, float]] = [{} for _ in asked]
        if self.how != "words":
            found = seen.state.search_vectors(queries, depth, self.where)
            near = [{hit.id: hit.score for hit in hits} for hits in found]
        if self.how != "vectors":
            best = seen.bm25.search(asked, depth)
            lexical = [dict(zip((names[i] for i in h.ids), h.scores.tolist(), strict=True)) for h in best]
        orders = [list((vectors or words).items()) for vectors, words in zip(near, lexical, strict=True)]
        if self.how == "fused":
            orders = [reciprocal_rank_fusion([list(a), list(b)]) for a, b in zip(near, lexical, strict=True)]
        return _ranked(seen, queries, [dict(order[:k]) for order in orders])


def _ranked(seen: _Seen, queries: np.ndarray, orders: Sequence[dict[str, float]]) -> list[list[Ranked]]:
    names = list(dict.fromkeys(name for order in orders for name in order))
    if not names:
        return [[] for _ in orders]
    vectors = dict(zip(names, seen.state.vectors(names), strict=True))
    return [
        [Ranked(seen.records[name], score, _cosine(vectors[name], query)) for name, score in order.items()]
        for order, query in zip(orders, queries, strict=True)
    ]


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    return min(1.0, max(-1.0, float(a @ b)))  # two equal unit vectors may round above 1
