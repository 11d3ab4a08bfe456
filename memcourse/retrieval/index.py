"""A vector index: FAISS behind one plain class, so that what is found is right or the error says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from memcourse.retrieval import index_files, index_kinds
from memcourse.retrieval.fusion import Hits
from memcourse.retrieval.vectors import as_ids, as_rows, check_length, normalise

METRICS = ("cosine", "dot")


class VectorIndex:
    """Vectors under ids, searched by cosine or inner product.

    Kinds, and the options of each:
        flat: compares with every vector; exact. No options.
        ivf: sorts the vectors into `nlist` lists and searches the `nprobe` nearest; nlist None is about the square root of
            the number of vectors at the training, nprobe above nlist means every list.
        hnsw: walks a graph of `m` neighbours a vector, built with `ef_construction` and searched with `ef_search`
            candidates; nothing can be removed, and vectors that are all the same (zeros, say) may not all be reached.
        pq: keeps each vector as `m` codes of `bits` bits, so scores are approximate; m None is one code for 8 numbers.
        ivfpq: lists of codes, with the options of both.

    Attributes:
        dim: length d of a vector.
        kind: one of the above.
        metric: "cosine" (vectors and queries are divided by their length, scores are in [-1, 1], and with a vector of zeros
            0, unless stored codes blur it) or "dot" (the inner product; long vectors win).
        embedder: name of the embedder that the vectors come from; None while it is unknown.
    """

    def __init__(
        self, dim: int, kind: str = "flat", *, metric: str = "cosine", embedder: Any = None, **options: int | None
    ) -> None:  # fmt: skip
        """An empty index.

        Args:
            embedder: a name, or an object with `name` (and perhaps `dim`).

        Raises:
            ValueError: an unknown kind, metric or option, a value out of range, or an embedder of another dimension.
            TypeError: dim or an option is no whole number, or the embedder has no name.
        """
        self.dim = index_kinds.whole("dim", dim)
        if self.dim < 1:
            raise ValueError(f"dim is 1 or more, not {dim}.")
        if metric not in METRICS:
            raise ValueError(f"There is no metric {metric!r}; there are {' and '.join(METRICS)}.")
        if getattr(embedder, "dim", dim) != dim:
            raise ValueError(f"The index is for {dim} numbers, but vectors of {_name(embedder)} have {embedder.dim}.")
        checked = index_kinds.check_options(kind, options)
        self.kind, self.metric, self.embedder = kind, metric, _name(embedder)
        self._settings = index_kinds.complete(kind, self.dim, checked)
        self._faiss: Any = None  # until nlist is known
        if self._settings.get("nlist", 0) is not None:
            self._faiss = index_kinds.build(kind, self.dim, self._settings)
        self._ids: set[int] = set()
        self._next_id = 0

    def __len__(self) -> int:
        return len(self._ids)

    def __repr__(self) -> str:
        options = "".join(f", {name}={value}" for name, value in self.options.items())
        about = f"dim={self.dim}, kind={self.kind!r}, metric={self.metric!r}, embedder={self.embedder!r}{options}"
        return f"VectorIndex({about}, {len(self):,} vectors)"

    @property
    def ids(self) -> np.ndarray:
        """The (n,) int64 ids of all vectors, from the lowest to the highest."""
        return np.array(sorted(self._ids), dtype=np.int64)

    @property
    def options(self) -> dict[str, int | None]:
        """The options in effect, read from FAISS; nlist is None until it has been chosen by the training."""
        return dict(self._settings) if self._faiss is None else index_kinds.effective(self.kind, self._faiss)

    @property
    def nbytes(self) -> int:
        """Bytes of all that FAISS keeps (vectors or codes, ids, graph, lists); 0 before it is known how many lists."""
        return 0 if self._faiss is None else index_kinds.n_bytes(self._faiss)

    def tune(self, **options: int) -> None:
        """Change options of the search: nprobe (ivf, ivfpq) or ef_search (hnsw).

        Raises:
            ValueError: an option that the kind has not or that is fixed once the index is built, or a value out of range.
            TypeError: a value that is no whole number.
        """
        changed = index_kinds.check_options(self.kind, options, tuning=True)
        self._settings.update(changed)
        if self._faiss is not None:
            index_kinds.tune(self._faiss, changed)

    def train(self, vectors: Any, *, embedder: Any = None) -> None:
        """Find the centres that ivf and pq need, from (n, d) vectors that are not added; flat and hnsw need none.

        The first `add` does this by itself. The same vectors always give the same centres.

        Raises:
            ValueError: the index is trained already, there are fewer than 39 vectors for each centre, or as for `add`.
            TypeError: as for `add`.
        """
        self._check_embedder(embedder)
        rows = self._rows(vectors, "vector")
        if not self._untrained():
            if self.kind in ("flat", "hnsw"):
                return
            raise ValueError("The index is trained already; make a new one to train with other vectors.")
        self._train(rows)
        self.embedder = self.embedder or _name(embedder)

    def add(self, vectors: Any, ids: Any = None, *, embedder: Any = None) -> np.ndarray:
        """Add n vectors, and train the index first where its kind needs it; nothing is added when an error is raised.

        Args:
            vectors: (n, d) numbers of any real dtype and layout, as an array, a tensor or lists; or one vector, (d,).
            ids: n whole numbers from 0 on. Default: those after the highest id that the index ever had.
            embedder: where the vectors come from, as a name or an object with `name`; an empty index takes it over.

        Returns:
            The (n,) int64 ids.

        Raises:
            ValueError: another length than d, NaN or infinity in a vector, as many ids as there are not vectors, an id that
                is negative or there already, another embedder, or too few vectors for the training.
            TypeError: vectors that are not numbers, or ids that are not whole numbers.
        """
        self._check_embedder(embedder)
        rows = self._rows(vectors, "vector")
        numbers = self._new_ids(ids, len(rows))
        if len(rows):
            if self._untrained():
                self._train(rows)
            self._faiss.add_with_ids(rows, numbers)
            self._ids.update(numbers.tolist())
            self._next_id = max(self._next_id, int(numbers.max()) + 1)
            self.embedder = self.embedder or _name(embedder)
        return numbers

    def search(self, queries: Any, k: int = 10, *, embedder: Any = None) -> list[Hits]:
        """The k best vectors for each of n queries.

        Args:
            queries: (n, d) numbers, or one query, (d,).
            k: how many hits. There are fewer where the index has fewer, or the lists or the graph searched hold fewer.
            embedder: where the queries come from.

        Returns:
            n `Hits`.

        Raises:
            ValueError: k < 1, another length than d, NaN or infinity in a query, or another embedder.
            TypeError: queries that are not numbers, or a k that is no whole number.
        """
        k = index_kinds.whole("k", k)
        if k < 1:
            raise ValueError(f"k is 1 or more, not {k}.")
        self._check_embedder(embedder)
        rows = self._rows(queries, "query")
        k = min(k, len(self))
        if k == 0:  # FAISS would answer with -1 or, for many queries, with zeros
            return [Hits(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)) for _ in rows]
        if not len(rows):
            return []
        scores, ids = self._faiss.search(rows, k)
        if self.metric == "cosine":
            np.clip(scores, -1, 1, out=scores)
        found = (ids >= 0).sum(axis=1)  # FAISS fills up with -1
        return [Hits(ids[i, :n], scores[i, :n]) for i, n in enumerate(found.tolist())]

    def get(self, ids: Any) -> np.ndarray:
        """The (n, d) float32 vectors under n ids as they are stored: of length 1 for "cosine", approximate for pq and ivfpq.

        Raises:
            ValueError: an id that the index does not have.
            TypeError: ids that are not whole numbers.
        """
        numbers = as_ids(ids)
        unknown = [number for number in numbers.tolist() if number not in self._ids]
        if unknown:
            raise ValueError(f"The index has no vector with the id {unknown[0]}; `ids` lists those it has.")
        return self._faiss.reconstruct_batch(numbers) if len(numbers) else np.zeros((0, self.dim), dtype=np.float32)

    def remove(self, ids: Any) -> int:
        """Take the vectors under these ids out; ids that the index does not have are ignored.

        Returns:
            How many were removed.

        Raises:
            ValueError: the index is of kind "hnsw".
            TypeError: ids that are not whole numbers.
        """
        if self.kind == "hnsw":
            raise ValueError("An index of kind 'hnsw' can't remove vectors; build a new one from those that are to stay.")
        numbers = sorted(self._ids.intersection(as_ids(ids).tolist()))
        if numbers:
            self._faiss.remove_ids(np.array(numbers, dtype=np.int64))
            self._ids.difference_update(numbers)
        return len(numbers)

    def save(self, path: str | Path) -> None:
        """Write everything to one file, whole or not at all.

        Raises:
            CourseError: the folder can't be written or the disk is full.
        """
        about = {"dim": self.dim, "kind": self.kind, "metric": self.metric, "embedder": self.embedder}
        about |= {"options": self._settings, "next_id": self._next_id}
        index_files.write(Path(path), about, self.ids, self._faiss)

    @classmethod
    def load(cls, path: str | Path, embedder: Any = None) -> VectorIndex:
        """The index that was saved, with its vectors, ids, options, metric and the name of its embedder.

        Args:
            embedder: where queries will come from; another than the index remembers is refused.

        Raises:
            CourseError: there is no such file, or it is damaged or no index.
            ValueError: another embedder.
        """
        about, ids, stored = index_files.read(Path(path))
        index = cls(about["dim"], about["kind"], metric=about["metric"], embedder=about["embedder"], **about["options"])
        index._faiss, index._ids, index._next_id = stored, set(ids.tolist()), about["next_id"]
        index._check_embedder(embedder)
        return index

    def _rows(self, vectors: Any, what: str) -> np.ndarray:
        rows = as_rows(vectors, self.dim, what)
        if self.metric == "cosine":
            normalise(rows)
        else:
            check_length(rows, what)
        return rows

    def _new_ids(self, ids: Any, n: int) -> np.ndarray:
        if ids is None:
            if self._next_id + n > 2**63:
                raise ValueError(f"After the id {self._next_id - 1} there are no {n} left; give ids of your own.")
            return np.arange(self._next_id, self._next_id + n, dtype=np.int64)
        numbers = as_ids(ids)
        if len(numbers) != n:
            raise ValueError(f"Each vector needs one id; there are {n} vectors and {len(numbers)} ids.")
        seen: set[int] = set()
        for number in numbers.tolist():
            if number < 0:
                raise ValueError(f"Ids are whole numbers from 0 to 2**63 - 1, not {number}.")
            if number in seen or number in self._ids:
                raise ValueError(f"The id {number} {'is given twice' if number in seen else 'is in the index already'}.")
            seen.add(number)
        return numbers

    def _untrained(self) -> bool:
        return self._faiss is None or not self._faiss.is_trained

    def _train(self, rows: np.ndarray) -> None:
        self._settings = index_kinds.choose_for_training(self.kind, len(rows), self._settings)
        if self._faiss is None:
            self._faiss = index_kinds.build(self.kind, self.dim, self._settings)
        self._faiss.train(rows)

    def _check_embedder(self, embedder: Any) -> None:
        name = _name(embedder)
        if name in (None, self.embedder) or (self.embedder is None and not self._ids):
            return
        known = f"come from {self.embedder!r}" if self.embedder else "come from an embedder that it was not told of"
        raise ValueError(f"The vectors of this index {known}, not from {name!r}; use the same embedder, or build it anew.")


def _name(embedder: Any) -> str | None:
    name = getattr(embedder, "name", embedder)
    if not (name is None or (isinstance(name, str) and name)):
        raise TypeError(f"An embedder is given by its name or as an object with a name, not as {embedder!r}.")
    return name
