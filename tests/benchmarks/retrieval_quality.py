"""How often the right paragraph of a question comes first: by vectors, by words, and fused, on a file of SQuAD's layout.

Run by hand, with a file of your own: python tests/benchmarks/retrieval_quality.py FILE.json
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np

from memcourse import metrics, model, world
from memcourse.retrieval import BM25, VectorIndex, reciprocal_rank_fusion

DEPTH = 50  # hits of each search that are fused


def main(path: Path) -> None:
    """One line for each way of searching, with its recall at 1 and 5 and the interval of the first."""
    collection = world.read_squad(path)
    names = list(collection.passages)
    texts = [passage.text for passage in collection.passages.values()]
    asked = [question for question in collection.questions if question.passages]
    gold = [{names.index(name) for name in question.passages} for question in asked]
    embedder = model.load_embedder()
    index = VectorIndex(embedder.dim, embedder=embedder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some paragraphs are longer than what the embedder reads
        index.add(embedder.encode(texts))
    questions = [question.text for question in asked]
    dense = [hits.ids.tolist() for hits in index.search(embedder.encode(questions), DEPTH)]
    words = [hits.ids.tolist() for hits in BM25(texts).search(questions, DEPTH)]
    fused = [[place for place, _ in reciprocal_rank_fusion(pair)] for pair in zip(words, dense, strict=True)]
    print(f"{len(asked)} questions, {len(texts)} paragraphs")
    for name, rankings in {"vectors": dense, "BM25": words, "fused": fused}.items():
        first, five = (
            np.array([bool(set(row[:k]) & right) for row, right in zip(rankings, gold, strict=True)]) for k in (1, 5)
        )
        estimate = metrics.share(int(first.sum()), len(first))
        print(
            f"{name}: recall@1 {estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f}), recall@5 {five.mean():.3f}"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
