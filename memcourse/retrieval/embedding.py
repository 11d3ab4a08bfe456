"""From words to vectors: counts of words, vectors of words and of sentences, and what their cosines mean. Notebook 04."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from memcourse.model.embedder import Embedder
from memcourse.model.lm import LanguageModel
from memcourse.retrieval.bm25 import words


def mean_pool(states: Tensor, mask: Tensor) -> Tensor:
    """(n, d) means of token vectors (n, t, d) over the tokens that count, for which the mask (n, t) is 1.

    Raises:
        ValueError: a row without a token that counts, or shapes that don't belong together.
    """
    if states.shape[:2] != mask.shape:
        raise ValueError(f"A mask of shape {tuple(states.shape[:2])} is needed, not {tuple(mask.shape)}.")
    if not mask.any(dim=1).all():
        raise ValueError("A text has no token that counts; leave blank texts out.")
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1)


def unit(vectors: np.ndarray) -> np.ndarray:
    """(n, d) rows divided by their lengths; a row of zeros stays one."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(lengths == 0, 1, lengths)


@torch.no_grad()
def token_states(embedder: Embedder, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Token vectors (n, t, d) of the embedder's last layer before pooling, and their mask (n, t)."""
    inputs = embedder.model.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
    inputs = inputs.to(embedder.model.device)
    return embedder.model[0].auto_model(**inputs).last_hidden_state, inputs["attention_mask"]


@torch.no_grad()
def static_vectors(embedder: Embedder, texts: Sequence[str]) -> np.ndarray:
    """(n, d) unit means of the embedder's input vectors: each word has one vector, whatever stands around it."""
    table = embedder.model[0].auto_model.get_input_embeddings().weight
    rows = [embedder.model.tokenizer(text, add_special_tokens=False, truncation=True)["input_ids"] for text in texts]
    return unit(np.stack([table[row].mean(0).cpu().numpy() if row else np.zeros(embedder.dim) for row in rows]))


@torch.no_grad()
def lm_vectors(lm: LanguageModel, texts: Sequence[str], layer: int = -1) -> np.ndarray:
    """(n, d) unit means of a language model's hidden states after one layer (the last), one text at a time.

    The model never learned to put alike texts near each other; this shows what its states are like as they are.

    Raises:
        ValueError: a text without a token.
    """
    encoded = [lm.encode(text) for text in texts]
    if not all(encoded):
        raise ValueError(f"Text {encoded.index([])} has no token; leave blank texts out.")
    rows = []
    for row in encoded:
        ids = torch.tensor([row], device=lm.device)
        rows.append(lm.model(ids, output_hidden_states=True).hidden_states[layer][0].float().mean(0).cpu().numpy())
    return unit(np.stack(rows))


class TfIdf:
    """Texts as counts of words, each count weighted by how rare the word is: one number for each word of a vocabulary.

    Source: Spaerck Jones, "A statistical interpretation of term specificity and its application in retrieval" (1972), with
    the smoothing of scikit-learn, against which it is checked.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        """Take the vocabulary and each word's rarity from n texts."""
        counts = Counter(word for text in texts for word in set(words(text)))
        self.vocabulary = {word: i for i, word in enumerate(sorted(counts))}
        self._rarity = np.array([math.log((1 + len(texts)) / (1 + counts[word])) + 1 for word in self.vocabulary])

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """(n, number of words) unit vectors; words that are not in the vocabulary count nothing."""
        vectors = np.zeros((len(texts), len(self.vocabulary)))
        for row, text in enumerate(texts):
            for word, count in Counter(words(text)).items():
                if word in self.vocabulary:
                    vectors[row, self.vocabulary[word]] = count
        return unit(vectors * self._rarity)


def random_pairs(vectors: np.ndarray, n: int = 2000, seed: int = 0) -> np.ndarray:
    """(n,) cosines of random pairs of different rows of unit vectors (m, d).

    Raises:
        ValueError: fewer than two vectors.
    """
    if len(vectors) < 2:
        raise ValueError(f"A pair needs two vectors, not {len(vectors)}.")
    rng = np.random.default_rng(seed)
    left = rng.integers(0, len(vectors), size=n)
    right = (left + rng.integers(1, len(vectors), size=n)) % len(vectors)
    return np.einsum("ij,ij->i", vectors[left], vectors[right])


def centred(vectors: np.ndarray, mean: np.ndarray, components: np.ndarray | None = None) -> np.ndarray:
    """(n, d) unit vectors after a mean (d,) is subtracted and, where given, directions (m, d) are taken out."""
    moved = vectors - mean
    if components is not None:
        moved = moved - moved @ components.T @ components
    return unit(moved)


def principal(vectors: np.ndarray, m: int = 1) -> np.ndarray:
    """(m, d) the orthonormal directions in which vectors (n, d) vary most."""
    return np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)[2][:m]


def wrong_group(scores: np.ndarray, asked: np.ndarray, stored: np.ndarray, k: int) -> np.ndarray:
    """(n,) for each question the share of its k best passages that belong to another group than the question.

    Args:
        scores: (n, m), higher is better. asked: (n,) the questions' groups. stored: (m,) the passages' groups.

    Raises:
        ValueError: k is not from 1 to m.
    """
    if not 1 <= k <= scores.shape[1]:
        raise ValueError(f"k must be from 1 to {scores.shape[1]}, the number of passages, not {k}.")
    best = (-scores).argsort(axis=1, kind="stable")[:, :k]
    return (stored[best] != asked[:, None]).mean(axis=1)
