"""BM25: how well the words of a question and of a passage agree, rare words counting more. Built in notebook 05.

Source: Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), in the form that Lucene
uses. Cross-checked against bm25s.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from memcourse.model.batching import check_texts
from memcourse.retrieval.fusion import Hits

# Scripts that put no space between words: each character is a word of its own, so that parts of a sentence are found.
_NO_SPACES = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"\d+(?:[.,]\d+)*|[{_NO_SPACES}]|(?:(?![{_NO_SPACES}])\w)+")


def words(text: str) -> list[str]:
    """The words of a text, in lower case and in one Unicode form; "2,400" and "3.5" are words, punctuation is none.

    In Chinese, Japanese, Thai and the like, which write no spaces, each character counts as a word.
    """
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


class BM25:
    """An index of n texts by their words.

    What a word adds to a text's score does not depend on the question, so it is computed once. A question then only adds
    up the columns of its own words.

    Attributes:
        k1: how soon repetitions of a word stop to count.
        b: how far a long text is discounted, from 0 (not at all) to 1.
    """

    def __init__(
        self, texts: Sequence[str], k1: float = 1.2, b: float = 0.75, tokenize: Callable[[str], list[str]] = words
    ) -> None:
        """Index texts (they may be empty, or none at all).

        Raises:
            TypeError: `texts` is a single string, or holds something that is no string.
            ValueError: k1 below 0, or b outside [0, 1].
        """
        if not (k1 >= 0 and 0 <= b <= 1):
            raise ValueError(f"BM25 needs k1 >= 0 and b from 0 to 1, not k1 = {k1} and b = {b}.")
        self.k1, self.b, self._tokenize = k1, b, tokenize
        counts = [Counter(tokenize(text)) for text in check_texts(texts, "text", allow_empty=True)]
        self._n = len(counts)
        self._column: dict[str, int] = {}
        rows, columns, frequencies = [], [], []
        for row, count in enumerate(counts):
            for word, frequency in count.items():
                rows.append(row)
                columns.append(self._column.setdefault(word, len(self._column)))
                frequencies.append(frequency)
        lengths = np.array([count.total() for count in counts], dtype=np.float64)
        self._store(np.array(rows, dtype=np.int64), np.array(columns, dtype=np.int64), np.array(frequencies), lengths)

    def __len__(self) -> int:
        return self._n

    def _store(self, rows: np.ndarray, columns: np.ndarray, frequencies: np.ndarray, lengths: np.ndarray) -> None:
        """Keep, for each word, the texts that hold it and what it adds to each one's score."""
        holding = np.bincount(columns, minlength=len(self._column))
        rarity = np.log(1 + (self._n - holding + 0.5) / (holding + 0.5))
        mean = lengths.mean() if lengths.any() else 1.0
        damping = self.k1 * (1 - self.b + self.b * lengths / mean)
        gains = rarity[columns] * frequencies / (frequencies + damping[rows])
        order = np.argsort(columns, kind="stable")
        ends = np.cumsum(holding)
        self._rows = np.split(rows[order], ends[:-1])
        self._gains = np.split(gains[order], ends[:-1])

    def scores(self, question: str) -> np.ndarray:
        """(n,) the score of every text, 0 or more; words that no text holds add nothing."""
        (asked,) = check_texts([question], "text", allow_empty=True)
        total = np.zeros(self._n)
        for word, times in Counter(self._tokenize(asked)).items():
            column = self._column.get(word)
            if column is not None:
                total[self._rows[column]] += times * self._gains[column]
        return total

    def search(self, questions: Sequence[str], k: int = 10) -> list[Hits]:
        """For each question the places (0 to n - 1) and scores of at most k texts that share a word with it, best first.

        Of equal scores the earlier text comes first. Errors as for the constructor, and ValueError for k < 1.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}.")
        return [_best(self.scores(question), k) for question in check_texts(questions, "text", allow_empty=True)]


def _best(scores: np.ndarray, k: int) -> Hits:
    found = np.flatnonzero(scores)
    if len(found) > k:
        # every text whose score reaches the k-th best, so that ties are cut by place and not by chance
        found = found[scores[found] >= np.partition(scores[found], -k)[-k]]
    found = found[np.argsort(-scores[found], kind="stable")][:k]
    return Hits(found, scores[found].astype(np.float32))


def bm25_by_hand(question: Sequence[str], text: Sequence[str], texts: Sequence[Sequence[str]], k1: float, b: float) -> float:
    """The score of one text for one question, all given as lists of words, straight from the formula.

    Exercise of notebook 05; `BM25` computes the same for all texts at once.
    """
    mean = sum(map(len, texts)) / len(texts)
    score = 0.0
    for word in question:
        holding = sum(word in other for other in texts)
        rarity = math.log(1 + (len(texts) - holding + 0.5) / (holding + 0.5))
        frequency = text.count(word)
        score += rarity * frequency / (frequency + k1 * (1 - b + b * len(text) / mean))
    return score
