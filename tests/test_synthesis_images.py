"""Printed digits in the format of handwritten ones: what they are, and what they are worth."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from memcourse.errors import CourseError
from memcourse.synthesis.digits import FONTS, Digits, real_digits, rendered_digits
from memcourse.synthesis.images import (
    ARMS,
    batches,
    digit_nll,
    domain_gap,
    recognised,
    small_network,
    synthetic_scaling,
    trained,
)


@pytest.fixture(scope="module")
def real():
    return real_digits()


def test_the_real_digits_are_scikit_learns_each_in_one_part(real):
    from sklearn.datasets import load_digits

    assert [len(part.labels) for part in real] == [897, 300, 600]
    ours = sorted((label, *image.ravel() * 16) for part in real for image, label in zip(*part, strict=True))
    stored = load_digits()
    assert ours == sorted((label, *row) for row, label in zip(stored.data, stored.target, strict=True))
    again, other = real_digits(), real_digits(seed=1)
    assert np.array_equal(again.test.images, real.test.images) and not np.array_equal(other.test.labels, real.test.labels)


def test_few_has_k_of_each_and_less_is_part_of_more(real):
    two, five = real.train.few(2, seed=3), real.train.few(5, seed=3)
    assert np.bincount(two.labels).tolist() == [2] * 10 and np.bincount(five.labels).tolist() == [5] * 10
    assert {image.tobytes() for image in two.images} <= {image.tobytes() for image in five.images}
    assert not np.array_equal(two.images, real.train.few(2, seed=4).images)
    whole = {(label, image.tobytes()) for image, label in zip(*real.train, strict=True)}
    assert all((label, image.tobytes()) in whole for image, label in zip(*five, strict=True))


def test_rendered_digits_have_the_format_of_the_real_ones(real):
    images, labels = rendered_digits(600, seed=0)
    assert images.shape == (600, 8, 8) and labels.shape == (600,)
    assert np.array_equal(images * 16, np.round(images * 16)) and images.min() == 0 and images.max() == 1
    assert np.bincount(labels).tolist() == [60] * 10 and sorted(labels[:10]) == list(range(10))
    assert images.any(axis=(1, 2)).all(), "no image is empty"
    # both fill the height, both leave the outer columns white, both have about as much ink
    for ours, theirs in zip((images, images[:, 0], images[:, :, 0]), _parts(real.train.images), strict=True):
        assert ours.mean() == pytest.approx(theirs.mean(), abs=0.08)


def _parts(images):
    return images, images[:, 0], images[:, :, 0]


def test_rendering_is_deterministic_and_a_small_set_begins_a_large_one():
    large = rendered_digits(530, seed=5)
    for n in (7, 500, 530):
        small = rendered_digits(n, seed=5)
        assert np.array_equal(small.images, large.images[:n]) and np.array_equal(small.labels, large.labels[:n])
    other, strong = rendered_digits(530, seed=6), rendered_digits(530, seed=5, distortion=2.0)
    assert not np.array_equal(other.images, large.images) and not np.array_equal(strong.images, large.images)
    assert np.array_equal(strong.labels, large.labels), "the same digits at every distortion"


def test_without_distortion_a_font_has_one_image_of_each_digit_and_a_hole_where_it_should():
    images, labels = rendered_digits(100, seed=0, distortion=0, fonts=["DejaVuSans-Bold"])
    zero, eight, seven = (images[labels == digit] for digit in (0, 8, 7))
    assert all((same == same[0]).all() for same in (zero, eight, seven))
    assert zero[0][3:5, 3:5].max() < 0.3 < zero[0][3:5, 1:3].max(), "the middle of a zero is paper, its wall is ink"
    assert seven[0][0].sum() > 1.5 * seven[0][7].sum(), "a seven has its bar on top, in row 0"


def test_stronger_distortion_strays_farther_from_the_fonts():
    plain = rendered_digits(300, seed=1, distortion=0).images
    away = [np.abs(rendered_digits(300, seed=1, distortion=d).images - plain).mean() for d in (0.25, 1.0, 2.0)]
    assert 0 < away[0] < away[1] < away[2]


@pytest.mark.parametrize("font", FONTS)
def test_every_font_ships_with_matplotlib_and_has_all_digits(font):
    images = rendered_digits(10, seed=0, distortion=0, fonts=[font]).images
    assert len({image.tobytes() for image in images}) == 10 and images.sum(axis=(1, 2)).min() > 4


def test_the_network_has_as_many_weights_as_it_says_and_the_loss_is_a_mean_per_image(real):
    model = small_network()
    assert f"{sum(w.numel() for w in model.parameters()):,} weights" in small_network.__doc__
    batch = batches(real.train, seed=0)(0)
    total, count = digit_nll(model, batch)
    assert int(count) == 64 and total.item() / 64 == pytest.approx(
        torch.nn.functional.cross_entropy(model(batch.images), batch.digits).item(), rel=1e-5
    )


def test_batches_share_their_rows_between_the_sources_and_repeat(real):
    few, synthetic = real.train.few(1), rendered_digits(100)
    step = batches(synthetic, few, seed=2)
    batch = step(3)
    theirs = {torch.tensor(image, dtype=torch.float32).numpy().tobytes() for image in few.images}
    assert len(batch.digits) == 32 + 10, "half of the rows, or all there are"
    assert sum(image.numpy().tobytes() in theirs for image in batch.images) == 10
    assert torch.equal(step(3).images, batch.images) and not torch.equal(step(4).images, batch.images)


def test_training_recognises_repeats_itself_and_leaves_its_start_alone(real):
    model = trained(real.train, steps=150, seed=0)
    assert recognised(model, real.test).mean() > 0.9
    again = trained(real.train, steps=150, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    before = [weight.clone() for weight in model.parameters()]
    trained(real.train.few(1), steps=3, start=model)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_domain_gap_has_an_accuracy_for_every_arm_and_size():
    seen: list[tuple[int, int]] = []
    found = domain_gap((1, 20), (0, 1), n=300, steps=60, label=lambda text: lambda done, of: seen.append((done, of)))
    assert found["arms"] == list(ARMS) and found["k"] == [1, 20] and found["test"] == 600
    accuracy, by_digit = found["accuracy"], found["by_digit"]
    assert accuracy.shape == (6, 2, 2) and by_digit.shape == (6, 2, 2, 10)
    counts = np.bincount(real_digits().test.labels)
    assert np.allclose((by_digit * counts).sum(-1) / 600, accuracy)
    arm = {name: accuracy[i].mean(-1) for i, name in enumerate(ARMS)}
    assert arm["all real"][0] == arm["all real"][1] > arm["distorted fonts"][0] > arm["fonts"][0] > 0.2
    assert arm["all real"][1] > arm["few real"][1] > arm["few real"][0] + 0.1
    for both in ("distorted fonts, then few real", "distorted fonts with few real"):
        assert arm[both][0] > arm["few real"][0] + 0.03, "one real image of each says little"
        assert arm[both][1] > arm["distorted fonts"][1]
    assert seen == [(i, 9) for i in range(1, 10)] * 2


def test_synthetic_scaling_gains_from_more_images_and_from_distortion():
    found = synthetic_scaling((10, 500), (0.0, 1.0), (0,), steps=120)
    assert found["accuracy"].shape == (2, 2, 1) and found["n"] == [10, 500] and found["distortions"] == [0.0, 1.0]
    assert found["accuracy"][1, 1, 0] > max(found["accuracy"][1, 0, 0], found["accuracy"][0, 1, 0]) + 0.05


IMAGES = np.zeros((9, 8, 8))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rendered_digits(0), "n must be a whole number from 1 up"),
        (lambda: rendered_digits(10, seed=-1), "not 10 and -1"),
        (lambda: rendered_digits(10, distortion=float("nan")), "between 0 .* and 3, not nan"),
        (lambda: rendered_digits(10, fonts=[]), "at least one name"),
        (lambda: rendered_digits(10, fonts="cmr10"), "not 'cmr10'"),
        (lambda: real_digits(0.5), "whole number from 0 up, not 0.5"),
        (lambda: real_digits().train.few(500), "images of the rarest digit, not 500"),
        (lambda: domain_gap((1, 500)), "images of the rarest digit, not 500"),
        (lambda: domain_gap(()), "At least one size"),
        (lambda: domain_gap(seeds=()), "At least one seed"),
        (lambda: domain_gap(n=0), "counted in whole numbers from 1 up"),
        (lambda: domain_gap(distortion=9), "between 0 .* and 3, not 9"),
        (lambda: synthetic_scaling((10, 0)), "counted in whole numbers"),
        (lambda: synthetic_scaling(distortions=(1, -1)), "between 0 .* and 3, not -1"),
        (lambda: batches(Digits(IMAGES[:0], np.zeros(0, dtype=int))), "at least one image from each source"),
        (lambda: synthetic_scaling(distortions=()), "At least one size"),
    ],
)
def test_what_cannot_be_done_is_said(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_missing_font_is_said():
    with pytest.raises(CourseError, match=r"no font 'Comic' here; install matplotlib again"):
        rendered_digits(10, fonts=["Comic"])
