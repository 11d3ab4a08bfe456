"""Embeddings: unit vectors equal to mean pooling by hand, never from nothing, and never silently from half a text."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from memcourse.model import Embedder

TEXTS = [
    "The dog sleeps.",
    "A puppy is taking a nap on the warm stone floor.",
    "Interest rates rose again.",
    "犬が寝ている 🐕",
]


def pooled_by_hand(embedder, text: str) -> np.ndarray:
    """The mean of all token vectors, divided by its length; from the plain transformer, one text at a time."""
    inputs = embedder.model.tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        tokens = embedder.model[0].auto_model(**inputs).last_hidden_state[0]
    mean = tokens.mean(dim=0)
    return (mean / mean.norm()).numpy()


def test_vectors_are_unit_rows_in_the_order_of_the_texts(embedder):
    vectors = embedder.encode(TEXTS)
    assert vectors.shape == (4, embedder.dim) == (4, 384) and vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert vectors[0] @ vectors[1] > 0.5 > 0.2 > vectors[0] @ vectors[2]


def test_a_vector_is_the_mean_of_its_tokens_by_hand(embedder):
    by_hand = np.stack([pooled_by_hand(embedder, text) for text in TEXTS])
    np.testing.assert_allclose(embedder.encode(TEXTS), by_hand, atol=1e-5)


def test_vectors_are_unit_even_where_the_model_itself_does_not_see_to_it(embedder):
    from sentence_transformers import SentenceTransformer

    transformer, pooling, _ = embedder.model
    bare = Embedder(SentenceTransformer(modules=[transformer, pooling], device="cpu"), "bare")
    assert np.linalg.norm(bare.model.encode(TEXTS), axis=1).min() > 2
    np.testing.assert_allclose(bare.encode(TEXTS), embedder.encode(TEXTS), atol=1e-5)


def test_o47_a_vector_does_not_depend_on_its_neighbours(embedder):
    alone = np.concatenate([embedder.encode([text]) for text in TEXTS])
    for batch_size in (1, 3, 64):
        np.testing.assert_allclose(embedder.encode(TEXTS, batch_size=batch_size), alone, atol=1e-5)


def test_o42_no_texts_give_no_rows_of_the_right_width(embedder):
    for nothing in ([], (), iter([])):
        assert embedder.encode(nothing).shape == (0, 384) and embedder.encode(nothing).dtype == np.float32


def test_any_iterable_of_strings_will_do(embedder):
    wanted = embedder.encode(TEXTS[:2])
    for texts in (tuple(TEXTS[:2]), (text for text in TEXTS[:2]), np.array(TEXTS[:2])):
        np.testing.assert_array_equal(embedder.encode(texts), wanted)


@pytest.mark.parametrize(
    ("texts", "error", "words"),
    [
        ([""], ValueError, "Text 0 is empty"),
        (["ok", " \n\t\u3000"], ValueError, "Text 1 is empty"),
        (["ok", float("nan")], TypeError, "Text 1 is of type float"),
        (["ok", None], TypeError, "Text 1 is of type NoneType"),
        ([b"ok"], TypeError, "Text 0 is of type bytes"),
        ("ok", TypeError, "list of texts"),
    ],
)
def test_o42_what_has_no_meaning_gets_no_vector(embedder, texts, error, words):
    with pytest.raises(error, match=words):
        embedder.encode(texts)


def words(n: int) -> str:
    """A text of n tokens: "dog" is one, and the tokenizer adds one before and one after."""
    return " ".join(["dog"] * (n - 2))


def test_o43_a_text_of_just_the_limit_is_read_whole_and_without_a_word(embedder):
    assert embedder.max_tokens == 256
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        embedder.encode([words(256), "x " * 100])
    assert len(embedder.model.tokenizer(words(256))["input_ids"]) == 256


def test_o43_a_text_that_is_cut_is_named_and_its_end_has_no_influence(embedder):
    with pytest.warns(
        UserWarning, match=r"Text 1 has 257 tokens; minilm reads only the first 256\. Chunk it first"
    ) as caught:
        cut = embedder.encode(["short", words(257)])
    assert len(caught) == 1 and caught[0].filename == __file__
    with pytest.warns(UserWarning, match="Text 0 has 258"):
        same_start = embedder.encode([words(257) + " cat"])
    np.testing.assert_allclose(cut[1], same_start[0], atol=1e-6)
    np.testing.assert_allclose(cut[1], embedder.encode([words(256)])[0], atol=1e-5)


@pytest.mark.parametrize("text", ["漢" * 255, "한국어 " * 40, "각 " * 90], ids=["Chinese", "Korean", "single syllables"])
def test_o43_the_limit_counts_tokens_and_not_characters(embedder, text):
    """Fewer characters than the limit has tokens, and yet cut: one Korean character makes up to three tokens."""
    assert len(text) < 256
    with pytest.warns(UserWarning, match="Text 0 has"):
        embedder.encode([text])


def test_repr_tells_what_matters(embedder):
    assert repr(embedder) == "Embedder('minilm', dim=384, max_tokens=256)"
