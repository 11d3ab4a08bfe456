"""A store's speed without the embedder: records a second by add and add_many, and a search's milliseconds by its rows.

Run by hand: python tests/benchmarks/store.py
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from memcourse.retrieval import Chunk
from memcourse.retrieval.store import Store

DIM = 384


class Drawn:
    """An embedder that costs nothing: random directions."""

    name, dim = "drawn", DIM

    def encode(self, texts: Sequence[str], /) -> np.ndarray:
        """A (n, d) float32 array."""
        return np.random.default_rng(len(texts)).standard_normal((len(texts), DIM), dtype=np.float32)


def documents(n: int, start: int = 0) -> list[tuple[str, list[Chunk], dict[str, str]]]:
    """n documents of one chunk each, of which every hundredth is rare."""
    return [
        (f"d{i}", [Chunk(f"text {i}", 0, len(f"text {i}"))], {"kind": "common" if i % 100 else "rare"})
        for i in range(start, start + n)
    ]


def seconds(call: Callable[[], object], rounds: int) -> float:
    """The best of some rounds, after one that does not count."""
    call()
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def main(sizes: tuple[int, ...] = (1_000, 10_000, 100_000), rounds: int = 10, singles: int = 100) -> None:
    """One line for each way of adding, and one for each number of rows."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "single", Drawn(), fields=["kind"])
        start = time.perf_counter()
        for document in documents(singles):
            store.add(*document)
        print(f"add, {singles} times one chunk: {singles / (time.perf_counter() - start):.0f} records/s")
        question = np.random.default_rng(0).standard_normal((1, DIM))
        scattered = seconds(lambda: store.search_vectors(question), rounds)
        store.forget()
        gathered = seconds(lambda: store.search_vectors(question), rounds)
        print(f"search after them: {1e3 * scattered:.1f} ms; after forget: {1e3 * gathered:.1f} ms")
        store = Store(Path(folder) / "many", Drawn(), fields=["kind"])
        for size in sizes:
            more = documents(size - len(store), len(store))
            start = time.perf_counter()
            store.add_many(more)
            rate = len(more) / (time.perf_counter() - start)
            plain = seconds(lambda: store.search_vectors(question), rounds)
            rare = seconds(lambda: store.search_vectors(question, where={"kind": "rare"}), rounds)
            questions = np.repeat(question, 32, axis=0)
            several = seconds(lambda questions=questions: store.search_vectors(questions), 2) / 32
            print(
                f"{size:,} rows: add_many {rate:,.0f} records/s; search {1e3 * plain:.1f} ms, of the 1 % that are rare "
                f"{1e3 * rare:.1f} ms, one of 32 at once {1e3 * several:.1f} ms"
            )


if __name__ == "__main__":
    main()
