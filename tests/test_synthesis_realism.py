"""A classifier tells apart what differs, says by what, and tells like from like no better than chance."""

from __future__ import annotations

import numpy as np
import pytest

from memcourse.synthesis.digits import real_digits, rendered_digits
from memcourse.synthesis.realism import text_told_apart, told_apart


def test_synthetic_images_are_told_apart_and_real_ones_are_not():
    real, synthetic = real_digits(), rendered_digits(600, seed=0).images
    found = told_apart(real.train.images, synthetic)
    assert found["accuracy"] > 0.8 and found["auc"] > 0.85 and found["n"] == 1200
    assert found["low"] < found["accuracy"] < found["high"]
    assert found["weights"].shape == found["mean_real"].shape == (8, 8)
    assert np.allclose(found["mean_real"], real.train.images.mean(0))
    same = told_apart(real.train.images, real.test.images)
    assert abs(same["accuracy"] - 0.5) < 0.06 and abs(same["auc"] - 0.5) < 0.06


def test_the_weights_point_at_what_differs():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 200, 4, 6))
    b[:, 2, 5] += 0.7
    found = told_apart(a, b)
    assert np.unravel_index(found["weights"].argmax(), (4, 6)) == (2, 5) and found["accuracy"] > 0.75


def test_texts_are_told_apart_by_their_telling_words_and_like_from_like_are_not():
    rng = np.random.default_rng(0)
    words = [f"word{i}" for i in range(60)]
    plain = [" ".join(rng.choice(words, 20)) for _ in range(160)]
    marked = [text + " delve" if i % 4 else text for i, text in enumerate(plain[80:])]
    found = text_told_apart(plain[:80], marked, top=3)
    assert found["synthetic"][0] == "delve" and 0.7 < found["accuracy"] < 1 and "delve" not in found["real"]
    assert abs(text_told_apart(plain[:80], plain[80:])["auc"] - 0.5) < 0.15
    assert "delv" in " ".join(text_told_apart(plain[:80], marked, characters=True)["synthetic"])


def test_a_text_that_stands_twice_counts_once():
    rng = np.random.default_rng(1)
    plain = [" ".join(rng.choice([f"w{i}" for i in range(50)], 15)) for _ in range(60)]
    found = text_told_apart(plain[:30] * 4, plain[30:] * 4)
    assert found["n"] == 60 and abs(found["accuracy"] - 0.5) < 0.25


IMAGES = np.zeros((9, 8, 8))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: told_apart(IMAGES, np.zeros((9, 8, 7))), "Images of one size"),
        (lambda: told_apart(IMAGES, IMAGES + np.inf), "finite"),
        (lambda: told_apart(IMAGES, IMAGES[:3]), "not 3 for 5"),
        (lambda: text_told_apart("one text", ["a", "b"]), "not as one string"),
        (lambda: text_told_apart(["a"] * 9, ["b"] * 9), "not 1 for 5"),
        (lambda: text_told_apart(["!"] + ["?" * i for i in range(2, 9)], ["." * i for i in range(1, 9)]), "not 0 for 5"),
    ],
)
def test_what_cannot_be_done_is_said(call, message):
    with pytest.raises(ValueError, match=message):
        call()
