"""Answer or abstain: what a system gains by staying silent where it is unsure, and where to draw the line. Notebook 06."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def risk_coverage(confidence: Sequence[float], right: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Coverage and risk when the most confident questions are answered first, for every place where one can stop.

    Coverage is the share of the questions that are answered, and risk the share of wrong answers among these. Questions of
    equal confidence are answered together, since no threshold tells them apart.

    Source: El-Yaniv and Wiener, "On the Foundations of Noise-free Selective Classification" (2010).

    Args:
        confidence: n numbers on any scale, higher is surer.
        right: n times True or 1 for a right answer, False or 0 for a wrong one.

    Returns:
        Two arrays of shape (m,), one place for each different confidence (m = n without ties): coverage, rising to 1, and
        risk, from 0 to 1.

    Raises:
        ValueError: no questions, different lengths, a confidence that is NaN, or a `right` that is neither 0 nor 1.
    """
    _, coverage, risk = _curve(*_checked(confidence, right))
    return coverage, risk


def area_under_risk_coverage(confidence: Sequence[float], right: Sequence[float]) -> float:
    """The mean risk over the n coverages 1/n, 2/n ... 1 (AURC), from 0 to 1; lower is better.

    A confidence that says nothing gives the share of wrong answers, on average. The best possible confidence still gives
    more than 0 where answers are wrong, so compare on the same answers only. Of questions with equal confidence each counts
    as wrong as they are on average, which is the mean over all orders of them.

    Source: Geifman, Uziel and El-Yaniv, "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers" (2019).

    Args and errors as for `risk_coverage`.
    """
    values, wrong = _checked(confidence, right)
    _, level, size = np.unique(-values, return_inverse=True, return_counts=True)
    share = np.bincount(level, wrong) / size
    return float((np.cumsum(np.repeat(share, size)) / np.arange(1, len(values) + 1)).mean())


def threshold_for(confidence: Sequence[float], right: Sequence[float], risk: float) -> float | None:
    """The lowest threshold at which at most this share of the answers is wrong; None where there is none.

    Answered is what has a confidence at or above it. Choose it on questions that are used for nothing else; on new ones the
    risk may come out higher, all the more the fewer questions the threshold rests on.

    Args:
        confidence, right: as for `risk_coverage`; the threshold is one of the confidences.
        risk: the highest share of wrong answers among those given, from 0 to 1.

    Raises:
        ValueError: as for `risk_coverage`, or a risk outside [0, 1].
    """
    thresholds, _, risks = _curve(*_checked(confidence, right))
    if not 0 <= risk <= 1:
        raise ValueError(f"risk is a share from 0 to 1, not {risk}.")
    # a little room, since 1 - 0.9 is a little less than 1/10 to the machine
    kept = thresholds[risks <= risk + 1e-12]
    return float(kept[-1]) if len(kept) else None


def _curve(confidence: np.ndarray, wrong: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Thresholds from the highest down, and coverage and risk of what lies at or above each."""
    levels, level, size = np.unique(-confidence, return_inverse=True, return_counts=True)
    answered = np.cumsum(size)
    return -levels, answered / len(confidence), np.cumsum(np.bincount(level, wrong)) / answered


def _checked(confidence: Sequence[float], right: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Confidences, and 1.0 for each wrong answer, both (n,) float64."""
    values, good = np.asarray(confidence, dtype=float), np.asarray(right, dtype=float)
    if values.ndim != 1 or values.shape != good.shape or not len(values):
        raise ValueError(
            f"One confidence is needed for each answer, and at least one answer; not shapes {values.shape} and {good.shape}."
        )
    if np.isnan(values).any():
        raise ValueError(f"Confidence {int(np.isnan(values).argmax())} is NaN; an answer without a confidence has no place.")
    odd = ~np.isin(good, (0, 1))
    if odd.any():
        raise ValueError(f"right holds 1 (or True) and 0 (or False), but {good[odd][0]} at {int(odd.argmax())}.")
    return values, 1 - good
