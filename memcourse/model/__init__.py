"""The language model: where it comes from, loading, generating, scoring, bytes.

Torch is imported when a name from here is first used, so that `memcourse doctor` can report a broken torch.
"""

from __future__ import annotations

from memcourse.lazy import lazy

_ROOMS = {
    "load_lm": "load", "unload": "load", "load_embedder": "load",
    "LanguageModel": "lm", "Embedder": "embedder", "Prefix": "cache",
    "Example": "prompts", "completion_prompt": "prompts", "split_shared": "prompts",
    "SHAPES": "costs", "attention_flops": "costs", "crossover": "costs", "decode_rate": "costs", "kv_bytes": "costs",
    "largest_batch": "costs", "linear_flops": "costs", "prefill_flops": "costs", "peak_bytes": "memory", "fits": "memory",
    "fastest": "memory",
    "Shape": "size", "block_parameters": "size", "parameters": "size",
    "parameter_shares": "size", "weight_bytes": "size", "chat_tokens": "size",
    "kv_floats_per_token": "size", "weights_sha256": "size", "BITS": "size",
    "choose_device": "device", "choose_dtype": "device", "seed_everything": "seed",
}  # fmt: skip
__getattr__, __dir__ = lazy(__name__, _ROOMS)
__all__ = sorted(_ROOMS)
