"""An embedded vector database for chunks, behind plain calls: it lives in a folder, and no server runs.

LanceDB does the work. What it leaves to its user is seen to here: the same chunk is never there twice, a store opened with
another embedder says so, writers wait for one another, and what is deleted for good is not on the disk any more.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from memcourse.errors import CourseError
from memcourse.retrieval.store_lock import LOCK, only_writer
from memcourse.retrieval.store_rows import (
    FIXED,
    Documents,
    Piece,
    Record,
    Where,
    check_metadata,
    condition,
    differs,
    field_names,
    records_of,
    refuse_other_metadata,
    unit_rows,
)
from memcourse.retrieval.store_view import Encoder, View

_KEY = {"lance-schema:unenforced-primary-key:position": "1"}  # without it, two writers at once can add the same row twice


class Added(NamedTuple):
    """What became of the chunks of an `add`: newly stored, there already, or left out because they are blank."""

    new: int
    known: int
    blank: int


class Replaced(NamedTuple):
    """What became of a document's chunks: newly stored, kept, removed, or left out because they are blank."""

    new: int
    kept: int
    removed: int
    blank: int


class Version(NamedTuple):
    """A state of the store that can still be looked at with `Store.at`."""

    number: int
    time: datetime


class Store(View):
    """Chunks with their vectors in a folder, open for reading and writing; several processes may do both at once.

    Each call that changes something is one atomic step and makes one version: after a crash, it has happened or it has
    not. Calls that add nothing, or choose no record, make none.
    """

    def __init__(self, path: str | Path, embedder: Encoder, fields: Sequence[str] | None = None) -> None:
        """Open the store in a folder, or create it there.

        Args:
            embedder: gives the vectors; a store remembers its name and dimension.
            fields: names of the metadata that records have; fixed when the store is created, found again on opening.

        Raises:
            ValueError: the store was made with another embedder or other fields; or a field's name can't be used.
            CourseError: LanceDB is not installed, the folder holds something else, or the store is damaged.
        """
        path = Path(path)
        fields = None if fields is None else field_names(fields)
        self.path, self.embedder = path, embedder
        super().__init__(path, embedder, self._open(fields or ()))
        made = {key.decode(): value.decode() for key, value in (self.table.schema.metadata or {}).items()}
        if (made.get("embedder"), made.get("dim")) != (embedder.name, str(embedder.dim)):
            raise ValueError(
                f"The store in {path} was made with the embedder {made.get('embedder')!r} (dim {made.get('dim')}), not with "
                f"{embedder.name!r} (dim {embedder.dim}); load that one, or take a new folder: their vectors do not compare."
            )
        if fields is not None and set(fields) != set(self.fields):
            raise ValueError(
                f"The store in {path} has the fields {', '.join(self.fields) or 'none'}, not {', '.join(fields) or 'none'}; "
                "open it without fields, or use a new folder."
            )

    def add(self, document: str, chunks: Iterable[Piece], metadata: Mapping[str, str] | None = None) -> Added:
        """Embed and store the chunks of a document that are not there yet; the others stay as they are.

        Raises:
            TypeError: the document's id or a value of the metadata is no string.
            ValueError: no chunk has any text, metadata has a key that is no field, chunks are there with other metadata,
                or the embedder gave something that is no vector. Nothing is written then.
            CourseError: another process has been writing for a minute, or the folder can't be written.
        """
        return self.add_many([(document, chunks, metadata)])

    def add_many(self, documents: Documents) -> Added:
        """Add many documents, given as (document, chunks, metadata), in one step.

        Far faster than one by one: each step leaves a file behind, and every search opens all of them.
        """
        records, total, blank = records_of(documents, self.fields)
        chosen = condition({"document": sorted({record.document for record in records.values()})}, self.fields)
        vectors: dict[str, np.ndarray] = {}
        while True:  # nobody waits while this process embeds; what has changed meanwhile is looked at again
            with only_writer(self.path):
                there = {row["id"]: row for row in self._rows(chosen, ["id", *self.fields])}
                new = [record for record in records.values() if record.id not in there]
                refuse_other_metadata(records, there)
                if all(record.text in vectors for record in new):
                    if new:
                        self._merge(new, vectors)
                    return Added(len(new), total - len(new), blank)
            vectors |= self._embed(new, vectors)

    def replace(self, document: str, chunks: Iterable[Piece], metadata: Mapping[str, str] | None = None) -> Replaced:
        """Put a new version of a document in the place of the old one, in one step; it need not have been there.

        Chunks that are the same in both are not embedded again; all get the new metadata. Raises what `add` raises, but for
        other metadata.
        """
        records, _, blank = records_of([(document, chunks, metadata)], self.fields)
        chosen = condition({"document": document}, self.fields)
        vectors: dict[str, np.ndarray] = {}
        while True:
            with only_writer(self.path):
                old = {row["id"]: row for row in self._rows(chosen, ["id", "text", "vector", *self.fields])}
                vectors |= {row["text"]: np.asarray(row["vector"], dtype=np.float32) for row in old.values()}
                new = [record for record in records.values() if record.id not in old]
                if all(record.text in vectors for record in new):
                    kept = len(records) - len(new)
                    if new or kept < len(old) or any(differs(record, old[record.id]) for record in records.values()):
                        self._merge(list(records.values()), vectors, instead_of=chosen)
                    return Replaced(len(new), kept, len(old) - kept, blank)
            vectors |= self._embed(new, vectors)

    def update(self, where: Where, metadata: Mapping[str, str]) -> int:
        """Change fields of the records that a condition chooses, and give their number; their ids stay.

        Raises:
            ValueError: an empty condition, no metadata, or a key that is no field.
            TypeError: a value that is no string.
        """
        chosen = self._needed(where, "update")
        check_metadata(metadata, self.fields)
        if not metadata:
            raise ValueError(f"There is nothing to update; name at least one of {', '.join(self.fields) or 'no fields'}.")
        with only_writer(self.path):
            count = self.count(where)
            if count:
                self._write(lambda table: table.update(where=chosen, values=dict(metadata)))
        return count

    def delete(self, where: Where, *, for_good: bool = False) -> int:
        """Delete the records that a condition chooses, and give their number.

        They are gone from every search at once, but still stand in the older versions, and so on the disk, until `forget`.

        Args:
            for_good: forget the older versions, too.

        Raises:
            ValueError: an empty condition, which would delete everything.
        """
        chosen = self._needed(where, "delete")
        with only_writer(self.path):
            count = self.count(where)
            if count:
                self._write(lambda table: table.delete(chosen))
        if for_good:
            self.forget()
        return count

    def forget(self) -> int:
        """Remove all versions but the newest, with the bytes of everything deleted, and give their number.

        What is left is put into few files, which also makes searches faster. Backups, and what the disk itself keeps of
        removed files, are beyond its reach. Views of older versions can't be read any more, but for what is in their memory.
        """
        with only_writer(self.path), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of readers in other processes; they read again (View._read)
            before = len(self.table.list_versions())
            # Compaction alone leaves a file as it is while less than a tenth of its rows are deleted, bytes and all, and
            # the newest version quotes the condition of the last delete. Writing every row anew leaves neither.
            self._write(lambda table: table.update(values_sql={"text": "text"}))
            # Nobody else is writing now, so that files of no version are leftovers of a crash.
            self._write(lambda table: table.optimize(cleanup_older_than=timedelta(0), delete_unverified=True))
        return before

    def versions(self) -> list[Version]:
        """The states that can still be looked at, oldest first; the last is the newest."""
        rows = self._read(lambda table: table.list_versions())
        # LanceDB gives local times without their zone
        return sorted(Version(int(row["version"]), row["timestamp"].astimezone()) for row in rows)

    def snapshot(self) -> View:
        """A view of the state that is the newest now; as with `at`, `forget` ends it."""
        return self.at(self.state)

    def at(self, version: int) -> View:
        """A view of the store as it was at a version; what has been deleted since is still there.

        Raises:
            ValueError: there is no such version (any more).
        """
        known = [each.number for each in self.versions()]
        if version not in known:
            raise ValueError(f"There is no version {version!r} (any more); there are {', '.join(map(str, known))}.")
        table = self._connect().open_table("chunks")
        table.checkout(version)
        return View(self.path, self.embedder, table, version)

    def _connect(self) -> Any:
        try:
            import lancedb
        except ImportError as error:
            raise CourseError(
                'A store needs LanceDB, which is not installed; run `pip install "memcourse[search]"`.'
            ) from error
        # an interval of zero: every call sees what other processes have written
        return lancedb.connect(self.path, read_consistency_interval=timedelta(0))

    def _open(self, fields: Sequence[str]) -> Any:
        """The table of chunks; a new and empty one where there is none yet."""
        if self.path.exists() and not self.path.is_dir():
            raise CourseError(f"{self.path} is a file; a store needs a folder of its own.")
        connection = self._connect()
        if not self._made():
            strangers = [p.name for p in self.path.iterdir() if not p.name.startswith((LOCK, "chunks.lance"))]
            if strangers:
                raise CourseError(f"{self.path} holds other things ({strangers[0]}) and no store; give a folder of its own.")
            if any((self.path / "chunks.lance" / "data").glob("*")):
                raise self._damaged()
            with only_writer(self.path):
                if not self._made():  # another process may have been faster
                    schema = self._schema(fields)
                    self._write(lambda _: connection.create_table("chunks", schema=schema))
        try:
            return connection.open_table("chunks")
        except (RuntimeError, OSError, ValueError) as error:
            raise self._damaged() from error

    def _made(self) -> bool:
        return any((self.path / "chunks.lance" / "_versions").glob("*.manifest"))

    def _schema(self, fields: Sequence[str]) -> Any:
        import pyarrow as pa

        types = dict.fromkeys(FIXED, pa.string()) | {"start": pa.int64(), "end": pa.int64()}
        types |= {"vector": pa.list_(pa.float32(), self.embedder.dim)} | dict.fromkeys(fields, pa.string())
        columns = [pa.field(n, kind, nullable=False, metadata=_KEY if n == "id" else None) for n, kind in types.items()]
        return pa.schema(columns, metadata={"embedder": self.embedder.name, "dim": str(self.embedder.dim)})

    def _write(self, change: Callable[[Any], object]) -> None:
        try:
            change(getattr(self, "table", None))
        except (RuntimeError, OSError, ValueError) as error:
            reason = str(error).splitlines()[0][:200]
            raise CourseError(
                f"Cannot write to the store in {self.path} ({reason}). Free some disk space; where a file of it is missing, "
                "delete the folder, and add the documents again."
            ) from error

    def _merge(self, records: Sequence[Record], vectors: Mapping[str, np.ndarray], instead_of: str | None = None) -> None:
        """Write records in one step, in the place of all others that a condition chooses; vectors are by text."""
        import pyarrow as pa

        columns: dict[str, Any] = {key: [getattr(record, key) for record in records] for key in FIXED[:-1]}
        columns |= {name: [record.metadata[name] for record in records] for name in self.fields}
        flat = np.concatenate([vectors[record.text] for record in records])
        columns["vector"] = pa.FixedSizeListArray.from_arrays(pa.array(flat), self.embedder.dim)
        merge = self.table.merge_insert("id").when_not_matched_insert_all()
        if instead_of:
            merge = merge.when_matched_update_all().when_not_matched_by_source_delete(instead_of)
        rows = pa.table(columns, schema=self.table.schema)
        self._write(lambda _: merge.execute(rows))

    def _embed(self, records: Iterable[Record], vectors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The vectors of those texts that have none yet, by text."""
        texts = list(dict.fromkeys(record.text for record in records if record.text not in vectors))
        rows = unit_rows(self.embedder.encode(texts), self.embedder.dim, f"vector from {self.embedder.name}")
        if len(rows) != len(texts):
            raise ValueError(f"{self.embedder.name} gave {len(rows)} vectors for {len(texts)} texts; nothing was stored.")
        return dict(zip(texts, rows, strict=True))

    def _needed(self, where: Where, what: str) -> str:
        chosen = condition(where, self.fields)
        if chosen is None:
            raise ValueError(f"An empty condition would {what} every record; name some, as in {{'document': 'x'}}.")
        return chosen
