"""The language model: where it comes from, loading, generating, scoring, bytes.

Torch is imported when a name from here is first used, so that `memcourse doctor` can report a broken torch.
"""

from __future__ import annotations

import os

from memcourse.lazy import lazy

# Set before transformers or the hub's client is imported anywhere: no telemetry, no bars or Windows advice in notebooks,
# no tokenizer threads that a forked kernel would warn about.
for _name, _value in {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_SYMLINKS_WARNING": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "TQDM_DISABLE": "1",
}.items():
    os.environ.setdefault(_name, _value)

_ROOMS = {
    "load_lm": "load", "unload": "load", "load_embedder": "load",
    "LanguageModel": "lm", "Embedder": "embedder", "Prefix": "cache",
    "Example": "prompts", "completion_prompt": "prompts",
    "Shape": "size", "block_parameters": "size", "parameters": "size",
    "parameter_shares": "size", "weight_bytes": "size", "chat_tokens": "size",
    "kv_floats_per_token": "size", "weights_sha256": "size", "BITS": "size",
    "choose_device": "device", "choose_dtype": "device", "seed_everything": "seed",
}  # fmt: skip
__getattr__, __dir__ = lazy(__name__, _ROOMS)
__all__ = sorted(_ROOMS)
