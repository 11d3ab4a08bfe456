"""Which rows share a batch, where padding stands, and that the mask and the positions hide it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memcourse.model.batching import Batch, make_batches

ROWS = st.lists(st.lists(st.integers(1, 99), min_size=1, max_size=9), min_size=1, max_size=6)


@given(st.lists(st.integers(1, 50), max_size=60), st.integers(1, 20), st.integers(50, 300))
def test_batches_hold_every_row_once_within_the_limits(lengths, batch_size, max_tokens):
    batches = make_batches(lengths, batch_size, max_tokens)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert 1 <= len(batch) <= batch_size
        assert len(batch) * max(lengths[i] for i in batch) <= max_tokens
    flat = [lengths[i] for batch in batches for i in batch]
    assert flat == sorted(lengths, reverse=True), "like lengths go together, the longest first"


def test_a_row_longer_than_the_limit_still_gets_a_batch():
    assert make_batches([5, 500, 5], 8, max_tokens=100) == [[1], [0, 2]]


@settings(deadline=None)
@given(ROWS, st.integers(0, 5))
def test_padding_stands_on_the_left_is_masked_and_moves_no_position(rows, before):
    batch = Batch.of(rows, "cpu", before=before)
    assert batch.width == before + max(len(row) for row in rows)
    for row, ids, mask, positions in zip(rows, batch.ids, batch.mask, batch.positions, strict=True):
        assert ids[-len(row) :].tolist() == row
        assert mask.tolist() == [1] * before + [0] * (batch.width - before - len(row)) + [1] * len(row)
        assert positions[-len(row) :].tolist() == list(range(before, before + len(row)))
        assert positions.min() >= 0


@settings(deadline=None)
@given(ROWS, ROWS, st.integers(0, 3))
def test_what_follows_counts_on_from_the_last_real_token(rows, more, before):
    n = min(len(rows), len(more))
    rows, more = rows[:n], more[:n]
    batch = Batch.of(rows, "cpu", before=before).followed_by(more)
    for row, new, ids, mask, positions in zip(rows, more, batch.ids, batch.mask, batch.positions, strict=True):
        start = before + len(row)
        assert ids[: len(new)].tolist() == new
        assert positions[: len(new)].tolist() == list(range(start, start + len(new)))
        assert mask.sum() == start + len(new) and ids.shape == positions.shape


def test_one_token_more_and_a_choice_of_rows():
    batch = Batch.of([[1, 2, 3], [4], [5, 6]], "cpu").rows(torch.tensor([2, 0, 0]))
    assert batch.ids.tolist() == [[0, 5, 6], [1, 2, 3], [1, 2, 3]]
    step = batch.extended([7, 8, 9])
    assert step.ids.tolist() == [[7], [8], [9]] and step.positions.tolist() == [[2], [3], [3]]
    assert step.mask.tolist() == [[0, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]


def test_what_prompts_share_is_split_off_and_none_is_left_empty():
    from memcourse.model import split_shared

    assert split_shared(["abc", "abd", "ab"]) == ("a", ["bc", "bd", "b"])
    assert split_shared(["one"]) == ("on", ["e"])
    assert split_shared(["x", "y"]) == ("", ["x", "y"])
    with pytest.raises(ValueError, match="no prompt"):
        split_shared([])
