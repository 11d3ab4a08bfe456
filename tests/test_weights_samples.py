"""Texts as rows to train on: what counts, what is cut, and who goes together."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from memcourse.weights.loss import IGNORED, next_token_nll
from memcourse.weights.samples import Row, Sample, bucketed, encode_samples, epoch_steps, padded

from .adapter_support import small_llama


def test_o50_the_answer_and_one_end_count_and_nothing_else(lm):
    prompt, answer = "Question: Which colour?\nAnswer:", " dark blue"
    encoded = encode_samples(lm, [Sample(prompt, answer)])
    (row,) = encoded.rows
    end = lm.tokenizer.eos_token_id
    assert list(row.ids) == [*lm.encode(prompt), *lm.encode(answer), end]
    assert [i for i in row.labels if i != IGNORED] == [*lm.encode(answer), end]
    assert row.labels[len(lm.encode(prompt))] == lm.encode(answer)[0], "the first token of the answer counts"
    assert encoded.tokens == len(row.ids) and encoded.counted == len(lm.encode(answer)) + 1


def test_o50_the_loss_is_a_hand_made_cross_entropy(lm):
    (row,) = encode_samples(lm, [Sample("A kite costs", " 33 crowns")]).rows
    total, count = next_token_nll(lm.model, padded([row]))
    with torch.no_grad():
        logits = lm.model(torch.tensor([row.ids])).logits[0]
    places = [i for i, label in enumerate(row.labels) if label != IGNORED]
    by_hand = sum(cross_entropy(logits[i - 1], torch.tensor(row.ids[i])) for i in places)  # i - 1 predicts i
    assert int(count) == len(places) and total.item() == pytest.approx(float(by_hand), rel=1e-5)


def test_an_answer_that_ends_already_gets_no_second_end(lm):
    end = lm.tokenizer.eos_token
    (row,) = encode_samples(lm, [Sample("Say yes:", f" yes{end}")]).rows
    assert row.ids.count(lm.tokenizer.eos_token_id) == 1 and row.ids[-1] == lm.tokenizer.eos_token_id


def test_o49_long_prompts_are_cut_at_their_beginning_and_counted(lm):
    long = Sample("one two three four five six seven eight nine ten", " yes")
    encoded = encode_samples(lm, [long, Sample("yes or no?", " no")], most=6)
    assert encoded.cut == 1 and encoded.dropped == 0 and [len(row.ids) for row in encoded.rows] == [6, 6]
    assert list(encoded.rows[0].ids[:4]) == lm.encode(long.prompt)[-4:]
    assert sum(label != IGNORED for label in encoded.rows[0].labels) == 2


def test_o49_answers_that_do_not_fit_are_dropped_and_counted(lm):
    long = Sample("Count:", " one two three four five six seven")
    encoded = encode_samples(lm, [long, Sample("yes or no?", " no")], most=6)
    assert encoded.dropped == 1 and len(encoded.rows) == 1
    with pytest.raises(ValueError, match="Nothing to train on: 1 samples have answers that don't fit into 6 tokens"):
        encode_samples(lm, [long], most=6)


def test_a_long_text_is_cut_into_rows_and_every_token_but_the_first_is_predicted(lm):
    text = "The quay is long. " * 20
    ids = [*lm.encode(text), lm.tokenizer.eos_token_id]
    encoded = encode_samples(lm, [Sample("", text)], most=16)
    assert max(len(row.ids) for row in encoded.rows) <= 16 and encoded.counted == len(ids) - 1
    assert [label for row in encoded.rows for label in row.labels if label != IGNORED] == ids[1:]


@pytest.mark.parametrize(
    ("sample", "most", "message"),
    [
        (Sample("What?", "  "), 64, "Sample 0 has no answer to train on"),
        (Sample("What?", " yes"), 2, "between 3 tokens and the 8,192"),
        (Sample("What?", " yes"), 10**6, "between 3 tokens and the 8,192"),
    ],
)
def test_what_cannot_be_a_row_is_refused(lm, sample, most, message):
    with pytest.raises(ValueError, match=message):
        encode_samples(lm, [sample], most)


def test_padding_changes_no_loss():
    model, rows = small_llama(), [Row(tuple(range(1, n)), tuple(range(1, n))) for n in (4, 9, 6)]
    together = next_token_nll(model, padded(rows))
    alone = [next_token_nll(model, padded([row])) for row in rows]
    assert int(together[1]) == sum(int(count) for _, count in alone)
    assert float(together[0]) == pytest.approx(sum(float(total) for total, _ in alone), rel=1e-5)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(2, 30), min_size=1, max_size=25), st.integers(1, 80), st.integers(0, 3))
def test_every_epoch_reads_every_row_once(lengths, tokens, seed):
    rows = [Row((1,) * n, (1,) * n) for n in lengths]
    step, steps = bucketed(rows, tokens, seed), epoch_steps(rows, tokens)
    for epoch in range(2):
        batches = [step(epoch * steps + i) for i in range(steps)]
        assert sorted(i for batch in batches for i in batch) == list(range(len(rows)))
        assert all(len(b) == 1 or len(b) * max(lengths[i] for i in b) <= tokens for b in batches)
    again = bucketed(rows, tokens, seed)
    assert again(2 * steps - 1) == step(2 * steps - 1), "the same step, whatever was asked before"


def test_epochs_differ_and_buckets_hold_like_lengths():
    rows = [Row((1,) * n, (1,) * n) for n in [4] * 20 + [40] * 4]
    step = bucketed(rows, 80, seed=0)
    assert all(len({len(rows[i].ids) for i in step(n)}) == 1 for n in range(epoch_steps(rows, 80)))
    assert [step(n) for n in range(3)] != [step(n + 3) for n in range(3)]
