"""Stages behind a search: its best passages ordered anew by a language model, or chosen so that they differ. Notebook 06."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from memcourse.model.batching import check_texts
from memcourse.model.lm import LanguageModel
from memcourse.progress import Progress
from memcourse.retrieval.retriever import Ranked, Search
from memcourse.retrieval.store_view import Encoder
from memcourse.retrieval.vectors import as_rows, normalise


def question_logprobs(
    lm: LanguageModel, question: str, texts: Sequence[str], progress: Progress | None = None
) -> list[float]:
    """How likely the question is after each passage: the mean log-probability of its tokens, in nats per token, at most 0.

    The prompt is "Passage: ...", a new line and "Question:", and what is scored is a space and the question. The idea is
    that a passage makes the questions likely that it answers. Equal passages are scored once.

    Source: Sachan et al., "Improving Passage Retrieval with Zero-Shot Question Generation" (2022), with larger models and an
    instruction to write a question.

    Args:
        texts: n passages, in any order.
        progress: called with (different passages done, all of them).

    Returns:
        n numbers, in the order of the passages; they compare for one question, not between two.

    Raises:
        TypeError: the question or a passage is no string, or the passages are one string.
        ValueError: the question or a passage is blank, or both together don't fit into the window.
    """
    _check_questions([question])
    passages = check_texts(texts, "passage")
    for i, text in enumerate(passages):
        if not text.strip():
            raise ValueError(f"Passage {i} is blank; leave blank passages out before they are scored.")
    found = _logprobs(lm, {text: {question: None} for text in passages}, progress)
    return [found[text, question] for text in passages]


class Reranked:
    """A stage that orders the best passages of a search by how likely each makes the question (`question_logprobs`).

    Attributes:
        base: the search behind it.
        lm: the language model that scores.
        pool: passages taken from the search behind; a passage that isn't among them can't be found.
    """

    def __init__(self, search: Search, lm: LanguageModel, pool: int = 10) -> None:
        """Raises ValueError for a pool below 1."""
        _check_pool(pool)
        self.base, self.lm, self.pool = search, lm, pool

    def search(self, questions: Sequence[str], k: int = 3) -> list[list[Ranked]]:
        """For each question at most k passages, best first; all questions and passages go through the model in one batch.

        `Ranked.score` is the mean log-probability of the question (nats per token, at most 0); record and cosine stay.
        Passages that score alike keep their order.

        Raises:
            TypeError: a single string, or something that is no string.
            ValueError: a blank question, k < 1 or above the pool, or a passage that doesn't fit into the window with the
                longest question.
        """
        asked = _checked(questions, k, self.pool)
        pools = [hits[: self.pool] for hits in self.base.search(asked, self.pool)]
        # a passage found for several questions runs through the model once, with all of them after it
        behind: dict[str, dict[str, None]] = {}
        for question, hits in zip(asked, pools, strict=True):
            for hit in hits:
                behind.setdefault(hit.record.text, {})[question] = None
        found = _logprobs(self.lm, behind)
        return [
            sorted(
                (hit._replace(score=found[hit.record.text, question]) for hit in hits),
                key=lambda hit: hit.score,
                reverse=True,
            )[:k]
            for question, hits in zip(asked, pools, strict=True)
        ]


def mmr(relevance: Any, similarity: Any, k: int, balance: float = 0.7) -> list[int]:
    """Maximal marginal relevance: k items that are relevant and unlike each other, in the order in which they are picked.

    The most relevant item is picked first. Then always the one with the highest
    balance * relevance[i] - (1 - balance) * max(similarity[i, j] for each j picked before); of equals, the earlier one.

    Source: Carbonell and Goldstein, "The use of MMR, diversity-based reranking for reordering documents and producing
    summaries" (1998); balance is their lambda.

    Args:
        relevance: (n,) numbers, higher is better, on the scale of the similarities (cosines, say).
        similarity: (n, n) numbers, between the items; the diagonal isn't read.
        k: how many to pick; all n where there are fewer than k.
        balance: from 0 (only unlike what was picked) to 1 (only relevance).

    Raises:
        ValueError: k < 1, a balance outside [0, 1], shapes that don't fit, or a number that is NaN or infinite.
    """
    wanted, alike = np.asarray(relevance, dtype=float), np.asarray(similarity, dtype=float)
    n = len(wanted) if wanted.ndim == 1 else -1
    _check_balance(balance)
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}.")
    if alike.shape != (n, n) and not n == alike.size == 0:
        raise ValueError(
            f"Relevances of shape (n,) need similarities of shape (n, n); {wanted.shape} and {alike.shape} don't fit."
        )
    if not (np.isfinite(wanted).all() and np.isfinite(alike).all()):
        raise ValueError("A relevance or a similarity is NaN or infinite; look at the text that it came from.")
    picked = [int(wanted.argmax())] if n else []
    nearest = np.full(n, -np.inf)  # to each item, the highest similarity of one that was picked
    while len(picked) < min(k, n):
        nearest = np.maximum(nearest, alike[:, picked[-1]])
        values = balance * wanted - (1 - balance) * nearest
        values[picked] = -np.inf
        picked.append(int(values.argmax()))
    return picked


class Diverse:
    """A stage that chooses among the best passages of a search those that are relevant and unlike each other (`mmr`).

    Attributes:
        base: the search behind it.
        embedder: gives the vectors whose cosines tell how alike two passages are; take the one that the search uses.
        pool: passages taken from the search behind, to choose from.
        balance: from 0 (only unlike what was picked) to 1 (only the cosine to the question).
    """

    def __init__(self, search: Search, embedder: Encoder, pool: int = 10, balance: float = 0.7) -> None:
        """Raises ValueError for a pool below 1 or a balance outside [0, 1]."""
        _check_pool(pool)
        _check_balance(balance)
        self.base, self.embedder, self.pool, self.balance = search, embedder, pool, balance

    def search(self, questions: Sequence[str], k: int = 3) -> list[list[Ranked]]:
        """For each question at most k passages, in the order in which they are picked.

        How relevant a passage is, is its `Ranked.cosine`. A passage keeps record, score and cosine: what it adds depends on
        those before it and is no score of its own, so the scores needn't fall.

        Raises:
            TypeError: a single string, or something that is no string.
            ValueError: a blank question, or k < 1 or above the pool.
        """
        asked = _checked(questions, k, self.pool)
        pools = [hits[: self.pool] for hits in self.base.search(asked, self.pool)]
        texts = list(dict.fromkeys(hit.record.text for hits in pools for hit in hits))
        vectors = as_rows(self.embedder.encode(texts), self.embedder.dim, "passage")
        normalise(vectors)
        places = {text: place for place, text in enumerate(texts)}
        return [self._picked(hits, vectors[[places[hit.record.text] for hit in hits]], k) for hits in pools]

    def _picked(self, hits: Sequence[Ranked], vectors: np.ndarray, k: int) -> list[Ranked]:
        # rounded, since a product of matrices may give two copies of one text cosines that differ in the last digit
        alike = np.round(vectors @ vectors.T, 6)
        return [hits[i] for i in mmr([hit.cosine for hit in hits], alike, k, self.balance)]


def _logprobs(
    lm: LanguageModel, asked: Mapping[str, Mapping[str, Any]], progress: Progress | None = None
) -> dict[tuple[str, str], float]:
    """For each passage and each question asked about it, the question's log-probability in nats per token."""
    prompts = [f"Passage: {text}\nQuestion:" for text in asked]
    sums = lm.score(prompts, [[f" {question}" for question in questions] for questions in asked.values()], progress=progress)
    tokens = {question: len(lm.encode(f" {question}")) for questions in asked.values() for question in questions}
    return {
        (text, question): total / tokens[question]
        for (text, questions), totals in zip(asked.items(), sums, strict=True)
        for question, total in zip(questions, totals, strict=True)
    }


def _checked(questions: Sequence[str], k: int, pool: int) -> list[str]:
    """The questions of a search as a list; refuses what its docstring says."""
    asked = _check_questions(questions)
    if not 1 <= k <= pool:
        raise ValueError(
            f"k must be at least 1 and at most the pool of {pool}, not {k}; a larger pool gives more to choose."
        )
    return asked


def _check_questions(questions: Sequence[str]) -> list[str]:
    asked = check_texts(questions, "question")
    for i, question in enumerate(asked):
        if not question.strip():
            raise ValueError(f"Question {i} is blank; ask for something.")
    return asked


def _check_pool(pool: int) -> None:
    if not pool >= 1:
        raise ValueError(f"pool must be at least 1, not {pool}.")


def _check_balance(balance: float) -> None:
    if not 0 <= balance <= 1:
        raise ValueError(f"balance must be a number from 0 to 1, not {balance}.")
