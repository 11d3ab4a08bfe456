"""Random models that are small enough to train in a test: a decoder of Llama's build, and a TinyGPT."""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from memcourse.model import seed_everything
from memcourse.model.lm import LanguageModel
from memcourse.weights import GPTShape, TinyGPT


def small_llama(seed: int = 0, vocab: int = 64, window: int = 64) -> LlamaForCausalLM:
    """Four layers of width 32, in evaluation mode, frozen."""
    seed_everything(seed)
    config = LlamaConfig(
        vocab_size=vocab, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=window, tie_word_embeddings=True, initializer_range=0.3,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval().requires_grad_(False)


def small_lm(lm: LanguageModel, seed: int = 0, window: int = 64) -> LanguageModel:
    """The same with the tokenizer of the course's model."""
    return LanguageModel(small_llama(seed, lm.model.config.vocab_size, window), lm.tokenizer, "small")


def random_ids(rows: int = 3, tokens: int = 9, vocab: int = 64, seed: int = 0) -> torch.Tensor:
    """(rows, tokens) token ids."""
    return torch.randint(1, vocab, (rows, tokens), generator=torch.Generator().manual_seed(seed))


SHAPE = GPTShape(vocab=20, d=16, layers=2, heads=2, d_ff=20, window=10)


def fresh(seed: int = 0) -> TinyGPT:
    """A TinyGPT of that shape."""
    seed_everything(seed)
    return TinyGPT(SHAPE)


def ids(rows: int = 6) -> torch.Tensor:
    """(rows, 10) token ids for it."""
    return torch.randint(20, (rows, 10), generator=torch.Generator().manual_seed(0))
