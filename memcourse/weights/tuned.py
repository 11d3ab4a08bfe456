"""The part of a language model that is trained, by itself: its layers from some layer on, and what is read by them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from memcourse.model.cache import Prefix, cache_from, cache_name
from memcourse.weights.loss import IGNORED, Batch
from memcourse.weights.prefix import KVPrefix, refuse_checkpointing


class Tuned(nn.Module):
    """The layers of a transformers model from `start` on, with its last norm and output layer: a view, not a copy.

    What is frozen below `start` gives the same hidden states in every epoch. So they are computed once (`lower_states`),
    and training runs the layers above alone. This is the course's own subject put to work: activations in place of
    computing. With start = 0 it is the whole model and reads token ids.

    Args:
        model: a decoder of Llama's build (`.model` with `embed_tokens`, `layers` and `norm`, and `lm_head`).
        start: first layer that runs here.
        prefix: what stands before every text: trained keys and values that begin at layer `start`, or (with start = 0) a
            text that `LanguageModel.prefix` has read.

    Raises:
        ValueError: another build of model, a layer that isn't there, or a prefix that begins elsewhere.
    """

    def __init__(self, model: Any, start: int = 0, prefix: KVPrefix | Prefix | None = None) -> None:
        super().__init__()
        count = len(_layers(model))
        if not 0 <= start < count:
            raise ValueError(f"The model has the layers 0 to {count - 1}; it can't begin at layer {start}.")
        first = 0 if isinstance(prefix, Prefix) else prefix.start if prefix is not None else start
        if first != start:
            raise ValueError(f"This prefix begins at layer {first}, and what is to run at layer {start}.")
        self.start = start
        self.prefix: Any = prefix
        self.part = _part(model, start, count)
        self._cache_name = cache_name(model)

    def hidden(self, x: Tensor) -> Tensor:
        """What the last norm gives, (rows, tokens, d), for token ids (rows, tokens) or lower states (rows, tokens, d)."""
        kwargs: dict[str, Any] = {"inputs_embeds" if x.is_floating_point() else "input_ids": x, "use_cache": False}
        if self.prefix is not None:
            refuse_checkpointing(self.part)
            text = isinstance(self.prefix, Prefix)
            slots = len(self.prefix) if text else self.prefix.slots
            cache = cache_from(self.prefix.layers, slots, len(x)) if text else self.prefix.cache(len(x))
            positions = torch.arange(slots, slots + x.shape[1], device=x.device)[None]
            kwargs |= {self._cache_name: cache, "use_cache": True, "position_ids": positions}
        return self.part.model(**kwargs).last_hidden_state

    def forward(self, x: Tensor, at: Tensor | None = None) -> Tensor:
        """Logits (rows, tokens, vocab) for token ids or lower states; with a mask (rows, tokens), only there: (n, vocab)."""
        hidden = self.hidden(x)
        if at is None:
            return self.part.lm_head(hidden)
        chosen = hidden[at]
        # on CPUs, a product of two or three rows with so wide a layer takes twice as long as one of four
        some = nn.functional.pad(chosen, (0, 0, 0, max(0, 4 - len(chosen))))
        return self.part.lm_head(some)[: len(chosen)]


def lower_states(model: Any, ids: Tensor, start: int) -> Tensor:
    """Hidden states (rows, tokens, d) that the layers below `start` give for token ids (rows, tokens)."""
    if start == 0:
        return model.model.embed_tokens(ids)
    part = _part(model, 0, start)
    part.model.norm = nn.Identity()  # the norm belongs to the end of the whole
    return part.model(input_ids=ids, use_cache=False).last_hidden_state


def _layers(model: Any) -> Sequence[nn.Module]:
    inner: Any = getattr(model, "model", None)
    if not all(hasattr(inner, name) for name in ("embed_tokens", "layers", "norm")) or not hasattr(model, "lm_head"):
        raise ValueError(f"Only decoders of Llama's build can be trained in part; {type(model).__name__} is another one.")
    return inner.layers


def _part(model: Any, start: int, stop: int) -> Any:
    """A model that shares every weight with the given one and has only the layers from start to stop - 1."""
    whole, inner = copy.copy(model), copy.copy(model.model)
    for each in (whole, inner):
        each._modules = dict(each._modules)
    inner.layers = nn.ModuleList(_layers(model)[start:stop])
    whole.model = inner
    return whole


def counted_nll(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Summed negative log-likelihood (nats) of the labels that count, and their number, (1,) each, under a `Tuned`.

    The output layer, a fifth of SmolLM2's work, runs only where a label counts: with completion-only labels it is hardly
    ever needed.
    """
    batch = batch.to(next(model.parameters()).device)
    targets = torch.nn.functional.pad(batch.labels[:, 1:], (0, 1), value=IGNORED)  # at the place that predicts them
    counts = targets != IGNORED
    nll = cross_entropy(model(batch.ids, counts).float(), targets[counts], reduction="sum")
    return nll[None], counts.sum()[None]
