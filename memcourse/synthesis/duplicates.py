"""Near-duplicates among many texts, without comparing all pairs: shingles, MinHash and LSH. Built by hand.

Sources: Broder, "On the resemblance and containment of documents" (1997), for shingles and sketches; Broder, Charikar,
Frieze and Mitzenmacher, "Min-wise independent permutations" (1998), for linear permutations; Leskovec, Rajaraman and
Ullman, "Mining of Massive Datasets", chapter 3, for bands. Cross-checked against datasketch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from hashlib import blake2b
from itertools import combinations
from typing import NamedTuple

import numpy as np

from memcourse.model.batching import check_texts
from memcourse.retrieval.bm25 import words

PRIME = 2**61 - 1  # a Mersenne prime: its remainder needs shifts and sums only
_NOT_A_SET = "A set of strings is needed, not a string; `shingles` makes one of a text."


def shingles(text: str, k: int = 3) -> frozenset[str]:
    """All runs of k words of a text, each once; case and punctuation don't count.

    A text of fewer than k words is one shingle, and a text without words has none.

    Raises:
        ValueError: k < 1.
    """
    if k < 1:
        raise ValueError(f"A shingle needs at least 1 word, not {k}.")
    found = words(text)
    if len(found) <= k:
        return frozenset([" ".join(found)] if found else [])
    return frozenset(" ".join(found[i : i + k]) for i in range(len(found) - k + 1))


def jaccard(a: Collection[str], b: Collection[str]) -> float:
    """What two sets share of what either has, in [0, 1] (Broder's resemblance); 1 for two empty sets.

    Raises:
        TypeError: a set that is a single string.
    """
    if isinstance(a, str) or isinstance(b, str):
        raise TypeError(_NOT_A_SET)
    a, b = frozenset(a), frozenset(b)
    shared = len(a & b)
    either = len(a) + len(b) - shared
    return shared / either if either else 1.0


def minhash(sets: Iterable[Collection[str]], permutations: int = 128, seed: int = 0) -> np.ndarray:
    """Signatures (sets, permutations), uint64: the smallest member of each set in each of some random orders.

    A member has a fingerprint x of 32 bits, and an order is that of (a x + b) mod 2^61 - 1 with random a and b. Which
    member of two sets together comes first is left to chance, so both have the same smallest one as often as they share
    members: with the probability of their Jaccard similarity. An empty set has the prime itself everywhere.

    Raises:
        ValueError: permutations < 1.
        TypeError: a set that is a single string.
    """
    if permutations < 1:
        raise ValueError(f"At least 1 permutation is needed, not {permutations}.")
    sets = list(sets)
    if any(isinstance(members, str) for members in sets):
        raise TypeError(_NOT_A_SET)
    sizes = np.array([len(members) for members in sets], dtype=np.int64)
    some = sizes > 0
    starts = (np.cumsum(sizes) - sizes)[some]
    digests = b"".join(blake2b(member.encode(), digest_size=4).digest() for members in sets for member in members)
    x = np.frombuffer(digests, dtype="<u4").astype(np.uint64)
    rng = np.random.default_rng(seed)
    a, b = rng.integers(1, PRIME, permutations, dtype=np.uint64), rng.integers(0, PRIME, permutations, dtype=np.uint64)
    signatures = np.full((len(sets), permutations), PRIME, dtype=np.uint64)
    if some.any():
        for j in range(permutations):
            signatures[some, j] = np.minimum.reduceat(_permuted(x, a[j], b[j]), starts)
    return signatures


def _permuted(x: np.ndarray, a: np.uint64, b: np.uint64) -> np.ndarray:
    """(a x + b) mod 2^61 - 1 for x < 2^32 and a, b < 2^61, without ever leaving 64 bits.

    a is split into high 2^32 + low. Since 2^61 = 1 modulo the prime, bits from the 61st up count as if they began at 0.
    """
    high, low = a >> np.uint64(32), a & np.uint64(2**32 - 1)
    middle = high * x  # < 2^61, and still to be multiplied by 2^32, of which 2^29 * 2^32 = 1
    total = _folded(low * x)
    total += middle >> np.uint64(29)
    total += (middle & np.uint64(2**29 - 1)) << np.uint64(32)
    total += b  # three terms below 2^61 and two small ones: below 2^63
    total = _folded(total)
    return np.where(total >= PRIME, total - np.uint64(PRIME), total)


def _folded(numbers: np.ndarray) -> np.ndarray:
    return (numbers & np.uint64(PRIME)) + (numbers >> np.uint64(61))


def estimated_jaccard(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Share of the permutations in which two signatures agree, over the last axis: an unbiased estimate of Jaccard.

    Its standard error is sqrt(J (1 - J) / permutations), 0.044 at most for 128 permutations. Signatures of one `minhash`
    setting only (the same permutations and seed) can be compared.

    Raises:
        ValueError: signatures of different lengths, or without entries.
    """
    a, b = np.asarray(a), np.asarray(b)
    if not a.ndim or not b.ndim or a.shape[-1] != b.shape[-1] or not a.shape[-1]:
        raise ValueError(f"Signatures of one length are needed, not of shapes {a.shape} and {b.shape}.")
    return (a == b).mean(axis=-1)


def found_probability(similarity: float | np.ndarray, bands: int, rows: int) -> np.ndarray:
    """How probably `candidate_pairs` finds a pair of this Jaccard similarity: 1 - (1 - s^rows)^bands."""
    return 1 - (1 - np.asarray(similarity, dtype=float) ** rows) ** bands


def banding(threshold: float, permutations: int = 128, recall: float = 0.99) -> tuple[int, int]:
    """Bands and rows that find a pair at the threshold with at least this probability, and as few pairs below as may be.

    The more rows a band has, the fewer pairs agree in all of them by chance.

    Raises:
        ValueError: a threshold or recall outside (0, 1], or too few permutations for them.
    """
    if not 0 < threshold <= 1 or not 0 < recall <= 1 or permutations < 1:
        raise ValueError(
            f"threshold and recall must lie above 0 and not above 1, and permutations be at least 1; "
            f"not {threshold}, {recall} and {permutations}."
        )
    for rows in range(permutations, 0, -1):
        if found_probability(threshold, permutations // rows, rows) >= recall:
            return permutations // rows, rows
    raise ValueError(
        f"{permutations} permutations find pairs of similarity {threshold} with a probability below {recall}; "
        f"take more permutations or a higher threshold."
    )


def candidate_pairs(signatures: np.ndarray, bands: int, rows: int) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of signatures that agree in all rows of at least one band, sorted.

    Each band is a key to a table of its own, so that no two signatures are compared: what shares a key meets there.

    Args:
        signatures: (n, at least bands x rows), of `minhash`.

    Raises:
        ValueError: fewer columns than bands x rows, or bands or rows below 1.
    """
    pairs: set[tuple[int, int]] = set()
    for keys in _band_keys(signatures, bands, rows):
        buckets: dict[bytes, list[int]] = defaultdict(list)
        for i, key in enumerate(keys):
            buckets[key].append(i)
        for members in buckets.values():
            pairs.update(combinations(members, 2))
    return sorted(pairs)


def _band_keys(signatures: np.ndarray, bands: int, rows: int) -> list[list[bytes]]:
    """For each band, one key for each signature."""
    signatures = np.asarray(signatures)
    if bands < 1 or rows < 1 or signatures.ndim != 2 or signatures.shape[1] < bands * rows:
        raise ValueError(f"{bands} bands of {rows} rows don't fit signatures of shape {signatures.shape}.")
    keys = []
    for band in range(bands):
        block = np.ascontiguousarray(signatures[:, band * rows : (band + 1) * rows])
        raw, width = block.tobytes(), rows * block.itemsize
        keys.append([raw[i : i + width] for i in range(0, len(raw), width)])
    return keys


class Deduplicated(NamedTuple):
    """What is left of some texts, and why the others are not.

    Attributes:
        kept: places of the texts that stay, in order.
        repeats: for each place that was dropped, the kept text that it is most alike.
        compared: how many pairs of texts were compared, of the n (n - 1) / 2 that there are.
    """

    kept: list[int]
    repeats: dict[int, int]
    compared: int


def without_near_duplicates(
    texts: Sequence[str], threshold: float = 0.8, k: int = 3, permutations: int = 128, seed: int = 0
) -> Deduplicated:
    """Go through texts in order and drop each whose shingles are those of a kept one, up to 1 - threshold.

    Bands only propose pairs; the exact Jaccard similarity decides. So whatever is dropped has at least the threshold in
    common with a text that stays. Exact duplicates are always found; a pair at the threshold is found with a probability
    of at least 0.99, and a more similar one with a higher one. Texts without words repeat one another.

    Raises:
        ValueError: k or permutations below 1, a threshold outside (0, 1], or too low for the permutations.
        TypeError: `texts` is a single string, or holds something that is no string.
    """
    bands, rows = banding(threshold, permutations)
    sets = [shingles(text, k) for text in check_texts(texts, "text", allow_empty=True)]
    keys = _band_keys(minhash(sets, permutations, seed), bands, rows)
    buckets: list[dict[bytes, list[int]]] = [defaultdict(list) for _ in keys]
    kept: list[int] = []
    repeats: dict[int, int] = {}
    compared = 0
    for i, own in enumerate(sets):
        homes = [table[band[i]] for table, band in zip(buckets, keys, strict=True)]
        # buckets hold kept texts only, so that a thousand copies of one text cost a thousand comparisons, not a million
        near = sorted(set[int]().union(*homes))
        compared += len(near)
        alike = [jaccard(own, sets[j]) for j in near]
        if alike and max(alike) >= threshold:
            repeats[i] = near[alike.index(max(alike))]
            continue
        kept.append(i)
        for home in homes:
            home.append(i)
    return Deduplicated(kept, repeats, compared)
