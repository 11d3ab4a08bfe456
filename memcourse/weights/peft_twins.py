"""Our LoRA and our prefix beside PEFT's: from the same numbers, on the same model and texts, they give the same logits."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from memcourse.model.batching import check_texts
from memcourse.model.lm import LanguageModel
from memcourse.model.seed import seed_everything
from memcourse.weights.lora import add_lora, lora_layers, lora_weights
from memcourse.weights.loss import IGNORED, Batch
from memcourse.weights.prefix import KVPrefix, with_prefix
from memcourse.weights.samples import Sample, encode_samples, padded

STEPS = 2  # the first step moves B alone: as long as B is zero, A has no gradient


def beside_peft(
    lm: LanguageModel, texts: Sequence[str], *, rank: int = 4, slots: int = 8, lr: float = 1e-2, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """How far our adapters lie from PEFT's: the largest absolute difference of any logit, before and after two steps.

    Ours is put into the model, trained and taken away; then PEFT's begins with the same numbers and does the same by
    itself. Each takes two steps of AdamW on the mean next-token loss of all texts at once. LoRA needs both: B starts as
    zero, so the first step moves B alone, and only the second moves A by its gradient. For the same reason LoRA's
    difference before the steps is 0 whatever A is. What remains is rounding, and often not even that: alpha / rank is 2
    here, and floats are doubled without any.

    LoRA is on all linear layers but the output layer, with alpha = 2 * rank. The prefix starts as standard normal numbers
    in every layer and is trained directly, without the MLP that reparameterises it. Only one adapter is in the model at a
    time, and there is no copy of the model. Afterwards, also after an error, the model is what it was: its layers, its
    weights, and what of them is frozen.
    Sources: Hu et al., "LoRA" (2021), arXiv 2106.09685; Li and Liang, "Prefix-Tuning" (2021), arXiv 2101.00190.

    Args:
        lm: its model is of Llama's build.
        texts: one or a few short ones: the logits of all of them are held four times.
        rank: of LoRA.
        slots: of the prefix.
        lr: learning rate of both.
        seed: of the starting numbers.

    Returns: for "LoRA" and for "prefix" the difference before the first and after the second step, in nats (logits of
        SmolLM2 are some 10 to 30 in size), over every token of the texts and the whole vocabulary.

    Raises:
        ValueError: no texts or an empty one, rank, slots or lr that can't be, a model that has LoRA layers already, or
            gradient checkpointing, which drops a prefix.
    """
    _check(lm, rank, slots, lr)
    texts = check_texts(texts, "text")
    if not texts:
        raise ValueError("beside_peft needs at least one text to compare the logits of.")
    rows = encode_samples(lm, [Sample("", text) for text in texts], min(512, lm.window - slots)).rows
    batch = padded(rows).to(lm.device)
    lengths = torch.tensor([len(row.ids) for row in rows], device=lm.device)
    real = torch.arange(batch.ids.shape[1], device=lm.device) < lengths[:, None]
    learn = partial(_learn, batch, real, lr)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT calls transformers by names that are about to change
        return {"LoRA": _lora(lm.model, learn, rank, seed), "prefix": _prefix(lm.model, learn, slots, seed)}


def _lora(model: Any, learn: Callable[..., tuple[Tensor, Tensor]], rank: int, seed: int) -> tuple[float, float]:
    """The differences of our LoRA and PEFT's."""
    from peft import LoraConfig

    with _lent(model):
        seed_everything(seed)
        add_lora(model, rank, 2.0 * rank)
        numbers = {f"base_model.model.{name}": tensor.clone() for name, tensor in lora_weights(model).items()}
        ours = learn(lambda ids: model(input_ids=ids, use_cache=False).logits, model.parameters())
    with _lent(model):
        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
        peft = _by_peft(model, config, numbers)
        theirs = learn(lambda ids: peft(input_ids=ids, use_cache=False).logits, peft.parameters())
    return _apart(ours, theirs)


def _prefix(model: Any, learn: Callable[..., tuple[Tensor, Tensor]], slots: int, seed: int) -> tuple[float, float]:
    """The differences of our prefix and PEFT's."""
    from peft import PrefixTuningConfig

    with _lent(model):
        seed_everything(seed)
        prefix = KVPrefix.random(model, slots)
        numbers = {"prompt_embeddings": prefix.flat().detach().clone()}
        ours = learn(lambda ids: with_prefix(model, prefix, ids), prefix.parameters())
    with _lent(model):
        config = PrefixTuningConfig(num_virtual_tokens=slots, prefix_projection=False, task_type="CAUSAL_LM")
        peft = _by_peft(model, config, numbers)
        peft.prompt_encoder.to(model.dtype)  # PEFT trains it in float32, whatever the model's numbers are
        theirs = learn(lambda ids: peft(input_ids=ids).logits, peft.parameters())
    return _apart(ours, theirs)


def _by_peft(model: Any, config: Any, numbers: dict[str, Tensor]) -> Any:
    """PEFT's model around this one, whose adapter has these numbers."""
    from peft import get_peft_model, set_peft_model_state_dict

    peft: Any = get_peft_model(model, config, autocast_adapter_dtype=False)
    set_peft_model_state_dict(peft, numbers)
    return peft


def _learn(
    batch: Batch, real: Tensor, lr: float, run: Callable[[Tensor], Tensor], weights: Iterable[Tensor]
) -> tuple[Tensor, Tensor]:
    """The texts' logits (tokens, vocab) before and after the steps of what is not frozen; padding is left out."""
    trained = [weight for weight in weights if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=lr)
    with torch.enable_grad():
        for step in range(STEPS):
            logits = run(batch.ids)
            if step == 0:
                before = logits.detach()[real]
            optimizer.zero_grad()
            cross_entropy(logits[:, :-1].flatten(0, 1), batch.labels[:, 1:].flatten(), ignore_index=IGNORED).backward()
            optimizer.step()
    with torch.no_grad():
        return before, run(batch.ids)[real]


def _apart(ours: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor]) -> tuple[float, float]:
    before, after = (float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True))
    return before, after


@contextmanager
def _lent(model: Any) -> Iterator[None]:
    """Within this block the model is frozen and an adapter may be put into it; at its end all is as before.

    PEFT's own `unload` needs a finished PEFT model. This also puts back what a failure on the way there has left.
    """
    modules = dict(model.named_modules())
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    model.requires_grad_(False)
    try:
        yield
    finally:
        for name, module in modules.items():
            if name and model.get_submodule(name) is not module:
                model.set_submodule(name, module)
        model.__dict__.pop("peft_config", None)  # PEFT's note that the model is adapted
        model.requires_grad_(False)
        for weight in trained:
            weight.requires_grad_(True)


def _check(lm: LanguageModel, rank: int, slots: int, lr: float) -> None:
    if rank < 1 or slots < 1 or not 0 < lr < math.inf:
        raise ValueError(f"beside_peft needs rank, slots >= 1 and a finite lr > 0; not {rank}, {slots} and {lr}.")
    if slots > lm.window - 3:
        raise ValueError(f"{slots:,} slots leave no room for a text in the window of {lm.window:,} tokens.")
    if lora_layers(lm.model) or any(hasattr(module, "lora_A") for module in lm.model.modules()):
        raise ValueError("This model has LoRA layers already: take them away before (remove_lora, or PEFT's unload).")
    if any(getattr(module, "gradient_checkpointing", False) for module in lm.model.modules()):
        raise ValueError("Gradient checkpointing drops a prefix: call model.gradient_checkpointing_disable() before.")
