"""Figures with intervals: how sure a share, a mean or a correlation is. Cross-checked against SciPy."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class Estimate(NamedTuple):
    """A value with its interval.

    value: the estimate. low, high: its 95 % interval. n: how many observations it rests on.
    """

    value: float
    low: float
    high: float
    n: int

    @property
    def interval(self) -> tuple[float, float]:
        return self.low, self.high


Z95 = 1.959963984540054  # 97.5 % quantile of the normal distribution


def share(right: int, n: int) -> Estimate:
    """A share right/n with Wilson's 95 % interval, which stays inside [0, 1] also for 0 of n. Built in notebook 00.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference" (1927).

    Raises:
        ValueError: n < 1, or right outside 0..n.
    """
    if n < 1 or not 0 <= right <= n:
        raise ValueError(f"A share needs n >= 1 and 0 <= right <= n, not right = {right}, n = {n}.")
    p = right / n
    middle = (p + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * np.sqrt(p * (1 - p) / n + Z95**2 / (4 * n**2))
    # exactly 0 and 1 at the ends, where rounding would leave 1e-18
    low, high = 0.0 if right == 0 else float(middle - half), 1.0 if right == n else float(middle + half)
    return Estimate(p, low, high, n)


def questions_needed(half_width: float, p: float = 0.5) -> int:
    """How many questions make a share's 95 % interval at most +/- half_width (normal approximation). Notebook 00.

    Raises:
        ValueError: half_width not in (0, 1), or p not in [0, 1].
    """
    if not 0 < half_width < 1 or not 0 <= p <= 1:
        raise ValueError(f"half_width must lie between 0 and 1, and p in 0..1; not {half_width} and {p}.")
    return max(1, int(np.ceil(p * (1 - p) * (Z95 / half_width) ** 2 - 1e-9)))


def bootstrap(
    *samples: Sequence[float], statistic: Callable[..., float] = np.mean, seed: int = 0, resamples: int = 2000
) -> Estimate:
    """A statistic with its 95 % percentile-bootstrap interval; several samples are resampled together (paired).

    Raises:
        ValueError: no or different lengths, or values that are not finite.
    """
    columns = [np.asarray(sample, dtype=float) for sample in samples]
    n = len(columns[0]) if columns else 0
    if n == 0 or any(len(column) != n for column in columns):
        raise ValueError(f"Bootstrap needs samples of one length, at least 1, not {[len(c) for c in columns]}.")
    if not all(np.isfinite(column).all() for column in columns):
        raise ValueError("Bootstrap needs finite numbers.")
    value = float(statistic(*columns))
    if n == 1:
        return Estimate(value, value, value, n)
    rng = np.random.default_rng(seed)
    draws = [statistic(*(column[rows] for column in columns)) for rows in rng.integers(0, n, size=(resamples, n))]
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return Estimate(value, float(low), float(high), n)


def means(rows: Sequence[Sequence[float]], seed: int = 0) -> list[Estimate]:
    """The mean of each row of an (m, n) table, with its bootstrap interval."""
    return [bootstrap(row, seed=seed) for row in rows]


def over_seeds(values: Sequence[float]) -> Estimate:
    """The mean of one figure over several trainings, with Student's 95 % interval; n is the number of seeds.

    With three seeds the interval is wide (4.3 standard errors), as it should be; it may reach beyond what is possible.

    Raises:
        ValueError: fewer than two values, or values that are not finite.
    """
    from scipy import stats

    x = np.asarray(values, dtype=float)
    if x.ndim != 1 or len(x) < 2 or not np.isfinite(x).all():
        raise ValueError(f"An interval over seeds needs at least two finite figures, not {values}.")
    mean, half = float(x.mean()), float(stats.t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x)))
    return Estimate(mean, mean - half, mean + half, len(x))


def hits(scores: Sequence[Sequence[float]], gold: Sequence[int]) -> np.ndarray:
    """(n,) 1 where a question's highest score stands at its gold choice, else 0; subtract two of them for a paired test.

    Raises:
        ValueError: different lengths.
    """
    if len(scores) != len(gold):
        raise ValueError(f"{len(scores)} rows of scores but {len(gold)} gold choices.")
    return np.array([int(np.argmax(row)) == g for row, g in zip(scores, gold, strict=True)], dtype=int)


def accuracy(scores: Sequence[Sequence[float]], gold: Sequence[int]) -> Estimate:
    """Share of questions whose highest score stands at the gold choice, with Wilson's interval."""
    found = hits(scores, gold)
    return share(int(found.sum()), len(found))


