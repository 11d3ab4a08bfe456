"""Reading texts back: nothing of the test is trained on, every text can be written, and correction never makes worse."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memcourse import world
from memcourse.retrieval import inversion
from memcourse.retrieval.embedding import unit
from memcourse.retrieval.inversion import (
    Attack,
    Inverter,
    Secret,
    compare,
    correct,
    invert,
    noisy,
    secrets,
    train_inverter,
)

TINY = ["the cat sleeps", "the dog sleeps", "a cat runs", "a dog runs, slowly.", "slowly the cat runs"]


def counted(texts):
    """A cheap encoder: random vectors of words, later places weigh more; like the real one it takes no blank text."""
    rows = []
    for text in texts:
        assert text.strip()
        words = text.replace(",", " ,").replace(".", " .").split()
        parts = [np.random.default_rng(list(word.encode())).normal(size=24) * (1 + 0.2 * i) for i, word in enumerate(words)]
        rows.append(np.sum(parts, axis=0))
    return unit(np.array(rows).reshape(len(rows), 24)).astype(np.float32)


def cosine(texts, vectors):
    return np.array([encoded @ vector for encoded, vector in zip(counted(texts), vectors, strict=True)])


@pytest.fixture(scope="module")
def told():
    """All sentences that the kit has for some people, and for each attribute's every value and wording."""
    kit = world.make_people(50, attributes=8)
    return [
        s.format(name=p.name, value=p.values[a.name]) for p in kit.people for a in kit.attributes for s in a.statements
    ] + [s.format(name=kit.people[0].name, value=value) for a in kit.attributes for s in a.statements for value in a.values]


def test_no_person_of_the_test_is_trained_on_though_all_parts_of_the_names_are():
    train, test = secrets(3000, 200, seed=3)
    assert len(train) == 3000 and len(test) == 200
    assert not {s.name for s in train} & {s.name for s in test}
    assert {part for s in test for part in s.name.split()} <= {part for s in train for part in s.name.split()}
    for secret in test:
        assert secret.name in secret.text and secret.value in secret.text and secret.name in secret.question
        assert secret.value not in secret.question and secret.question.endswith("?")
    assert secrets(3000, 200, seed=3) == (train, test) and secrets(3000, 200, seed=4) != (train, test)


def test_every_sentence_of_the_kit_can_be_written_and_is_told_by_single_words(told):
    inverter = Inverter(told, 4, hidden=2, width=2)
    assert inverter.vocabulary[0] == "" and len(set(inverter.vocabulary)) == len(inverter.vocabulary)
    numbers = inverter.numbers(told)
    assert numbers.shape == (len(told), inverter.places) and (numbers[:, -1] == 0).all()
    assert [inverter.text(row) for row in numbers.tolist()] == told
    train, test = secrets(300, 100)
    everyone = [*train, *test]
    assert all(found.all() for found in compare([secret.text for secret in everyone], everyone))


def test_unknown_words_and_longer_texts_do_not_break_the_numbers():
    inverter = Inverter(TINY, 4)
    the, cat = inverter.numbers(["the cat"])[0, :2].tolist()
    assert inverter.places == 7 and the and cat
    assert inverter.numbers(["the zebra cat"]).tolist() == [[the, 0, cat, 0, 0, 0, 0]]
    assert inverter.numbers(["the " * 20]).tolist() == [[the] * 7]
    assert inverter.text([the, 0, cat, 0, 0, 0, 0]) == "the cat" and inverter.text([0] * 7) == ""


def test_logits_have_one_row_for_each_place():
    inverter = Inverter(TINY, 24)
    assert inverter(torch.zeros(3, 24)).shape == (3, inverter.places, len(inverter.vocabulary))


