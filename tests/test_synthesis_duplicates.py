"""Near-duplicates: estimates as good as datasketch's, bands that find what the formula says, and nothing dropped wrongly."""

from __future__ import annotations

import numpy as np
import pytest
from datasketch import MinHash
from hypothesis import given, settings
from hypothesis import strategies as st

from memcourse.synthesis.duplicates import (
    PRIME,
    _permuted,
    banding,
    candidate_pairs,
    estimated_jaccard,
    found_probability,
    jaccard,
    minhash,
    shingles,
    without_near_duplicates,
)

VOCABULARY = [f"w{i}" for i in range(800)]


def pair(shared: int, apart: int, name: str = "") -> tuple[set[str], set[str]]:
    """Two sets of equal size with `shared` common members and `apart` others in each: J = shared / (shared + 2 apart)."""
    common = {f"{name}c{i}" for i in range(shared)}
    return common | {f"{name}a{i}" for i in range(apart)}, common | {f"{name}b{i}" for i in range(apart)}


def random_texts(n: int, seed: int) -> list[list[str]]:
    rng = np.random.default_rng(seed)
    return [[VOCABULARY[i] for i in row] for row in rng.integers(0, len(VOCABULARY), size=(n, 40))]


def with_edits(n: int, seed: int = 0) -> list[str]:
    """n texts of 40 words, and of each a copy with 0 to 12 words changed at random, all in random order."""
    rng = np.random.default_rng(seed)
    texts = random_texts(n, seed)
    for row in texts[:n]:
        copy = list(row)
        for place in rng.choice(40, size=rng.integers(0, 13), replace=False):
            copy[place] = "changed"
        texts.append(copy)
    return [" ".join(texts[i]) for i in rng.permutation(2 * n)]


@given(
    st.lists(st.integers(0, 2**32 - 1) | st.sampled_from([0, 1, 2**32 - 1]), min_size=1, max_size=20),
    st.integers(1, PRIME - 1) | st.sampled_from([1, 2**32, PRIME - 1]),
    st.integers(0, PRIME - 1) | st.sampled_from([0, PRIME - 1]),
)
@settings(max_examples=200, deadline=None)
def test_a_permutation_is_that_of_exact_integers(x, a, b):
    found = _permuted(np.array(x, dtype=np.uint64), np.uint64(a), np.uint64(b))
    assert found.tolist() == [(a * value + b) % PRIME for value in x]


def test_shingles_are_runs_of_words_without_case_and_punctuation():
    assert shingles("The ferry, the FERRY leaves!", 2) == {"the ferry", "ferry the", "ferry leaves"}
    assert shingles("Two words", 3) == {"two words"} == shingles("two words", 2)
    assert shingles(" ... ") == frozenset()


def test_jaccard_by_hand():
    assert jaccard({"a", "b", "c"}, {"b", "c", "d"}) == 0.5
    assert jaccard([], []) == 1.0 and jaccard({"a"}, set()) == 0.0
    assert jaccard(*pair(30, 10)) == 0.6


@pytest.mark.parametrize(("shared", "apart"), [(5, 45), (20, 30), (50, 25), (80, 10), (95, 2)])
def test_estimates_hold_for_the_exact_similarity_and_for_datasketch(shared, apart):
    a, b = pair(shared, apart)
    exact, permutations, seeds = jaccard(a, b), 256, range(20)
    error = np.sqrt(exact * (1 - exact) / permutations)
    ours = np.array([estimated_jaccard(*minhash([a, b], permutations, seed)) for seed in seeds])
    sketches = [[MinHash(permutations, seed=seed + 1) for _ in "ab"] for seed in seeds]
    for sketch_a, sketch_b in sketches:
        sketch_a.update_batch([member.encode() for member in a])
        sketch_b.update_batch([member.encode() for member in b])
    theirs = np.array([sketch_a.jaccard(sketch_b) for sketch_a, sketch_b in sketches])
    assert abs(ours[0] - exact) <= 3 * error, "one estimate"
    assert abs(ours.mean() - exact) <= 3 * error / np.sqrt(len(seeds)), "unbiased"
    assert abs(ours.mean() - theirs.mean()) <= 3 * error * np.sqrt(2 / len(seeds)), "datasketch's"
    assert 0.5 <= ours.std(ddof=1) / error <= 1.6, "as uncertain as the docstring says"


def test_equal_sets_agree_everywhere_and_empty_ones_with_empty_ones_only():
    a, again, empty, nothing = minhash([["x", "y"], ["y", "x"], [], set()], 64)
    assert estimated_jaccard(a, again) == 1 and estimated_jaccard(empty, nothing) == 1
    assert estimated_jaccard(a, empty) == 0 and (empty == PRIME).all() and (a < PRIME).all()


def test_a_signature_depends_on_its_own_set_only():
    sets = [shingles(text) for text in with_edits(20)]
    together = minhash([set(), *sets, set()], 32, seed=3)
    alone = np.concatenate([minhash([members], 32, seed=3) for members in sets])
    assert together.dtype == np.uint64 and together.shape == (len(sets) + 2, 32)
    np.testing.assert_array_equal(together[1:-1], alone)
    assert minhash([], 16).shape == (0, 16) and (minhash(sets, 32, 4) != alone).any()