def exact_match(answer: str, golds: Sequence[str]) -> float:
    """1 if an answer equals one of the gold answers, else 0; case, punctuation, articles and spaces don't count.

    Source: the evaluation of SQuAD, Rajpurkar et al. (2016). Cross-checked against torchmetrics.

    Raises:
        ValueError: no gold answer.
    """
    return float(any(normal_answer(answer) == normal_answer(gold) for gold in _some(golds)))


def token_f1(answer: str, golds: Sequence[str]) -> float:
    """Harmonic mean of precision and recall over the words of an answer, for the gold answer that it is closest to.

    Source and errors as for `exact_match`. In [0, 1].
    """
    return max(_overlap_f1(normal_answer(answer).split(), normal_answer(gold).split()) for gold in _some(golds))


def normal_answer(text: str) -> str:
    """An answer as SQuAD's evaluation compares it: lower case, without punctuation, articles and surplus spaces."""
    bare = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def _some(golds: Sequence[str]) -> Sequence[str]:
    if isinstance(golds, str) or not golds:
        raise ValueError(f"At least one gold answer is needed, in a list, not {golds!r}.")
    return golds


def _overlap_f1(found: list[str], gold: list[str]) -> float:
    if not found or not gold:
        return float(found == gold)
    shared = sum((Counter(found) & Counter(gold)).values())
    return 2 * shared / (len(found) + len(gold))


def recall_at(ranked: Sequence[Hashable], relevant: Collection[Hashable], k: int) -> float:
    """Share of the relevant items that stand among the first k of a ranking, in [0, 1]. Notebook 06.

    Source: Manning, Raghavan and Schuetze, "Introduction to Information Retrieval" (2008), chapter 8.

    Raises:
        ValueError: k < 1, nothing relevant, an item twice in ranked, or a single string for ranked or relevant.
    """
    grades, ideal = _graded(ranked, relevant, k)
    return sum(grade > 0 for grade in grades[:k]) / len(ideal)


def reciprocal_rank(ranked: Sequence[Hashable], relevant: Collection[Hashable]) -> float:
    """1 / rank of the first relevant item, 0 where there is none; its mean over questions is the MRR. Notebook 06.

    Source: Voorhees, "The TREC-8 Question Answering Track Report" (1999). Errors as for `recall_at`.
    """
    grades, _ = _graded(ranked, relevant)
    return next((1 / rank for rank, grade in enumerate(grades, 1) if grade > 0), 0.0)


def ndcg(ranked: Sequence[Hashable], grades: Mapping[Any, float], k: int) -> float:
    """Normalised discounted cumulative gain of the first k, in [0, 1]: 1 for the best possible order. Notebook 06.

    The item at rank r gains its grade / log2(1 + r), as in trec_eval; grade 0, or none, means irrelevant. The best order
    is that of all graded items, so what the ranking lacks lowers the value. Cross-checked against scikit-learn.

    Source: Jaervelin and Kekaelaeinen, "Cumulated gain-based evaluation of IR techniques" (2002).

    Raises:
        ValueError: as for `recall_at`, or a grade that is negative or not finite.
    """
    found, ideal = _graded(ranked, grades, k)
    # in units of the highest grade, so that large grades don't overflow
    gain, most = (
        sum(grade / ideal[0] / np.log2(1 + rank) for rank, grade in enumerate(row[:k], 1)) for row in (found, ideal)
    )
    return min(1.0, float(gain / most))  # nearly equal grades in a wrong order may round above 1