def test_a_trained_decoder_writes_what_it_has_seen_and_the_seed_decides():
    vectors = counted(TINY)
    inverter = train_inverter(TINY, vectors, steps=60, batch=16)
    assert correct(inverter, vectors, counted, rounds=0) == [TINY]
    assert correct(inverter, vectors[::-1].copy(), counted, rounds=0) == [TINY[::-1]]
    again, other = (train_inverter(TINY, vectors, steps=3, batch=4, seed=seed) for seed in (1, 2))
    first = train_inverter(TINY, vectors, steps=3, batch=4, seed=1)
    assert torch.equal(first.writer.weight, again.writer.weight)
    assert not torch.equal(first.writer.weight, other.writer.weight)


@pytest.mark.parametrize("texts", [TINY[:2], []])
def test_each_text_needs_its_vector(texts):
    with pytest.raises(ValueError, match=f"there are {len(texts)} texts and {len(texts[1:])} vectors"):
        train_inverter(texts, np.ones((len(texts[1:]), 4)))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 3), st.integers(1, 30))
def test_correction_never_moves_a_guess_farther_away(seed, rounds, alternatives):
    """With a decoder that knows nothing: its first guesses are random words, some of them none at all."""
    torch.manual_seed(seed)
    inverter = Inverter(TINY, 24, hidden=8, width=8)
    vectors = counted(["the cat", "a dog runs.", "slowly"])
    asked, told = [], []

    def watched(texts):
        asked.append(len(texts))
        return counted(texts)

    history = correct(
        inverter, vectors, watched, rounds=rounds, alternatives=alternatives, progress=lambda *at: told.append(at)
    )
    assert [len(texts) for texts in history] == [3] * (rounds + 1) and [history[0]] == correct(
        inverter, vectors, counted, rounds=0
    )
    assert told == [(i + 1, rounds) for i in range(rounds)] and max(asked) <= 3 * alternatives
    for before, after in pairwise(history):
        for i in range(3):
            near = [cosine([text], vectors[i : i + 1])[0] if text else -1 for text in (before[i], after[i])]
            assert near[1] >= near[0] - 1e-6 and (near[1] > near[0] or after[i] == before[i])


def test_a_guess_of_no_words_is_corrected_too():
    inverter = Inverter(TINY, 24)
    with torch.no_grad():
        inverter.writer.bias[0] = 50.0  # the end, everywhere
    history = correct(inverter, counted(["cat"]), counted, rounds=1, alternatives=len(inverter.vocabulary) * inverter.places)
    assert history == [[""], ["cat"]]


def sure_of(inverter, text):
    """The decoder, made to guess one text for every vector and to hold all other words alike."""
    logits = torch.zeros(inverter.places, len(inverter.vocabulary))
    logits.scatter_(-1, inverter.numbers([text]).T, 9.0)
    inverter.forward = lambda vectors: logits.expand(len(vectors), -1, -1)
    return inverter


