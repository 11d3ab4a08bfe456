"""Trained keys and values before every text: prefix tuning, or a cartridge where they begin as those of a real text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from memcourse.model.batching import check_texts
from memcourse.model.cache import SLOT, Prefix, cache_from, cache_name, layers_of
from memcourse.model.lm import LanguageModel
from memcourse.model.size import Shape

if TYPE_CHECKING:
    from transformers import DynamicCache


class KVPrefix(nn.Module):
    """Keys and values of some slots that stand before every text, in every layer from `start` on.

    The model stays frozen, and only these numbers are trained: prefix tuning without the MLP that reparameterises it.
    Begun as the keys and values of a real text, with the first slot (where attention rests) frozen, it is a cartridge.
    Make one with `random`, `from_text` or `from_flat`.
    Source: Li and Liang, "Prefix-Tuning" (2021), arXiv 2101.00190; Eyuboglu et al., "Cartridges" (2025), arXiv 2506.06266.
    Tested equal to PEFT's.

    Args:
        kv: (layers, 2, KV heads, slots, head dim), keys at 0 and values at 1, of the layers from `start` on.

    Attributes:
        trained: (layers, 2, KV heads, slots - frozen, head dim), the parameter.
        held: (layers, 2, KV heads, frozen, head dim), the first slots, which never change.
        slots, frozen: how many slots there are, and how many of them are frozen.
        start: the first decoder layer that has a prefix; layers below have none.

    Raises:
        ValueError: no slots, or frozen is not in 0..slots - 1.
    """

    held: Tensor

    def __init__(self, kv: Tensor, frozen: int = 0, start: int = 0) -> None:
        super().__init__()
        _check_slots(kv.shape[3], frozen)
        self.slots, self.frozen, self.start = kv.shape[3], frozen, start
        kv = kv.detach().contiguous()
        self.register_buffer("held", kv[..., :frozen, :].clone())
        self.trained = nn.Parameter(kv[..., frozen:, :].clone())

    @classmethod
    def random(cls, model: Any, slots: int, frozen: int = 0, start: int = 0) -> KVPrefix:
        """Standard normal numbers, as PEFT begins; call `seed_everything` right before.

        Keys and values of real texts are nothing like these, so the model is much worse at first.

        Args:
            model: a transformers model (or a `LanguageModel`).

        Raises:
            ValueError: slots, frozen or start that this model can't have.
        """
        shape = _shape(model, slots, frozen, start)
        flat = torch.randn(slots, _width(shape, start))
        return cls(_unflattened(flat, shape, start).to(_inner(model).device, _inner(model).dtype), frozen, start)

    @classmethod
    @torch.no_grad()
    def from_text(cls, lm: LanguageModel, text: str, slots: int, frozen: int = 1, start: int = 0) -> KVPrefix:
        """The keys and values that the first `slots` tokens of a text have in the model: it begins as if it had read them.

        Raises:
            ValueError: a text of fewer tokens, or slots, frozen or start that this model can't have.
        """
        _shape(lm, slots, frozen, start)
        refuse_checkpointing(lm.model)
        ids = lm.encode(check_texts([text], "text")[0])
        if len(ids) < slots:
            raise ValueError(f"The text has {len(ids):,} tokens, too few to fill {slots:,} slots.")
        out = lm.model(torch.tensor([ids[:slots]], device=lm.device), use_cache=True, logits_to_keep=1)
        layers = layers_of(out[cache_name(lm.model)])[start:]
        return cls(torch.stack([torch.cat(pair) for pair in layers]), frozen, start)

    @classmethod
    def from_flat(cls, flat: Tensor, model: Any, frozen: int = 0) -> KVPrefix:
        """A prefix of numbers in PEFT's layout: "prompt_embeddings", (slots, layers * 2 * KV heads * head dim).

        Raises:
            ValueError: another shape, or slots or frozen that this model can't have.
        """
        width = _width(Shape.of(_inner(model).config), 0)
        if flat.dim() != 2 or flat.shape[1] != width:
            raise ValueError(f"A prefix of this model has the shape (slots, {width:,}), not {tuple(flat.shape)}.")
        shape = _shape(model, len(flat), frozen, 0)
        return cls(_unflattened(flat, shape, 0).to(_inner(model).device, _inner(model).dtype), frozen)

    def flat(self) -> Tensor:
        """All slots in PEFT's layout, (slots, layers * 2 * KV heads * head dim); gradients flow through.

        Raises:
            ValueError: the prefix begins above the first layer, which this layout has no way to say.
        """
        if self.start:
            raise ValueError(f"This prefix begins at layer {self.start}; PEFT's layout is for prefixes of every layer.")
        return self.kv.permute(3, 0, 1, 2, 4).reshape(self.slots, -1)

    @property
    def kv(self) -> Tensor:
        """Frozen and trained slots together: (layers, 2, KV heads, slots, head dim)."""
        return torch.cat([self.held, self.trained], dim=3)

    @property
    def n_parameters(self) -> int:
        """How many numbers are trained."""
        return self.trained.numel()

    @property
    def nbytes(self) -> int:
        """Bytes of all slots, the frozen ones included."""
        return self.held.nbytes + self.trained.nbytes

    def extra_repr(self) -> str:
        return f"slots={self.slots}, frozen={self.frozen}, start={self.start}, n_parameters={self.n_parameters:,}"

    def cache(self, rows: int) -> DynamicCache:
        """A new cache for so many rows, each of which has the prefix before it; gradients flow into `trained`.

        Tokens after it have the positions `slots`, `slots` + 1, and so on. A `start` above 0 is for a model that runs its
        layers from there on, as `Tuned` does: transformers builds one mask for all layers, by the length of the first
        entry, so an entry of a layer below holds as many slots, but none that such a layer could read.
        """
        below = self.held.new_zeros(1, 1, self.slots, 1)
        layers = tuple((keys[None], values[None]) for keys, values in self.kv)
        return cache_from(((below, below),) * self.start + layers, self.slots, rows)

    def as_prefix(self, lm: LanguageModel) -> Prefix:
        """What `lm.generate` and `lm.score` take as `prefix`: a copy of all slots as they are now.

        Raises:
            ValueError: a prefix of another model's shape, or one that begins above the first layer.
        """
        _check_fits(self, lm)
        kv = self.kv.detach().to(lm.device, lm.model.dtype)
        layers = tuple((keys[None], values[None]) for keys, values in kv)
        return Prefix(lm.owner, "", (SLOT,) * self.slots, layers, learnt=True)


def with_prefix(model: Any, prefix: KVPrefix, ids: Tensor) -> Tensor:
    """Logits (rows, tokens, vocab) of a transformers model for token ids (rows, tokens) that stand after a prefix.

    Rows may be padded on the right, with any id: no token looks to its right.

    Raises:
        ValueError: a prefix of another model's shape or one that begins above the first layer, rows that don't fit into
            the window after it, or gradient checkpointing.
    """
    _check_fits(prefix, model)
    refuse_checkpointing(model)
    end = prefix.slots + ids.shape[1]
    if end > (window := model.config.max_position_embeddings):
        raise ValueError(f"{prefix.slots:,} slots and {ids.shape[1]:,} tokens don't fit into the window of {window:,}.")
    positions = torch.arange(prefix.slots, end, device=ids.device)[None]
    cache = {cache_name(model): prefix.cache(len(ids))}
    return model(input_ids=ids, position_ids=positions, use_cache=True, **cache).logits


def refuse_checkpointing(model: Any) -> None:
    """Raise ValueError where a model in training checkpoints its layers.

    Such a layer runs twice, and its cache would grow twice. So transformers (5.15 to 5.24) drops the cache and the prefix
    with it, and logs a line. Most texts then fail, since the mask still counts the slots; texts of one token run without
    the prefix, unnoticed.
    """
    if model.training and any(getattr(module, "gradient_checkpointing", False) for module in model.modules()):
        raise ValueError("Gradient checkpointing drops a prefix: call model.gradient_checkpointing_disable() before.")


def _inner(model: Any) -> Any:
    """The transformers model itself."""
    return model.model if isinstance(model, LanguageModel) else model


def _check_slots(slots: int, frozen: int) -> None:
    if slots < 1 or not 0 <= frozen < slots:
        raise ValueError(f"A prefix needs at least 1 slot and one that is trained; not {slots} with {frozen} frozen.")


def _shape(model: Any, slots: int, frozen: int, start: int) -> Shape:
    """The shape of a model that can have such a prefix."""
    _check_slots(slots, frozen)
    config = _inner(model).config
    shape, window = Shape.of(config), config.max_position_embeddings
    if slots >= window:
        raise ValueError(f"{slots:,} slots leave no room for a text in the window of {window:,} tokens.")
    if not 0 <= start < shape.layers:
        raise ValueError(f"The model has the layers 0 to {shape.layers - 1}; a prefix can't begin at layer {start}.")
    return shape


def _check_fits(prefix: KVPrefix, model: Any) -> None:
    """Refuse a prefix that the whole of this model can't run with."""
    if prefix.start:
        raise ValueError(
            f"This prefix begins at layer {prefix.start}, and the layers of a whole model share one mask: use Tuned, which "
            "runs the upper layers by themselves."
        )
    shape = _shape(model, prefix.slots, prefix.frozen, 0)
    wanted, found = (shape.layers, 2, shape.kv_heads, shape.head_dim), (*prefix.held.shape[:3], prefix.held.shape[4])
    if found != wanted:
        raise ValueError(f"This prefix is of another model: (layers, 2, KV heads, head dim) is {found}, not {wanted}.")


def _width(shape: Shape, start: int) -> int:
    """Numbers of one slot."""
    return (shape.layers - start) * 2 * shape.kv_heads * shape.head_dim


def _unflattened(flat: Tensor, shape: Shape, start: int) -> Tensor:
    """(slots, numbers of a slot) as (layers, 2, KV heads, slots, head dim)."""
    return flat.view(len(flat), shape.layers - start, 2, shape.kv_heads, shape.head_dim).permute(1, 2, 3, 0, 4)