def _graded(ranked: Sequence[Hashable], judged: Collection[Hashable], k: int = 1) -> tuple[list[float], list[float]]:
    """The grades of a ranking's items, and all grades above 0 from the highest down; without grades, the judged have 1."""
    if isinstance(ranked, str) or isinstance(judged, str):
        raise ValueError(f"Items come in a list or another collection, not as one string; got {ranked!r} and {judged!r}.")
    # a tensor's own items are equal to no id
    items, judged = (x.tolist() if hasattr(x, "tolist") else x for x in (ranked, judged))
    grades = judged if isinstance(judged, Mapping) else dict.fromkeys(judged, 1.0)
    if not k >= 1:
        raise ValueError(f"k must be at least 1, not {k}.")
    if wrong := {item: grade for item, grade in grades.items() if not 0 <= grade < np.inf}:
        raise ValueError(f"Grades must be finite and not negative, unlike {wrong}.")
    if not any(grades.values()):
        raise ValueError(f"At least one item must be relevant (have a grade above 0), but of {len(grades)} none is.")
    if twice := [item for item, times in Counter(items).items() if times > 1]:
        raise ValueError(f"A ranking holds each item once; it has {twice} more than once.")
    return [grades.get(item, 0.0) for item in items], sorted(filter(None, grades.values()), reverse=True)


def auc(scores: Sequence[float], positive: Sequence[float]) -> float:
    """Area under the ROC curve: how often a positive scores higher than a negative (ties count half); NaN without both.

    Scores that say nothing give 0.5, scores that separate perfectly give 1.
    """
    from scipy import stats

    values, is_positive = np.asarray(scores, dtype=float), np.asarray(positive, dtype=bool)
    ups, downs = values[is_positive], values[~is_positive]
    if not len(ups) or not len(downs):
        return float("nan")
    return float(stats.mannwhitneyu(ups, downs).statistic / (len(ups) * len(downs)))


def roc(scores: Sequence[float], positive: Sequence[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Thresholds from the highest score down, and for each the shares of positives and of negatives at or above it.

    The two shares, drawn against each other, are the ROC curve; `auc` is the area under it. Cross-checked against
    scikit-learn.

    Raises:
        ValueError: different lengths, no positive, no negative, or a score that is NaN.
    """
    values, is_positive = np.asarray(scores, dtype=float), np.asarray(positive, dtype=bool)
    if len(values) != len(is_positive) or is_positive.all() or not is_positive.any() or np.isnan(values).any():
        raise ValueError(
            f"A ROC curve needs a number for each of its positives and negatives, and some of both; not {len(values)} "
            f"scores ({np.isnan(values).sum()} of them NaN) for {is_positive.sum()} positives and "
            f"{(~is_positive).sum()} negatives."
        )
    thresholds = np.unique(values)[::-1]
    right, wrong = (
        np.searchsorted(np.sort(-values[side]), -thresholds, side="right") / side.sum()
        for side in (is_positive, ~is_positive)
    )
    return thresholds, right, wrong


def best_threshold(scores: Sequence[float], positive: Sequence[float]) -> float:
    """The threshold at which the share of positives at or above it exceeds that of negatives most; the highest of equals.

    Source: Youden, "Index for rating diagnostic tests" (1950). Errors as for `roc`.
    """
    thresholds, right, wrong = roc(scores, positive)
    # rounded, since 1 - 2/3 is a little more than 1/3 to the machine
    return float(thresholds[np.argmax(np.round(right - wrong, 12))])


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman's rank correlation, in [-1, 1]; NaN when one side is constant."""
    from scipy import stats

    return float(stats.spearmanr(x, y).statistic)


def log_slope(x: Sequence[float], y: Sequence[float]) -> Estimate:
    """Slope of log y against log x by least squares, with its 95 % interval: 1 for a straight line, 2 for a square.

    Raises:
        ValueError: fewer than three points, different lengths, or a value that is not above 0.
    """
    from scipy import stats

    if len(x) != len(y) or len(x) < 3 or min(*x, *y) <= 0:
        raise ValueError("A slope needs at least three pairs of numbers above 0.")
    fit = stats.linregress(np.log(x), np.log(y))
    half = float(stats.t.ppf(0.975, len(x) - 2) * fit.stderr)
    return Estimate(float(fit.slope), float(fit.slope) - half, float(fit.slope) + half, len(x))