def test_a_round_changes_one_word_of_each_guess_and_rounds_add_up():
    inverter = sure_of(Inverter(TINY, 24), "the cat sleeps")
    target = ["a dog sleeps", "the cat sleeps", "the dog sleeps"]
    history = correct(inverter, counted(target), counted, rounds=3, alternatives=56)
    differing = [
        [
            sum(a != b for a, b in zip(guess.split(), text.split(), strict=True))
            for guess, text in zip(row, target, strict=True)
        ]
        for row in history
    ]
    assert differing == [[2, 0, 1], [1, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_correction_with_the_real_embedder_comes_no_farther_and_finds_the_text_that_is_one_word_away(embedder):
    train, test = secrets(40, 4)
    texts = [secret.text for secret in train]
    inverter = train_inverter(texts, embedder.encode(texts), steps=5, batch=16)
    vectors = embedder.encode([secret.text for secret in test])
    history = correct(inverter, vectors, embedder.encode, rounds=2, alternatives=8)
    near = np.stack([np.einsum("ij,ij->i", embedder.encode(guesses), vectors) for guesses in history])
    assert (np.diff(near, axis=0) >= -1e-5).all() and near[-1].mean() > near[0].mean() + 0.02
    wrong = train[0].text.replace(train[0].value, next(s.value for s in train if s.value != train[0].value))
    sure = sure_of(Inverter([wrong, *texts[:4]], embedder.dim), wrong)
    most = sure.places * len(sure.vocabulary)
    history = correct(sure, embedder.encode(texts[:1]), embedder.encode, rounds=1, alternatives=most)
    assert history == [[wrong], texts[:1]]


def test_the_likeliest_changes_lose_least_and_leave_the_rest_alone():
    logits = torch.tensor([[0.0, -1.0, -9.0], [-0.5, 0.0, -3.0]])
    rows = inversion._changes(logits, torch.tensor([0, 1]), 3)
    assert rows.tolist() == [[0, 0], [1, 1], [0, 2]]


def test_compare_by_hand():
    told = [Secret("Ada Fell's pet is an owl.", "Ada Fell", "owl", "?")] * 6
    guesses = [
        "Ada Fell's pet is an owl.", "Ada Fell ' s pet is an owl .",
        "Ada Fell has an owl", "Fell, Ada", "Adam Fell: owls", "",
    ]  # fmt: skip
    read = compare(guesses, told)
    assert read.exact.tolist() == [1, 1, 0, 0, 0, 0]
    assert read.name.tolist() == [1, 1, 1, 1, 0, 0]
    assert read.value.tolist() == [1, 1, 1, 0, 0, 0]
    with pytest.raises(ValueError, match="longer"):
        compare(guesses[:2], told)


@given(st.integers(0, 1000), st.floats(0.05, 3))
def test_noise_leaves_unit_vectors_at_the_expected_cosine(seed, noise):
    vectors = unit(np.random.default_rng(seed).normal(size=(200, 384))).astype(np.float32)
    blurred = noisy(vectors, noise, seed=seed + 1)
    assert blurred.dtype == np.float32 and np.linalg.norm(blurred, axis=1) == pytest.approx(1, abs=1e-5)
    assert np.einsum("ij,ij->i", vectors, blurred).mean() == pytest.approx(1 / np.sqrt(1 + noise**2), abs=0.02)


def test_noise_is_drawn_by_its_seed_and_none_changes_nothing():
    vectors = unit(np.random.default_rng(0).normal(size=(5, 8)))
    assert (noisy(vectors, 0.5, 1) == noisy(vectors, 0.5, 1)).all() and (
        noisy(vectors, 0.5, 1) != noisy(vectors, 0.5, 2)
    ).any()
    assert (noisy(vectors, 0.0) == vectors).all()


def test_the_experiment_in_miniature(embedder):
    attack = Attack(train=60, test=6, steps=5, rounds=1, noise=(0.0, 20.0), noise_test=4)
    labels = []
    result = invert(embedder, attack, label=labels.append)
    assert labels == ["train the decoder", "correct", "the same with noise"]
    test = secrets(60, 6)[1]
    assert result["told"] == [secret.text for secret in test] and len(result["read"]) == 6
    for key, last in compare(result["read"], test)._asdict().items():
        assert result[key].shape == (2, 6) and (result[key][-1] == last).all()
    assert result["noisy name"].shape == result["noisy recall"].shape == (2, 4)
    assert (result["noisy name"][0] == result["name"][-1, :4]).all()
    assert result["noisy recall"][0].sum() == 4 > result["noisy recall"][1].sum()  # so much noise leaves nothing of a vector


def test_what_the_decoder_was_trained_on_is_read_back_from_clean_vectors_and_not_from_noise(embedder, monkeypatch):
    """All that separates this from the experiment is that the test's sentences are among those of the training."""
    known = secrets(12, 1)[0]
    monkeypatch.setattr(inversion, "secrets", lambda n, n_test, seed: (known[:n], known[:n_test]))
    result = invert(embedder, Attack(train=12, test=4, steps=40, rounds=0, noise=(0.0, 50.0), noise_test=4))
    assert result["exact"].all() and result["name"].all() and result["value"].all()
    assert result["noisy name"][0].all() and not result["noisy name"][1].all()
