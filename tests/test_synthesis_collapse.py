"""Model collapse in miniature: who is told of, what is counted, and that kept texts keep the rare."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from memcourse.synthesis import collapse
from memcourse.synthesis.collapse import ARMS, MEASURES, LongTail, long_tail, model_collapse, sample_texts, told_of
from memcourse.weights.gpt import GPTShape, TinyGPT
from memcourse.weights.loss import IGNORED, Batch, next_token_nll
from memcourse.weights.stack import Stack
from memcourse.weights.training import Recipe, constant, train

TINY = LongTail(
    ["Ann has a cat.", "Ann has a cat.", "Ann has a cat.", "Bob has a dog."],
    ["Ann has a cat.", "Bob has a dog.", "Ann has a cat.", "Ann has a cat."],
    {"Ann": "cat", "Bob": "dog", "Cleo": "goat"},
)


def read(source: LongTail = TINY, rare: int = 2):
    (corpus,) = collapse._read([source], (0,), rare)
    return corpus


def test_a_long_tail_follows_zipf_and_every_sentence_is_true():
    source = long_tail(4000, 50, seed=3)
    assert len(source.texts) == len(source.held_out) == 4000 and len(source.values) == 50
    who = Counter(next(name for name in source.values if name in text) for text in source.texts)
    most = [count for _, count in who.most_common()]
    assert most[0] == pytest.approx(4000 / (1 / np.arange(1, 51)).sum(), rel=0.1) and most[0] / most[9] == pytest.approx(
        10, rel=0.3
    )
    assert all(any(name in text and value in text for name, value in source.values.items()) for text in source.texts)
    assert source == long_tail(4000, 50, seed=3) != long_tail(4000, 50, seed=4)
    flat = Counter(long_tail(4000, 4, exponent=0, wordings=1).texts)
    assert len(flat) == 4 and min(flat.values()) > 900, "one wording, and nobody is told of more than others"


def test_texts_are_rows_with_an_end_that_counts_once():
    corpus = read()
    ids, labels = collapse._batch(corpus.texts)
    assert ids.shape == (4, 7) and corpus.vocab == 8  # "Ann", "has", "a", "cat", ".", "Bob", "dog" and the end
    assert (ids[:, 0] == 0).all() and (ids[:, -1] == 0).all() and (labels[:, 0] == IGNORED).all()
    assert torch.equal(labels[:, 1:], ids[:, 1:]), "all else counts, also the end"
    short = collapse._batch(torch.tensor([[0, 3, 0, 0, 0], [0, 3, 3, 3, 3], [0, 0, 0, 0, 0]])).labels
    assert short.tolist() == [[IGNORED, 3, 0, IGNORED, IGNORED], [IGNORED, 3, 3, 3, 3], [IGNORED, 0] + [IGNORED] * 3]


def test_what_is_told_is_counted_by_hand():
    corpus = read()
    ann, bob = ((i,) for i in (corpus.texts[0, 1].item(), corpus.texts[3, 1].item()))
    assert corpus.rare == {bob} and set(corpus.values) >= {ann, bob}
    told = told_of(corpus.texts, corpus)
    assert told["distinct"] == 2 and told["tail"] == told["true"] == 1
    assert told["entropy"] == pytest.approx(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)))
    assert told["ngrams"] == 6, "Ann has a, has a cat, a cat ., and three of Bob"
    false, empty = corpus.texts.clone(), torch.zeros_like(corpus.texts)
    false[:, 1] = corpus.texts[0, 1]  # Ann has a dog
    assert told_of(false, corpus) == {"distinct": 1, "entropy": 0, "tail": 0, "true": 0.75, "ngrams": 5}
    assert told_of(empty, corpus) == {"distinct": 0, "entropy": 0, "tail": 0, "true": 0, "ngrams": 0}
    lost = corpus.texts.clone()
    lost[:, 4] = 0  # an end after "has a", whatever stands behind it
    assert told_of(lost, corpus)["true"] == 0 and told_of(lost, corpus)["ngrams"] == 2


def test_values_of_several_words_are_found_whole():
    source = LongTail(
        ["Ann Lee has it.", "Bob Ray ran."], ["Ann Lee has it.", "Ann Ray ran."], {"Ann Lee": "", "Bob Ray": "ran", "": ""}
    )
    told = told_of(read(source, 1).texts, read(source, 1))
    assert told["distinct"] == 2 and told["true"] == 1, "nothing is asked of Ann Lee but to be told of"
    assert told_of(read(source, 1).held_out, read(source, 1))["distinct"] == 1, "nobody is called Ann Ray"


def test_each_arm_trains_on_what_it_may_keep():
    real = [torch.full((10, 3), 1), torch.full((10, 3), 2)]
    written = [[torch.full((10, 3), 10 * g + member) for member in range(6)] for g in (1, 2)]

    def counts(arm: int, member: int, generations: int) -> Counter:
        return Counter(collapse._next(arm, member, real, written[:generations], 0.2)[:, 0].tolist())

    assert all(counts(arm, 1, 0) == {2: 10} for arm in range(3)), "nothing is written yet"
    assert counts(0, 1, 2) == {21: 10} and counts(1, 1, 2) == {2: 2, 23: 8} and counts(2, 1, 2) == {2: 10, 15: 10, 25: 10}
    assert counts(1, 0, 1) == {1: 2, 12: 8}


def test_samples_follow_the_model_and_differ_by_seed():
    corpus = read()
    shape = GPTShape(corpus.vocab, d=16, heads=2, d_ff=32, window=7)
    stack = Stack.built(lambda: TinyGPT(shape), (0, 0, 1))
    train(stack, constant(collapse._batch(corpus.texts)), Recipe(80, lr=2e-2))
    texts = sample_texts(stack, 1100, 7, (5, 6, 5))
    assert [t.shape for t in texts] == [(1100, 7)] * 3 and not torch.equal(texts[0], texts[1])
    assert all(torch.equal(a, b) for a, b in zip(texts, sample_texts(stack, 1100, 7, (5, 6, 5)), strict=True))
    for rows in texts:
        share = (rows[:, 1] == corpus.texts[3, 1]).float().mean().item()
        assert share == pytest.approx(0.25, abs=0.05) and told_of(rows, corpus)["true"] > 0.95
        assert ((rows[:, 1:] != 0).long().diff(dim=1) <= 0).all(), "after its end a text stays empty"
    with pytest.raises(ValueError, match="3 members and needs as many seeds, not 1"):
        sample_texts(stack, 2, 7, (0,))


@torch.no_grad()
def test_the_losses_are_those_of_the_held_out_texts():
    corpus = read()
    stack = Stack.built(lambda: TinyGPT(GPTShape(corpus.vocab, d=16, heads=2, d_ff=32, window=7)), (0, 1))
    found = collapse._measured(stack, [corpus.texts] * 2, [corpus] * 2)
    for i, measured in enumerate(found):
        for name, rows in (("loss", corpus.held_out), ("rare loss", corpus.held_out[1:2])):
            total, count = next_token_nll(
                stack.member(i), Batch(rows, torch.cat([torch.full_like(rows[:, :1], IGNORED), rows[:, 1:]], 1))
            )
            assert measured[name] == pytest.approx(float(total / count), rel=1e-5)


def test_alone_the_tail_is_lost_and_kept_texts_keep_it():
    seeds, labels = (0, 1), []
    found = model_collapse([long_tail(200, 40, seed=s) for s in seeds], seeds, 3, 120, progress=labels.append)
    assert all(found[name].shape == (len(ARMS), 4, 2) and np.isfinite(found[name]).all() for name in MEASURES)
    assert all((found[name][:, 0] == found[name][0, 0]).all() for name in MEASURES), "the first generation is the same"
    assert (found["real tail"] == 1).all() and (found["real true"] == 1).all() and (found["rare"] > 10).all()
    assert (found["fresh true"] == 1).all() and (found["fresh tail"] < 1).all()
    alone, some, everything = found["rare loss"][:, -1].mean(-1)
    assert alone > some > everything and (found["rare loss"] > found["loss"]).all()
    assert found["tail"][0, -1].mean() < found["tail"][2, -1].mean() - 0.05
    for name in ("distinct", "tail", "entropy", "true"):
        assert (found[name][0, -1] < found[name][0, 0]).all() and (found[name][0, 0] <= found[f"real {name}"]).all()
    assert labels == [f"generation {g}" for g in range(4)]


def test_the_same_seeds_give_the_same_figures():
    first, again = (model_collapse([long_tail(60, 20, seed=1)], (1,), 1, 10) for _ in range(2))
    assert first.keys() == again.keys() and all(np.array_equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sources": []}, "Each seed needs a source"),
        ({"sources": [TINY, TINY._replace(texts=TINY.texts[:3])], "seeds": (0, 1)}, "as many texts"),
        ({"sources": [TINY._replace(held_out=[])]}, "Each seed needs a source"),
        ({"sources": [TINY._replace(values={})]}, "tell of 0 of its 0 values"),
        ({"rare": 0}, "of 0 in at most 0 texts"),
        ({"sources": [TINY._replace(held_out=TINY.held_out[:1] * 4)]}, "no held-out text tells of one"),
        ({"generations": 0}, "generations must be at least 1"),
        ({"kept": 1.0}, "kept lie between 0 and 1"),
        ({"d": 30}, "heads must divide"),
        ({"steps": 0}, "steps >= 1"),
    ],
)
def test_what_cannot_be_run_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        model_collapse(**{"sources": [TINY], "seeds": (0,), "generations": 1, "steps": 1} | change)


@pytest.mark.parametrize(
    "wrong", [{"n": 0}, {"exponent": -1.0}, {"exponent": float("nan")}, {"wordings": 13}, {"people": 0}]
)
def test_no_tail_of_impossible_sizes(wrong):
    with pytest.raises(ValueError, match="must be"):
        long_tail(**{"n": 10, "people": 5} | wrong)
