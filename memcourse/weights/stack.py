"""Many small models side by side: every weight gets a leading dimension, and one step trains all of them.

Steps of the smallest models are bound by overhead, not by arithmetic: several in one batch cost less than in turn. From a
width of about 64 on, a stack is a convenience and no faster (tests/benchmarks/tiny_gpt.py measures both).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from memcourse.model import seed_everything


class Stack(nn.Module):
    """Models of one shape that never touch each other: ids (members, batch, tokens) to logits of one dimension more.

    Ids without the leading dimension go to all members. The weights are copies; `member(i)` copies one out again. What
    is frozen in the first model is frozen in all.

    Raises:
        ValueError: no models, or models whose weights differ in name or shape.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        layouts = [{name: weight.shape for name, weight in model.named_parameters()} for model in models]
        if not models or any(layout != layouts[0] for layout in layouts):
            raise ValueError("A stack needs at least one model, and models whose weights have the same names and shapes.")
        stacked, _ = stack_module_state(list(models))
        trained = {name: weight.requires_grad for name, weight in models[0].named_parameters()}
        self.weights = nn.ParameterDict(
            {_key(name): nn.Parameter(weight.detach().clone(), trained[name]) for name, weight in stacked.items()}
        )
        # only its code is used; in a tuple, so that its weights don't count as the stack's
        self._template = (copy.deepcopy(models[0]),)

    @classmethod
    def built(cls, make: Callable[[], nn.Module], seeds: Sequence[int]) -> Stack:
        """One member for each seed, which is set before its model is built."""
        models = []
        for seed in seeds:
            seed_everything(seed)
            models.append(make())
        return cls(models)

    @property
    def members(self) -> int:
        """How many models there are."""
        return len(next(iter(self.weights.values())))

    def stacked(self) -> dict[str, nn.Parameter]:
        """The weights of all members, (members, ...) each, by their name inside one model."""
        return {_name(key): weight for key, weight in self.weights.items()}

    def _apply(self, *args: Any, **kwargs: Any) -> Stack:
        self._template[0]._apply(*args, **kwargs)  # its buffers follow to another device or dtype
        super()._apply(*args, **kwargs)
        return self

    def forward(self, ids: Tensor) -> Tensor:
        if ids.dim() == 2:
            ids = ids.expand(self.members, *ids.shape)
        template = self._template[0]
        # the fused attention kernels can't be mapped over members; torch's plain one can
        with sdpa_kernel(SDPBackend.MATH):
            return vmap(lambda weights, x: functional_call(template, weights, (x,)))(self.stacked(), ids)

    def member(self, i: int) -> nn.Module:
        """A copy of one model."""
        model = copy.deepcopy(self._template[0])
        with torch.no_grad():
            for name, weight in model.named_parameters():
                weight.copy_(self.stacked()[name][i])
        return model


def _key(name: str) -> str:
    return name.replace(".", "/")  # a ParameterDict takes no dots


def _name(key: str) -> str:
    return key.replace("/", ".")
