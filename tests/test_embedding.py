"""Vectors by hand equal those of the libraries, and what must not matter (padding, neighbours, order) does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memcourse.retrieval import embedding, words
from memcourse.retrieval.embedding import TfIdf, centred, mean_pool, principal, random_pairs, unit, wrong_group

TEXTS = [
    "The dog bit the man.",
    "The man bit the dog.",
    "Interest rates rose again, by 3.5 percent, after a long and rather dull meeting.",
    "犬が寝ている",
]
SEEDS = st.integers(0, 10**6)


def test_mean_pool_is_the_pooling_of_sentence_transformers_and_of_the_embedder(embedder):
    states, mask = embedding.token_states(embedder, TEXTS)
    assert states.shape == (*mask.shape, embedder.dim) and mask.sum(1).min() < mask.shape[1]
    pooled = mean_pool(states, mask)
    theirs = embedder.model[1]({"token_embeddings": states, "attention_mask": mask})["sentence_embedding"]
    torch.testing.assert_close(pooled, theirs)
    np.testing.assert_allclose(unit(pooled.numpy()), embedder.encode(TEXTS), atol=1e-5)


@given(SEEDS, st.integers(1, 5), st.integers(1, 6), st.integers(0, 5))
def test_padding_has_no_influence_on_a_mean(seed, n, t, padding):
    draw = torch.Generator().manual_seed(seed)
    states = torch.randn(n, t + padding, 3, generator=draw, dtype=torch.float64)
    mask = torch.ones(n, t + padding, dtype=torch.long)
    mask[:, t:] = 0
    wanted = states[:, :t].mean(1)
    torch.testing.assert_close(mean_pool(states, mask), wanted)
    states[:, t:] = 1e6
    torch.testing.assert_close(mean_pool(states, mask), wanted)


def test_each_row_of_a_mean_has_its_own_mask():
    states = torch.tensor([[[1.0, 0], [3, 4], [9, 9]], [[2, 2], [9, 9], [4, 0]]])
    mask = torch.tensor([[1, 1, 0], [1, 0, 1]])
    assert mean_pool(states, mask).tolist() == [[2, 2], [3, 1]]
    assert mean_pool(states, mask.bool()).tolist() == [[2, 2], [3, 1]]


def test_a_mean_of_nothing_or_a_mask_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="no token that counts"):
        mean_pool(torch.ones(2, 2, 3), torch.tensor([[1, 1], [0, 0]]))
    with pytest.raises(ValueError, match=r"\(2, 4\) is needed, not \(4, 2\)"):
        mean_pool(torch.ones(2, 4, 3), torch.ones(4, 2))


def test_unit_keeps_the_direction_and_leaves_zeros():
    assert unit(np.array([[3.0, -4], [0, 0]])).tolist() == [[0.6, -0.8], [0, 0]]


def test_static_vectors_ignore_the_order_of_words_and_the_embedder_does_not(embedder):
    fixed = embedding.static_vectors(embedder, TEXTS)
    assert fixed.shape == (4, embedder.dim) and np.linalg.norm(fixed, axis=1) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(fixed[0], fixed[1], atol=1e-6)
    assert fixed[0] @ fixed[2] < 0.9
    contextual = embedder.encode(TEXTS[:2])
    assert contextual[0] @ contextual[1] < 0.999


def test_a_static_vector_is_the_mean_of_the_words_and_a_blank_text_has_none(embedder):
    rows = embedding.static_vectors(embedder, ["dog", "cat", "dog cat", " "])
    table = embedder.model[0].auto_model.get_input_embeddings().weight
    dog, cat = (table[embedder.model.tokenizer.convert_tokens_to_ids(word)].detach().numpy() for word in ("dog", "cat"))
    np.testing.assert_allclose(rows[:3], unit(np.stack([dog, cat, dog + cat])), atol=1e-6)
    assert not rows[3].any()


def test_vectors_of_a_language_model_are_unit_means_of_one_layer(lm):
    rows = embedding.lm_vectors(lm, TEXTS[:3])
    assert rows.shape == (3, lm.model.config.hidden_size) and np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(embedding.lm_vectors(lm, TEXTS[2:3]), rows[2:], atol=1e-6)
    # layer 0 knows nothing of the neighbours yet: it is the mean of the input vectors
    ids = lm.encode(TEXTS[0])
    mean = lm.model.get_input_embeddings().weight[ids].detach().mean(0).numpy()
    np.testing.assert_allclose(embedding.lm_vectors(lm, TEXTS[:1], layer=0)[0], mean / np.linalg.norm(mean), atol=1e-5)
    assert rows[0] @ rows[1] < 0.9999
    with pytest.raises(ValueError, match="Text 1 has no token"):
        embedding.lm_vectors(lm, ["ok", ""])


VOCABULARY = st.lists(st.sampled_from(["Tide", "tide,", "3.5", "salt", "oar", "NET", "犬が", "é", "—"]), max_size=8).map(
    " ".join
)


@settings(deadline=None)  # the first call imports scikit-learn
@given(st.lists(VOCABULARY, min_size=1, max_size=6), st.lists(VOCABULARY, min_size=1, max_size=3))
def test_tf_idf_is_that_of_scikit_learn(texts, others):
    from sklearn.feature_extraction.text import TfidfVectorizer

    mine = TfIdf(texts)
    if not mine.vocabulary:  # scikit-learn refuses texts without a word
        assert mine.encode(others).shape == (len(others), 0)
        return
    theirs = TfidfVectorizer(tokenizer=words, lowercase=False, token_pattern=None).fit(texts)
    assert mine.vocabulary == theirs.vocabulary_
    for some in (texts, others):
        np.testing.assert_allclose(mine.encode(some), theirs.transform(some).toarray(), atol=1e-12)


@given(SEEDS, st.integers(2, 9))
def test_random_pairs_never_pair_a_row_with_itself(seed, m):
    assert not random_pairs(np.eye(m), n=200, seed=seed).any()


def test_random_pairs_reach_every_pair_alike_and_are_cosines():
    vectors = unit(np.random.default_rng(0).normal(size=(4, 3)))
    wanted = sorted((vectors @ vectors.T)[np.triu_indices(4, 1)])
    values, counts = np.unique(random_pairs(vectors, n=6000, seed=1).round(9), return_counts=True)
    np.testing.assert_allclose(values, wanted, atol=1e-8)
    assert counts.min() > 850 and counts.max() < 1150
    assert random_pairs(vectors).shape == (2000,)
    assert (random_pairs(vectors, seed=1) == random_pairs(vectors, seed=1)).all()
    assert (random_pairs(vectors, seed=1) != random_pairs(vectors, seed=2)).any()
    with pytest.raises(ValueError, match="two vectors, not 1"):
        random_pairs(vectors[:1])


@given(SEEDS)
def test_centred_vectors_are_unit_and_the_mean_is_gone(seed):
    vectors = np.random.default_rng(seed).normal([5, 0, 0, 0, 0], size=(30, 5))
    moved = centred(vectors, vectors.mean(0))
    np.testing.assert_allclose(np.linalg.norm(moved, axis=1), 1)
    lengths = np.linalg.norm(vectors - vectors.mean(0), axis=1, keepdims=True)
    np.testing.assert_allclose((moved * lengths).mean(0), 0, atol=1e-12)
    directions = principal(vectors, 2)
    np.testing.assert_allclose(centred(vectors, vectors.mean(0), directions) @ directions.T, 0, atol=1e-12)


@settings(deadline=None)  # the first call imports scikit-learn
@given(SEEDS)
def test_principal_directions_are_those_of_scikit_learn_up_to_sign(seed):
    from sklearn.decomposition import PCA

    # a spread of its own in each direction, so that their order is no matter of rounding
    vectors = np.random.default_rng(seed).normal(size=(60, 4)) * [8, 4, 2, 1] + 3
    mine, theirs = principal(vectors, 3), PCA(3).fit(vectors).components_
    np.testing.assert_allclose(mine @ mine.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(np.abs(np.einsum("ij,ij->i", mine, theirs)), 1, atol=1e-9)
    assert principal(vectors).shape == (1, 4)


def test_wrong_group_by_hand():
    scores = np.array([[0.9, 0.8, 0.1], [0.2, 0.2, 0.2]])
    asked, stored = np.array(["a", "b"]), np.array(["a", "b", "b"])
    assert wrong_group(scores, asked, stored, 1).tolist() == [0, 1]  # of equal scores the first counts
    assert wrong_group(scores, asked, stored, 2).tolist() == [0.5, 0.5]
    np.testing.assert_allclose(wrong_group(scores, asked, stored, 3), [2 / 3, 1 / 3])
    for k in (0, 4):
        with pytest.raises(ValueError, match=f"from 1 to 3, the number of passages, not {k}"):
            wrong_group(scores, asked, stored, k)
