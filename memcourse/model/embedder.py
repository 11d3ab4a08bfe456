"""A sentence embedder behind one plain call: texts in, unit vectors out."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np


class Embedder:
    """Sentence vectors by sentence-transformers, with the traps removed.

    Attributes:
        name: the name it was loaded by; an index remembers it.
        dim: length d of a vector.
        max_tokens: what lies beyond this many tokens (special ones included) has no influence on the vector.
    """

    def __init__(self, model: Any, name: str) -> None:
        self.model = model
        self.name = name
        # sentence-transformers 6 renamed the method; 5 (on Colab) knows only the longer name
        dimension = getattr(model, "get_embedding_dimension", None) or model.get_sentence_embedding_dimension
        self.dim = int(dimension())
        self.max_tokens = int(model.max_seq_length)

    def __repr__(self) -> str:
        return f"Embedder({self.name!r}, dim={self.dim}, max_tokens={self.max_tokens})"

    def encode(self, texts: Sequence[str], *, batch_size: int = 64) -> np.ndarray:
        """Embed n texts as an (n, d) float32 array of unit vectors; no texts give (0, d).

        Warns, naming the text, when one is longer than `max_tokens` and is cut.

        Raises:
            TypeError: `texts` is a single string, or holds something that is no string.
            ValueError: a text is empty or blank, since its vector would mean nothing.
        """
        if isinstance(texts, str):
            raise TypeError("encode takes a list of texts; put the single text into a list: encode([text]).")
        texts = list(texts)
        for i, text in enumerate(texts):
            if not isinstance(text, str):
                raise TypeError(f"Text {i} is of type {type(text).__name__}, not str.")
            if not text.strip():
                raise ValueError(f"Text {i} is empty. Leave blank texts out before embedding.")
        if not texts:
            return np.zeros((0, self.dim), dtype=np.float32)
        self._warn_about_cut(texts)
        return self.model.encode(
            texts, batch_size=batch_size, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
        ).astype(np.float32, copy=False)

    def _warn_about_cut(self, texts: list[str]) -> None:
        # Only long texts need counting. A Korean character can make three tokens, none makes more than its four bytes.
        for i, text in enumerate(texts):
            if 4 * len(text) + 2 > self.max_tokens:
                n = len(self.model.tokenizer(text, truncation=False, verbose=False)["input_ids"])
                if n > self.max_tokens:
                    warnings.warn(
                        f"Text {i} has {n} tokens; {self.name} reads only the first {self.max_tokens}. Chunk it first.",
                        stacklevel=3,
                    )
