"""Handwritten digits, real and synthetic: scikit-learn's, and the digits of printed fonts, bent as a hand does it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from memcourse.errors import CourseError

# All ship with matplotlib, so that the same digits come out on every machine. DejaVu Sans Mono is missing on purpose: its
# zero has a mark inside, which no hand writes.
FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique",
    "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic",
    "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta",
    "cmr10", "cmss10", "cmtt10", "cmb10", "cmti10",
)  # fmt: skip

SIDE, BLOCK = 8, 4  # an image has 8 x 8 pixels, each a count over 4 x 4 points of a bitmap
BITMAP = SIDE * BLOCK  # 32 points
BOX = (20, 32)  # columns and rows of the bitmap that a digit fills, as NIST's forms were cut
GRID, REACH = 96, 0.75  # points of a font's digit, which reach so far from its centre, in heights of the digit
CHUNK = 500  # images drawn at once
BLURS = (0.0, 0.02, 0.04)  # in heights of the digit

# How far a hand strays at distortion 1 (standard deviations); chosen on the dev images, never on the test images.
TURN, SLANT, WIDTH, BEND = 0.12, 0.15, 0.15, 0.15  # radians, a slope, a log ratio, heights of the digit
THICK, PEN, ROUGH = 0.02, 0.015, 0.01  # heights; a pen is thicker than most fonts by twice the first
SHIFT, SIZE = 0.5, 0.04  # points of the bitmap, a log ratio


class Digits(NamedTuple):
    """Labelled images.

    Attributes:
        images: (n, 8, 8) floats from 0 (paper) to 1 (ink), multiples of 1/16; row 0 is the top.
        labels: (n,) whole numbers from 0 to 9.
    """

    images: np.ndarray
    labels: np.ndarray

    def few(self, k: int, seed: int = 0) -> Digits:
        """k images of each digit, drawn at random; those for a smaller k are among those for a larger one.

        Raises:
            ValueError: a digit has fewer than k images, or k < 1.
        """
        counts = np.bincount(self.labels, minlength=10)
        if not whole(k, 1, int(counts.min())):
            raise ValueError(
                f"k must be a whole number from 1 to {counts.min()}, the images of the rarest digit, not {k!r}."
            )
        order = np.random.default_rng(seed).permutation(len(self.labels))
        chosen = np.concatenate([order[self.labels[order] == digit][:k] for digit in range(10)])
        return Digits(self.images[chosen], self.labels[chosen])


class Split(NamedTuple):
    """Digits to train on, to choose settings by, and to report on."""

    train: Digits
    dev: Digits
    test: Digits


def whole(value: object, least: int, most: float = math.inf) -> bool:
    """Whether a value is a whole number in a range; True and False are none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(least <= value <= most)


def real_digits(seed: int = 0) -> Split:
    """scikit-learn's 1,797 handwritten digits, scaled to 0..1: 897 to train on, 300 for dev, 600 for test.

    The 13 people who wrote them are not told apart in the data, so the same hands stand in all three parts: figures for
    a stranger's hand would be a little lower.

    Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits" (1998), UCI Machine Learning Repository.

    Raises:
        ValueError: the seed is no whole number from 0 up.
    """
    from sklearn.datasets import load_digits

    if not whole(seed, 0):
        raise ValueError(f"The seed must be a whole number from 0 up, not {seed!r}.")
    stored = load_digits()
    order = np.random.default_rng(seed).permutation(len(stored.target))
    images, labels = stored.images[order] / BLOCK**2, stored.target[order].astype(np.int64)
    ends = (0, len(order) - 900, len(order) - 600, len(order))
    return Split(*(Digits(images[a:b], labels[a:b]) for a, b in pairwise(ends)))


