"""What callers pass as vectors and ids, brought into the one form that an index stores, or refused with a sentence."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

LONGEST = 1e19  # no inner product of two vectors of at most this length can overflow float32


def as_rows(vectors: Any, dim: int, what: str = "vector") -> np.ndarray:
    """A new C-contiguous (n, dim) float32 array from anything that holds n vectors; one vector alone gives n = 1.

    Args:
        vectors: numbers of any real dtype and memory layout, (n, dim) or (dim,): a NumPy array, a torch tensor (on any
            device, with or without a gradient), a list of lists or of vectors. An empty list gives n = 0.
        what: what an error calls a row.

    Raises:
        TypeError: the vectors hold anything but real numbers.
        ValueError: another shape, rows of different lengths, or NaN or infinity in a row.
    """
    array = _array(vectors, what)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"A {what} holds real numbers, not values of dtype {array.dtype}; embed texts first.")
    if array.ndim == 1:
        array = array[None] if array.size else np.zeros((0, dim))
    if array.ndim != 2:
        raise ValueError(f"An array of shape (n, {dim}) is wanted, one {what} in each row, not of shape {array.shape}.")
    if array.shape[1] != dim:
        raise ValueError(
            f"Each {what} has {array.shape[1]} numbers, but the index is for {dim}; use the same embedder for both."
        )
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused below
        rows = np.array(array, dtype=np.float32, order="C")
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"The {what} in row {int(np.argmin(finite))} has a number that is NaN, infinite or too large for float32; "
            "leave it out, or look at the text that it came from."
        )
    return rows


def normalise(rows: np.ndarray) -> None:
    """Divide each row of an (n, d) float32 array by its length, in place; a row of zeros stays.

    The lengths are float64, since the squares of 1e-30 and 1e30 are beyond float32.
    """
    length = _lengths(rows)[:, None]
    length[length == 0] = 1
    np.divide(rows, length, out=rows, casting="same_kind")


def check_length(rows: np.ndarray, what: str = "vector") -> None:
    """Refuse rows whose inner products could overflow.

    Raises:
        ValueError: a row of the (n, d) array is longer than `LONGEST`.
    """
    length = _lengths(rows)
    if len(rows) and length.max() > LONGEST:
        row = int(length.argmax())
        raise ValueError(
            f"The {what} in row {row} has the length {length[row]:.1e}, more than {LONGEST:.0e}; scale it down."
        )


def as_ids(ids: Any) -> np.ndarray:
    """A (n,) int64 array from one whole number or a sequence of n.

    Raises:
        TypeError: an id is no whole number, or lies beyond int64.
        ValueError: they stand in an array of two or more dimensions.
    """
    array = _array(ids, "id")
    if array.size == 0:
        return np.zeros(0, dtype=np.int64)
    if array.dtype.kind not in "iu" or int(array.max()) >= 2**63:
        raise TypeError(f"Ids are whole numbers from 0 to 2**63 - 1, not values of dtype {array.dtype}.")
    if array.ndim > 1:
        raise ValueError(f"Ids are one whole number or a plain list of them, not an array of shape {array.shape}.")
    return np.atleast_1d(array).astype(np.int64)


def cosine_from_l2(squared_distances: Any) -> np.ndarray:
    """The cosines that belong to squared distances between unit vectors: 1 - d2 / 2, an array of the same shape.

    FAISS's L2 indexes return such squared distances, where lower is better; the cosine runs from 1 (the same vector, d2 = 0)
    over 0 (orthogonal, 2) to -1 (opposite, 4). For vectors that are not of length 1 the formula does not hold.
    """
    return 1 - np.asarray(squared_distances) / 2


def _lengths(rows: np.ndarray) -> np.ndarray:
    return np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))


def _array(values: Any, what: str) -> np.ndarray:
    """The values as an array of whatever dtype and shape they have; torch's tensors are read without importing torch."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        return (values.float() if values.is_floating_point() else values).numpy()  # NumPy knows no bfloat16
    if isinstance(values, Iterable) and not hasattr(values, "__array__") and not isinstance(values, str | bytes | range):
        values = [_array(value, what) if hasattr(value, "detach") else value for value in values]
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ValueError(f"Each {what} must have the same number of numbers; these have not.") from error
