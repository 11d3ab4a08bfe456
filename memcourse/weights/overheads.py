"""What adapters cost: bytes, seconds, and what is left of what they say after saving and merging."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from memcourse.model.lm import LanguageModel
from memcourse.model.memory import fastest
from memcourse.model.seed import seed_everything
from memcourse.weights.adapters import adapter_bytes, load_adapter, save_adapter
from memcourse.weights.finetuning import put_back, train_fully
from memcourse.weights.lora import add_lora, lora_layers, merge_lora, remove_lora
from memcourse.weights.serving import AdapterBank


def adapter_costs(lm: LanguageModel, prompts: Sequence[str], *, rank: int, steps: int, seed: int = 0) -> dict[str, Any]:
    """What a LoRA on all layers weighs and costs, and whether saving and merging keep what it says.

    Its B is random, as large as after some training, so that there is something to keep. The model is put back.

    Returns: "seconds" of writing one token of one text, the fastest of so many: of the "base", "with LoRA" and "merged";
        "bytes" of the saved adapter, in float16; and the largest differences of the logits after the prompts to those with
        the LoRA: "reloaded" (from float32), "merged", and "base".
    """

    def token_seconds() -> float:
        context = lm.prefix(prompts[0])
        return fastest(lm.score, [" the"], [[" a"]], prefix=context, repeats=steps)

    times, before = {"base": token_seconds()}, lm.last_logits(prompts)
    with put_back(train_fully(lm.model)), tempfile.TemporaryDirectory() as name:
        seed_everything(seed)
        for layer in lora_layers(add_lora(lm.model, rank)).values():
            torch.nn.init.normal_(layer.up, std=0.02)
        times["with LoRA"], wanted = token_seconds(), lm.last_logits(prompts)
        size = adapter_bytes(save_adapter(Path(name) / "half", lm, dtype="float16"))
        saved = save_adapter(Path(name) / "single", lm)
        load_adapter(saved, LanguageModel(remove_lora(lm.model), lm.tokenizer, lm.name))
        found = {"base": before, "reloaded": lm.last_logits(prompts)}
        merge_lora(lm.model)
        times["merged"], found["merged"] = token_seconds(), lm.last_logits(prompts)
    gaps = {key: float((value - wanted).abs().max()) for key, value in found.items()}
    return {"seconds": times, "bytes": size, **gaps}


def serving_seconds(
    lm: LanguageModel, bank: AdapterBank, prompts: Sequence[str], names: Sequence[str], repeats: int = 3
) -> dict[str, float]:
    """Seconds until the next token of every prompt is known, of the base and with adapters, in one batch and one by one."""

    def base_one_by_one() -> None:
        for prompt in prompts:
            lm.last_logits([prompt])

    def adapters_one_by_one() -> None:
        for prompt, name in zip(prompts, names, strict=True):
            bank.last_logits([prompt], [name])

    return {
        "base, one batch": fastest(lm.last_logits, prompts, repeats=repeats),
        "adapters, one batch": fastest(bank.last_logits, prompts, names, repeats=repeats),
        "base, one by one": fastest(base_one_by_one, repeats=repeats),
        "adapters, one by one": fastest(adapters_one_by_one, repeats=repeats),
    }