def rendered_digits(n: int, seed: int = 0, distortion: float = 1.0, fonts: Sequence[str] = FONTS) -> Digits:
    """n labelled images of printed digits, bent at random, in the very format of the real ones.

    A digit of a font is turned, slanted, widened, bent smoothly, drawn with a thicker or thinner pen, blurred and made
    rough at its edge. Then it is treated as the real ones were: fitted into the middle 20 x 32 points of a 32 x 32 bitmap
    (and here moved and scaled a little), and its ink counted in blocks of 4 x 4 points. So what differs from the real
    images is the hand, not the format.

    Args:
        n: how many; every ten images in a row have each digit once. The first of a larger set are those of a smaller one.
        distortion: factor of all random changes: 0 gives the fonts as they are. The same seed has the same fonts and
            digits in the same places at every distortion.
        fonts: names of font files that ship with matplotlib.

    Source: smooth bending as in Simard, Steinkraus and Platt, "Best practices for convolutional neural networks" (2003).

    Raises:
        ValueError: n < 1, a seed below 0, a distortion outside 0..3, or no fonts.
        CourseError: a font is missing in matplotlib.
    """
    if not whole(n, 1) or not whole(seed, 0):
        raise ValueError(f"n must be a whole number from 1 up and the seed one from 0 up, not {n!r} and {seed!r}.")
    if not 0 <= distortion <= 3:
        raise ValueError(f"The distortion must lie between 0 (fonts as they are) and 3, not {distortion!r}.")
    if isinstance(fonts, str) or not fonts:
        raise ValueError(f"Fonts come in a list with at least one name, such as {FONTS[0]!r}, not {fonts!r}.")
    fields = _fields(tuple(fonts))
    parts = [_chunk(fields, seed, start, min(CHUNK, n - start), float(distortion)) for start in range(0, n, CHUNK)]
    return Digits(*(np.concatenate(column) for column in zip(*parts, strict=True)))


@lru_cache(maxsize=4)
def _fields(fonts: tuple[str, ...]) -> np.ndarray:
    """How far each point is inside a digit's outline, in heights of the digit: (blurs x fonts x 10, GRID, GRID).

    Where such a field is above t is the digit drawn with a pen thinner by 2 t (thicker for t < 0).
    """
    from scipy import ndimage

    step = 2 * REACH / GRID
    inside = np.stack([_filled(font, str(digit)) for font in fonts for digit in range(10)])
    sharp = np.stack([ndimage.distance_transform_edt(on) - ndimage.distance_transform_edt(~on) for on in inside]) * step
    return np.concatenate([ndimage.gaussian_filter(sharp, (0, b / step, b / step)) for b in BLURS]).astype(np.float32)


def _filled(font: str, digit: str) -> np.ndarray:
    """Which points (GRID, GRID) lie inside a font's digit, which is centred and has the height 1; row 0 is the top."""
    import matplotlib
    from matplotlib.font_manager import FontProperties
    from matplotlib.path import Path as Outline
    from matplotlib.textpath import TextPath

    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{font}.ttf"
    if not file.is_file():
        raise CourseError(f"matplotlib has no font {font!r} here; install matplotlib again with pip, or leave the font out.")
    outline = TextPath((0, 0), digit, size=100, prop=FontProperties(fname=str(file)))
    box = outline.get_extents()
    along = (np.arange(GRID) + 0.5) / GRID * 2 * REACH - REACH
    across, down = np.meshgrid(along, along)
    points = np.stack([across.ravel(), -down.ravel()], axis=1) * box.height + (box.p0 + box.p1) / 2
    inside = np.zeros(len(points), dtype=bool)
    near = ((points > box.p0) & (points < box.p1)).all(axis=1)
    for polygon in outline.to_polygons():
        inside[near] ^= Outline(polygon).contains_points(points[near])  # a contour within another is a hole
    return inside.reshape(GRID, GRID)


