"""Questions a second over 10,000 passages: BM25 here, bm25s, and rank-bm25 where it is installed; one process.

Run by hand: python tests/benchmarks/bm25.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

import bm25s
import numpy as np

from memcourse import world
from memcourse.retrieval import BM25, words

K = 10


def passages(n: int) -> tuple[list[str], list[str]]:
    """n passages on invented people, and 100 questions on some of them."""
    kit = world.make_people(n // 8 + 1, attributes=8, seed=0)
    rng = np.random.default_rng(0)
    texts = [
        attribute.statements[rng.integers(12)].format(name=person.name, value=person.values[attribute.name])
        for person in kit.people
        for attribute in kit.attributes
    ]
    asked = kit.questions()
    return texts[:n], [asked[i].question for i in rng.choice(n, size=100, replace=False)]


def arms(texts: list[str]) -> dict[str, Callable[[list[str]], object]]:
    """What is compared, by name; each takes all questions."""
    ours = BM25(texts)
    theirs = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
    theirs.index([words(text) for text in texts], show_progress=False)
    found: dict[str, Callable[[list[str]], object]] = {
        "memcourse": lambda asked: ours.search(asked, K),
        "bm25s": lambda asked: theirs.retrieve([words(q) for q in asked], k=K, show_progress=False),
    }
    if find_spec("rank_bm25"):
        okapi = import_module("rank_bm25").BM25Okapi([words(text) for text in texts])  # no dependency of the course
        found["rank-bm25"] = lambda asked: [np.argsort(-okapi.get_scores(words(q)))[:K] for q in asked]
    return found


def main(n: int = 10_000, rounds: int = 5) -> None:
    """One line for each library: the best of some rounds, taken in turn so that a busy moment hits all."""
    texts, asked = passages(n)
    compared = arms(texts)
    best: dict[str, float] = {}
    for _ in range(rounds):
        for name, search in compared.items():
            start = time.perf_counter()
            search(asked)
            best[name] = min(best.get(name, float("inf")), time.perf_counter() - start)
    for name, seconds in best.items():
        print(f"{name}: {len(asked) / seconds:,.0f} questions/s, {seconds / best['memcourse']:.1f} times our time")


if __name__ == "__main__":
    main()
