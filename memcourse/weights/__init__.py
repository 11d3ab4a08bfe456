"""What the weights hold: a small language model, its training, and measures of what it stored, kept and forgot.

Torch is imported when a name from here is first used.
"""

from __future__ import annotations

from memcourse.lazy import lazy

_ROOMS = {
    "GPTShape": "gpt", "TinyGPT": "gpt",
    "Stack": "stack",
    "Batch": "train", "Recipe": "train", "train": "train", "next_token_nll": "train", "cosine": "train", "clip_each": "train",
    "LoRALinear": "lora", "add_lora": "lora",
    "ProductKeyMemory": "slots", "add_memory": "slots", "slot_reads": "slots", "tf_idf": "slots", "train_rows_only": "slots",
}  # fmt: skip
__getattr__, __dir__ = lazy(__name__, _ROOMS)
__all__ = sorted(_ROOMS)