@pytest.mark.parametrize(("bands", "rows"), [(8, 4), (21, 6), (4, 1)])
@pytest.mark.parametrize("similar", [0.3, 0.6, 0.8])
def test_bands_find_a_pair_as_often_as_the_formula_says(bands, rows, similar):
    n, shared = 400, round(80 * similar)
    sets = [members for i in range(n) for members in pair(shared, (80 - shared) // 2, f"{i} ")]
    exact = jaccard(*sets[:2])
    found = candidate_pairs(minhash(sets, bands * rows), bands, rows)
    share = sum((2 * i, 2 * i + 1) in set(found) for i in range(n)) / n
    p = float(1 - (1 - exact**rows) ** bands)
    assert found_probability(exact, bands, rows) == pytest.approx(p)
    assert abs(share - p) <= 3 * np.sqrt(p * (1 - p) / n) + 1e-9


def test_candidates_are_the_pairs_that_agree_in_a_band():
    signatures = np.array([[1, 2, 3, 4], [1, 2, 9, 9], [7, 2, 3, 4], [1, 8, 3, 8], [9, 9, 1, 2]], dtype=np.uint64)
    assert candidate_pairs(signatures, bands=2, rows=2) == [(0, 1), (0, 2)]
    assert candidate_pairs(signatures, bands=1, rows=3) == [], "columns beyond the bands don't count"
    assert candidate_pairs(signatures[:0], 2, 2) == []


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.8, 0.95, 1.0])
def test_bands_are_chosen_for_the_threshold(threshold):
    bands, rows = banding(threshold)
    assert bands * rows <= 128 and found_probability(threshold, bands, rows) >= 0.99
    longer = range(rows + 1, 129)
    assert all(found_probability(threshold, 128 // more, more) < 0.99 for more in longer), "no longer band would do"


@pytest.mark.parametrize("threshold", [0.5, 0.8, 1.0])
def test_near_duplicates_are_those_of_a_comparison_with_all(threshold):
    texts = with_edits(150)
    sets = [shingles(text) for text in texts]
    kept, repeats = [], {}
    for i, own in enumerate(sets):
        alike = [jaccard(own, sets[j]) for j in kept]
        if alike and max(alike) >= threshold:
            repeats[i] = kept[int(np.argmax(alike))]
        else:
            kept.append(i)
    found = without_near_duplicates(texts, threshold)
    assert (found.kept, found.repeats) == (kept, repeats) and 5 < len(repeats) < 150
    assert found.compared < len(texts) * (len(texts) - 1) / 2 / 20, "pairs were not all compared"
    assert found == without_near_duplicates(texts, threshold)


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=5).map(" ".join), max_size=25), st.sampled_from([0.6, 0.8, 1.0]))
@settings(max_examples=60, deadline=None)
def test_every_exact_duplicate_is_found_and_every_drop_is_justified(texts, threshold):
    kept, repeats, _ = without_near_duplicates(texts, threshold, k=2, permutations=32)
    assert sorted([*kept, *repeats]) == list(range(len(texts))) and kept == sorted(kept)
    assert len({texts[i] for i in kept}) == len(kept)
    for dropped, of in repeats.items():
        assert of in kept and of < dropped
        assert jaccard(shingles(texts[dropped], 2), shingles(texts[of], 2)) >= threshold


def test_case_and_punctuation_make_no_new_text():
    texts = ["The ferry leaves at nine.", "A gull sat down.", "the FERRY leaves... at nine", "?", "the ferry leaves", "!"]
    assert without_near_duplicates(texts).repeats == {2: 0, 5: 3}


def test_a_dropped_text_repeats_the_one_that_it_is_most_alike():
    early, late, middle = (" ".join(VOCABULARY[i : i + 10]) for i in (0, 5, 4))  # 1/3 apart; middle shares 6 and 9 words
    assert without_near_duplicates([early, late, middle], 0.4, k=1).repeats == {2: 1}


def test_a_thousand_copies_cost_a_thousand_comparisons():
    found = without_near_duplicates(["the ferry leaves at nine every day"] * 1000)
    assert found.kept == [0] and set(found.repeats.values()) == {0} and found.compared == 999


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: without_near_duplicates(["a"], threshold=0), ValueError, "above 0 and not above 1"),
        (lambda: without_near_duplicates(["a"], threshold=1.2), ValueError, "above 0 and not above 1"),
        (lambda: without_near_duplicates(["a"], 0.01), ValueError, "take more permutations or a higher threshold"),
        (lambda: without_near_duplicates(["a"], permutations=0), ValueError, "permutations be at least 1"),
        (lambda: without_near_duplicates(["a"], k=0), ValueError, "at least 1 word, not 0"),
        (lambda: without_near_duplicates("a text"), TypeError, "put the single text into a list"),
        (lambda: without_near_duplicates(["a", None]), TypeError, "Text 1 is of type NoneType"),
        (lambda: minhash([{"a"}], 0), ValueError, "At least 1 permutation"),
        (lambda: minhash(["a text"]), TypeError, "A set of strings is needed"),
        (lambda: jaccard("a", "b"), TypeError, "A set of strings is needed"),
        (lambda: estimated_jaccard(np.zeros(3), np.zeros(4)), ValueError, "Signatures of one length"),
        (lambda: candidate_pairs(np.zeros((2, 7)), 2, 4), ValueError, "2 bands of 4 rows don't fit"),
        (lambda: candidate_pairs(np.zeros((2, 7)), 0, 4), ValueError, "0 bands of 4 rows don't fit"),
    ],
)
def test_what_makes_no_sense_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