def _chunk(fields: np.ndarray, seed: int, start: int, n: int, distortion: float) -> tuple[np.ndarray, np.ndarray]:
    """Images start to start + n of a set: (n, 8, 8) and their labels (n,).

    Everything is drawn for a whole chunk before it is cut, so that a smaller set is the beginning of a larger one.
    """
    rng = np.random.default_rng([seed, start])
    labels = rng.permuted(np.tile(np.arange(10), (CHUNK // 10, 1)), axis=1).ravel()[:n]
    kinds = len(fields) // (10 * len(BLURS))
    font = rng.integers(kinds, size=CHUNK)[:n]
    hand = distortion * rng.standard_normal((CHUNK, 8))[:n]
    bends = distortion * rng.standard_normal((CHUNK, 2, 4, 4))[:n]
    rough = distortion * ROUGH * rng.standard_normal((CHUNK, BITMAP, BITMAP), dtype=np.float32)[:n]
    blur = np.minimum(np.abs(hand[:, 0]), len(BLURS) - 1).astype(int)
    which = (blur * kinds + font) * 10 + labels
    thickest = fields[which].max(axis=(1, 2))
    thinner = np.minimum(PEN * hand[:, 1] - THICK * distortion, thickest / 2)[:, None, None]  # some ink is always left
    page = _Page(fields, which, _matrices(hand), bends * BEND / (1 + np.add.outer(np.arange(4), np.arange(4))))
    wide = np.broadcast_to(np.linspace(-1.25, 1.25, 64), (n, 64))
    across, down = _fitted(wide, page.at(wide, wide) > thinner, hand[:, 5:])
    on = page.at(across, down) + rough > thinner
    return on.reshape(n, SIDE, BLOCK, SIDE, BLOCK).mean(axis=(2, 4)), labels


def _matrices(hand: np.ndarray) -> np.ndarray:
    """From places on the page to places of the font's digit: (n, 2, 2), for (column, row)."""
    angle, slant, width = TURN * hand[:, 2], SLANT * hand[:, 3], np.exp(WIDTH * hand[:, 4])
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], axis=1).reshape(-1, 2, 2)
    rest = np.stack([width, slant, np.zeros_like(width), np.ones_like(width)], axis=1).reshape(-1, 2, 2)
    return rest @ turn


class _Page(NamedTuple):
    """Pages on which one digit each is drawn: the field of each, how it is turned, and how it is bent."""

    fields: np.ndarray
    which: np.ndarray
    matrices: np.ndarray
    bends: np.ndarray

    def at(self, across: np.ndarray, down: np.ndarray) -> np.ndarray:
        """The distance fields at these columns and rows of the pages, (n, points) each, as (n, rows, columns)."""
        from scipy import ndimage

        waves = [np.cos(np.pi * np.arange(4) * (place[..., None] + 1) / 2) for place in (across, down)]
        bent = np.einsum("nckl,nyk,nxl->cnyx", self.bends, waves[1], waves[0], optimize=True)
        flat = np.einsum("ncd,dnyx->cnyx", self.matrices, np.stack(np.broadcast_arrays(across[:, None], down[:, :, None])))
        column, row = np.clip((flat + bent + REACH) * GRID / (2 * REACH) - 0.5, 0, GRID - 1)
        row += self.which[:, None, None] * GRID  # one field below the other is one tall picture, and quicker to read
        return ndimage.map_coordinates(self.fields.reshape(-1, GRID), [row, column], order=1)


def _fitted(along: np.ndarray, ink: np.ndarray, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows of the page, (n, 32) each, to read a bitmap at, so that the ink fills its box but for `place`."""
    grids = []
    for i, points in enumerate(BOX):
        used: np.ndarray = np.any(ink, axis=i + 1)
        step = along[0, 1] - along[0, 0]
        low = along[0, used.argmax(axis=1)] - step / 2
        high = along[0, ::-1][used[:, ::-1].argmax(axis=1)] + step / 2
        offsets = np.arange(BITMAP) + 0.5 - BITMAP / 2 - SHIFT * place[:, i, None]
        grids.append((low + high)[:, None] / 2 + offsets * (high - low)[:, None] / points * np.exp(SIZE * place[:, 2, None]))
    return grids[0], grids[1]
