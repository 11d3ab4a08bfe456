"""What the weights hold: a small language model, its training, and measures of what it stored, kept and forgot.

Torch is imported when a name from here is first used.
"""

from __future__ import annotations

from memcourse.lazy import lazy

_ROOMS = {
    "GPTShape": "gpt", "TinyGPT": "gpt", "n_parameters": "gpt", "Stack": "stack",
    "Recipe": "training", "train": "training", "constant": "training", "cosine": "training", "clip_each": "training",
    "Batch": "loss", "token_nll": "loss", "row_nll": "loss", "next_token_nll": "loss", "recalled": "loss",
    "WordTokenizer": "words", "shuffled": "words", "side_by_side": "words",
    "random_strings": "capacity", "bits_offered": "capacity", "bits_stored": "capacity", "bits_kept": "capacity",
    "memorise": "capacity", "capacity_by_width": "capacity", "capacity_by_time": "capacity",
    "BITS": "capacity", "rounded": "quantise", "quantised": "quantise",
    "in_turn": "facts", "questions": "facts", "values_only": "facts", "extraction": "facts", "reversal": "facts",
    "REVERSAL_ARMS": "facts",
    "ARMS": "forgetting", "learn_and_forget": "forgetting", "sweep": "forgetting", "free_slots": "forgetting",
    "learned_and_kept": "forgetting", "kept_when_learned": "forgetting",
    "LoRALinear": "lora", "add_lora": "lora", "remove_lora": "lora", "merge_lora": "lora", "without_lora": "lora",
    "lora_parameters": "lora", "lora_weights": "lora", "lora_layers": "lora",
    "KVPrefix": "prefix", "with_prefix": "prefix", "AdapterBank": "serving",
    "save_adapter": "adapters", "load_adapter": "adapters", "adapter_bytes": "adapters",
    "Sample": "samples", "encode_samples": "samples", "epoch_steps": "samples", "padded": "samples",
    "Tuned": "tuned", "finetune": "finetuning", "train_fully": "finetuning", "put_back": "finetuning",
    "self_study": "distil", "taught": "distil", "divergence": "distil", "learn_from": "distil",
    "Probe": "probes", "Asked": "probes", "graded": "probes", "asked_about": "probes",
    "Exam": "exam", "put_into": "exam", "adapted": "exam", "beside_peft": "peft_twins",
    "Arm": "learning", "matched_slots": "learning", "domain_samples": "learning", "domain_questions": "learning",
    "learning_and_forgetting": "learning", "domain_adapters": "learning",
    "bank_answers": "serving", "adapter_costs": "overheads", "serving_seconds": "overheads",
    "cartridge": "cartridges", "beginnings": "cartridges", "half_sentences": "cartridges",
    "ProductKeyMemory": "slots", "add_memory": "slots", "only_values": "slots", "slot_reads": "slots", "tf_idf": "slots",
    "train_rows_only": "slots", "reading_back": "recall",
}  # fmt: skip
__getattr__, __dir__ = lazy(__name__, _ROOMS)
__all__ = sorted(_ROOMS)
