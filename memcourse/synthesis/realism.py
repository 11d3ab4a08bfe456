"""What gives synthetic data away: how well a classifier tells it from real data, and by what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from memcourse import metrics
from memcourse.synthesis.digits import whole


def told_apart(real: np.ndarray, synthetic: np.ndarray, seed: int = 0, folds: int = 5) -> dict[str, Any]:
    """How well a linear classifier tells synthetic images from real ones: 0.5 if they can't be told apart.

    Logistic regression on the pixels, cross-validated: every image is judged by a classifier that has not seen it. Of the
    larger side only as many are taken, at random, as the smaller has.

    Args:
        real, synthetic: images (n, rows, columns) of one size.

    Returns:
        "accuracy" with its interval "low" and "high", "auc" and "n" (images of both sides); "weights" (rows, columns):
        above 0 where ink speaks for synthetic; "mean_real" and "mean_synthetic" (rows, columns).

    Source: Lopez-Paz and Oquab, "Revisiting classifier two-sample tests" (2017), arXiv 1610.06545.

    Raises:
        ValueError: images of different sizes, fewer images than folds, fewer than two folds, or values not finite.
    """
    from sklearn.linear_model import LogisticRegression

    sides = [np.asarray(side, dtype=float) for side in (real, synthetic)]
    if any(side.ndim != 3 for side in sides) or sides[0].shape[1:] != sides[1].shape[1:]:
        raise ValueError(f"Images of one size are needed, (n, rows, columns), not {sides[0].shape} and {sides[1].shape}.")
    if not all(np.isfinite(side).all() for side in sides):
        raise ValueError("Images need finite numbers.")
    flat = [side.reshape(len(side), -1) for side in sides]
    model = LogisticRegression(max_iter=2000)
    found = _judged(model, flat, seed, folds)
    shape = sides[0].shape[1:]
    found["weights"] = model.coef_.reshape(shape)
    return {**found, "mean_real": sides[0].mean(0), "mean_synthetic": sides[1].mean(0)}


def text_told_apart(
    real_texts: Sequence[str], synthetic_texts: Sequence[str], seed: int = 0, folds: int = 5, top: int = 10,
    characters: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """The same for texts: logistic regression on their words, or on runs of 2 to 4 characters, weighted by tf-idf.

    A text that stands twice on its side counts once, else it could be known by heart; one without words counts not at all.

    Returns:
        "accuracy", "low", "high", "auc" and "n" as for `told_apart`; "real" and "synthetic", the `top` words that speak
        most for either side, the most telling first.

    Source: as for `told_apart`.

    Raises:
        ValueError: a single string for a list, fewer different texts than folds, fewer than two folds, or top < 1.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    if isinstance(real_texts, str) or isinstance(synthetic_texts, str) or not whole(top, 1):
        raise ValueError("Texts come in two lists, not as one string, and top is a whole number from 1 up.")
    how: dict[str, Any] = {"analyzer": "char_wb", "ngram_range": (2, 4)} if characters else {"token_pattern": r"\w+"}
    model = make_pipeline(TfidfVectorizer(sublinear_tf=True, **how), LogisticRegression(C=10, max_iter=2000))
    terms = model[0].build_analyzer()
    kept = [dict.fromkeys(text for text in texts if terms(text)) for texts in (real_texts, synthetic_texts)]
    sides = [np.array(list(texts), dtype=object) for texts in kept]
    found = _judged(model, sides, seed, folds)
    words, weights = model[0].get_feature_names_out(), model[1].coef_[0]
    order = np.argsort(weights, kind="stable")
    found["real"] = [str(words[i]) for i in order[:top] if weights[i] < 0]
    found["synthetic"] = [str(words[i]) for i in order[::-1][:top] if weights[i] > 0]
    return found


def _judged(model: Any, sides: Sequence[np.ndarray], seed: int, folds: int) -> dict[str, Any]:
    """Cross-validated figures for telling two sides apart; the model is left fitted on all of both."""
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    n = min(len(side) for side in sides)
    if not whole(folds, 2, n) or not whole(seed, 0, 2**32 - 1):
        raise ValueError(
            f"Both sides need at least as many as there are folds, at least 2: not {n} for {folds}, seed {seed}."
        )
    rng = np.random.default_rng(seed)
    inputs = np.concatenate([side[np.sort(rng.permutation(len(side))[:n])] for side in sides])
    synthetic = np.arange(2 * n) >= n
    parts = StratifiedKFold(folds, shuffle=True, random_state=seed)
    scores = cross_val_predict(model, inputs, synthetic, cv=parts, method="decision_function")
    right = metrics.share(int(((scores > 0) == synthetic).sum()), 2 * n)
    model.fit(inputs, synthetic)
    return {
        "accuracy": right.value,
        "low": right.low,
        "high": right.high,
        "auc": metrics.auc(scores, synthetic.tolist()),
        "n": 2 * n,
    }
