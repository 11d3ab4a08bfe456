"""What the tests of memcourse.model share: prompts, a tiny random model, and a view of an answer as token ids."""

from __future__ import annotations

from functools import cache

import torch

PROMPTS = [
    "The capital of France is",
    "2+2=",
    "Once upon a time, in a small village near the sea, there lived",
    "def add(a, b):\n    return",
    "Q: Who wrote Hamlet?\nA:",
    "日本の首都は",
]


@cache
def smollm_tokenizer():
    from transformers import AutoTokenizer

    from memcourse.model.catalog import SMOLLM2

    return AutoTokenizer.from_pretrained(SMOLLM2.folder)


def tiny_llama(window: int = 64):
    """A random two-layer Llama with SmolLM2's vocabulary, whose logits lie far enough apart to compare argmaxes."""
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=49152, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=window, initializer_range=0.3, tie_word_embeddings=True,
            eos_token_id=2,
        )  # fmt: skip
        return LlamaForCausalLM(config).eval()


@cache
def tiny_lm(window: int = 64):
    """The tiny Llama as one of ours: a hundred times faster than SmolLM2, and nonsense is all it says."""
    from memcourse.model import LanguageModel

    return LanguageModel(tiny_llama(window), smollm_tokenizer(), "tiny")


def as_ids(lm, monkeypatch) -> None:
    """Make `lm` answer with token ids instead of text, so that nothing is lost in decoding."""
    monkeypatch.setattr(lm, "decode", lambda ids: " ".join(str(int(i)) for i in ids))


def reference_ids(lm, prompt: str, n: int) -> str:
    """The answer of transformers' own generate, greedy and alone, as `as_ids` writes it."""
    inputs = lm.tokenizer(prompt, add_special_tokens=False, return_tensors="pt")
    out = lm.model.generate(**inputs, do_sample=False, max_new_tokens=n, pad_token_id=2, eos_token_id=sorted(lm.stop_ids))
    new = out[0, inputs.input_ids.shape[1] :].tolist()
    return " ".join(str(i) for i in new if i not in lm.stop_ids)
