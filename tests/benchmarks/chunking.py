"""Megabytes a second of the chunkers on English text, beside langchain-text-splitters where it is installed.

Run by hand: python tests/benchmarks/chunking.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

from memcourse import world
from memcourse.retrieval import by_characters, by_headings, by_sentences

SIZE = 800


def arms() -> dict[str, Callable[[str], object]]:
    """What is compared, by name."""
    found: dict[str, Callable[[str], object]] = {
        "characters": lambda text: by_characters(text, SIZE),
        "characters, overlap 100": lambda text: by_characters(text, SIZE, 100),
        "sentences": lambda text: by_sentences(text, SIZE),
        "headings": lambda text: by_headings(text, SIZE),
    }
    if find_spec("langchain_text_splitters"):
        splitters = import_module("langchain_text_splitters")  # no dependency of the course
        recursive = splitters.RecursiveCharacterTextSplitter(
            chunk_size=SIZE, chunk_overlap=0, separators=["\n\n", ". ", " ", ""]
        )
        found["langchain, recursive"] = recursive.split_text
        single = splitters.CharacterTextSplitter(separator=" ", chunk_size=SIZE, chunk_overlap=0)
        found["langchain, characters"] = single.split_text
    return found


def main(megabytes: int = 10, rounds: int = 3) -> None:
    """One line for each chunker: the best of some rounds, taken in turn so that a busy moment hits all."""
    prose = "\n\n".join(world.load_everyday_text())
    text = (prose + "\n\n") * (megabytes * 2**20 // len(prose))
    best: dict[str, float] = {}
    for _ in range(rounds):
        for name, cut in arms().items():
            start = time.perf_counter()
            cut(text)
            best[name] = min(best.get(name, float("inf")), time.perf_counter() - start)
    for name, seconds in best.items():
        print(f"{name}: {len(text.encode()) / 1e6 / seconds:.0f} MB/s")


if __name__ == "__main__":
    main()
