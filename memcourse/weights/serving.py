"""One frozen base and many LoRA adapters: each row of a batch is answered by its own adapter, all in one pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from memcourse.model.batching import check_texts
from memcourse.model.lm import LanguageModel
from memcourse.model.sampling import picker
from memcourse.weights.lora import linear_layers, lora_layers
from memcourse.weights.probes import Asked, graded

_A, _B = ".lora_A.weight", ".lora_B.weight"


class AdapterBank:
    """Several LoRA adapters of one base, served side by side.

    A merged adapter needs a copy of the base for itself. Kept apart, adapters share the base: its matrices are read once
    for the whole batch, and for each row the small product (alpha / rank) * (x A^T) B^T of its own adapter is added.
    All A of a layer are stacked to (adapters + 1, rank, in) and all B to (adapters + 1, out, rank); place 0 holds zeros
    and stands for the base alone.

    The additions are made by forward hooks, which are there within `with bank:` (`generate` and `last_logits` open such
    a block themselves) and gone afterwards, also after an error. Nothing of the model is changed, and what else is
    called within the block, such as `lm.generate`, is answered by the base alone.

    Source: Sheng et al., "S-LoRA" (2023), arXiv 2311.03285, of which this is the batching alone: its kernels for
    adapters of different ranks and its paging between main and GPU memory are not here. Tested equal to PEFT's mixed
    batches, and to one adapter at a time.

    Attributes:
        names: the adapters' names, in the order in which they were given.
        rank: their rank.
        scale: alpha / rank.
        nbytes: bytes that all adapters take together, beside the base.
    """

    def __init__(self, lm: LanguageModel, adapters: Mapping[str, Mapping[str, Tensor]], alpha: float) -> None:
        """Check and copy the adapters; the model is not touched.

        Args:
            lm: the base, whose model has no LoRA layers.
            adapters: by name, what `lora_weights` gives: for each adapted layer NAME of lm.model "NAME.lora_A.weight"
                (rank, in) and "NAME.lora_B.weight" (out, rank). They are copied, in the base's number format.
            alpha: strength, the same for all.

        Raises:
            ValueError: no adapter, one that doesn't fit the base or differs from the first one in its layers or its rank,
                an alpha that is no finite number, or a model with LoRA layers.
        """
        if not adapters or not math.isfinite(alpha):
            raise ValueError(f"A bank needs at least one adapter and a finite alpha; not {len(adapters)} and {alpha}.")
        if not all(isinstance(name, str) and name for name in adapters):
            raise ValueError(f"The names of adapters are strings; not {list(adapters)}.")
        self._lm = lm
        self._check_bare()
        self.rank = _common_rank(lm, adapters)
        self.scale = alpha / self.rank
        self.names = tuple(adapters)
        self._places: dict[str | None, int] = {None: 0} | {name: place for place, name in enumerate(adapters, 1)}
        self._pairs: dict[str, tuple[nn.Linear, Tensor, Tensor]] = {}
        for layer, base in linear_layers(lm.model).items():
            if layer + _A in next(iter(adapters.values())):
                down, up = (_stack([tensors[layer + part] for tensors in adapters.values()], base) for part in (_A, _B))
                self._pairs[layer] = base, down, up
        self.nbytes = sum(down[1:].nbytes + up[1:].nbytes for _, down, up in self._pairs.values())
        self._open = 0
        self._hooks = ExitStack()
        self._which: Tensor | None = None  # (rows,): the place of each row's adapter in the stacks

    def __repr__(self) -> str:
        return f"AdapterBank({len(self.names)} adapters of rank {self.rank} on {self._lm.name!r}, {self.nbytes:,} bytes)"

    def __enter__(self) -> AdapterBank:
        if not self._open:
            self._check_bare()
            with ExitStack() as hooks:
                for base, down, up in self._pairs.values():
                    hooks.callback(base.register_forward_hook(self._adding(down, up)).remove)
                self._hooks = hooks.pop_all()
        self._open += 1
        return self

    def __exit__(self, *error: object) -> None:
        self._open -= 1
        if not self._open:
            self._hooks.close()

    @torch.no_grad()
    def generate(
        self, prompts: Sequence[str], names: Sequence[str | None], max_new_tokens: int = 32, stop: Sequence[str] = ()
    ) -> list[str]:
        """Continue each prompt greedily with its own adapter, all in one batch; the answers in the order of the prompts.

        Each answer is what the base with this adapter alone would give (`LanguageModel.generate`); a finished row leaves
        the batch.

        Args:
            names: an adapter's name for each prompt, or None for the base alone.
            max_new_tokens: the longest answer, in tokens; it ends earlier at an end token or a `stop` text.
            stop: texts that end an answer; they are cut off.

        Raises:
            ValueError: an unknown name, not one name for each prompt, an empty prompt or stop text, or a prompt that
                doesn't fit into the window with its answer.
        """
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, not {max_new_tokens}.")
        stop = check_texts(stop, "stop text")
        rows, which = self._asked(prompts, names, max_new_tokens)
        if not rows:
            return []

        def narrowed(alive: list[int]) -> None:
            self._which = which[alive]

        with self._serving(which):
            pickers = [picker(0.0, seed=0)] * len(rows)
            return [one.text for one in self._lm._continue(rows, None, 0, max_new_tokens, stop, pickers, narrowed)]

    @torch.no_grad()
    def last_logits(self, prompts: Sequence[str], names: Sequence[str | None]) -> Tensor:
        """(prompts, vocab) logits of the token that follows each prompt, each with its own adapter, in one batch.

        Raises:
            ValueError: as `generate`.
        """
        rows, which = self._asked(prompts, names, 1)
        if not rows:
            return torch.empty(0, self._lm.model.config.vocab_size, device=self._lm.device)
        with self._serving(which):
            _, out = self._lm._prefill(rows, None, 0)
            return out.logits[:, -1]

    def _asked(self, prompts: Sequence[str], names: Sequence[str | None], room: int) -> tuple[list[list[int]], Tensor]:
        """Token ids of every prompt, and (rows,) the places of their adapters; or an error before anything is computed."""
        prompts = check_texts(prompts, "prompt")
        if isinstance(names, str):
            raise TypeError("A list of names is needed, one for each prompt; put the single name into a list.")
        names = list(names)
        if len(names) != len(prompts):
            raise ValueError(f"{len(prompts)} prompts but {len(names)} names; give a name, or None, for each prompt.")
        for name in names:
            if name not in self._places:
                raise ValueError(f"There is no adapter {name!r}; there are {', '.join(self.names)}, and None for the base.")
        rows, _ = self._lm._rows(prompts, None, room)
        return rows, torch.tensor([self._places[name] for name in names], device=self._lm.device)

    @contextmanager
    def _serving(self, which: Tensor) -> Iterator[None]:
        try:
            with self:
                self._which = which
                yield
        finally:
            self._which = None

    def _adding(self, down: Tensor, up: Tensor) -> Callable[[Any, Any, Tensor], Tensor | None]:
        """The hook of one layer: adds to its output (rows, tokens, out) what each row's adapter makes of its input."""

        def hook(module: Any, inputs: Any, output: Tensor) -> Tensor | None:
            which = self._which
            if which is None:
                return None
            inner = torch.bmm(inputs[0], down[which].mT)  # (rows, tokens, rank)
            return torch.baddbmm(output, inner, up[which].mT, alpha=self.scale)

        return hook

    def _check_bare(self) -> None:
        if lora_layers(self._lm.model):
            raise ValueError("The base of a bank has no LoRA of its own: take it off with remove_lora first.")


def bank_answers(
    lm: LanguageModel, bank: AdapterBank, asked: Sequence[Asked], names: Sequence[str | None]
) -> dict[str, list[Any]]:
    """`graded` questions, each put to the base with the adapter of its name, all in one pass.

    Raises:
        ValueError: a choice of more than one token, or a name that the bank doesn't have.
    """
    tokens = [[lm.encode(f" {choice}") for choice in question.choices] for question in asked]
    longer = [lm.decode(ids) for some in tokens for ids in some if len(ids) > 1]
    if longer:
        raise ValueError(f"Only choices of one token can be compared in one pass; {longer[0]!r} has more.")
    logs = bank.last_logits([question.prompt for question in asked], names).float().log_softmax(-1)
    scores = [[float(row[ids[0]]) for ids in some] for row, some in zip(logs, tokens, strict=True)]
    return graded(scores, asked)


def _common_rank(lm: LanguageModel, adapters: Mapping[str, Mapping[str, Tensor]]) -> int:
    """The rank of all adapters, once each is found to fit the base and to have the first one's layers and rank."""
    linear = linear_layers(lm.model)
    first: tuple[set[str], int] | None = None
    for name, tensors in adapters.items():
        layers = {key.removesuffix(_A) for key in tensors if key.endswith(_A)}
        if not layers or set(tensors) != {layer + part for layer in layers for part in (_A, _B)}:
            raise ValueError(f"Adapter {name!r} is not made of pairs of lora_A and lora_B, as lora_weights gives them.")
        if foreign := sorted(layers - linear.keys()):
            raise ValueError(f"Adapter {name!r} was made for another base than {lm.name}: there is no layer {foreign[0]}.")
        ranks = {len(matrix) if (matrix := tensors[layer + _A]).dim() == 2 else 0 for layer in layers}
        rank = min(ranks)
        if len(ranks) > 1 or rank < 1:
            raise ValueError(f"Adapter {name!r} has layers of the ranks {sorted(ranks)}; a bank needs one, from 1 on.")
        for layer in sorted(layers):
            base = linear[layer]
            shapes = tuple(tensors[layer + _A].shape), tuple(tensors[layer + _B].shape)
            if shapes != ((rank, base.in_features), (base.out_features, rank)):
                raise ValueError(f"Adapter {name!r} doesn't fit {lm.name}: {layer} has lora_A and lora_B of {shapes}.")
        first = first or (layers, rank)
        if first != (layers, rank):
            raise ValueError(
                f"Adapter {name!r} (rank {rank}, {len(layers)} layers) must have the layers and the rank of "
                f"{next(iter(adapters))!r} (rank {first[1]}, {len(first[0])} layers)."
            )
    assert first
    return first[1]


def _stack(matrices: Sequence[Tensor], base: nn.Linear) -> Tensor:
    """(matrices + 1, ...): zeros, then copies of the matrices, in the format and on the device of the base's layer."""
    own = [matrix.detach().to(base.weight.device, base.weight.dtype) for matrix in matrices]
    return torch.stack([torch.zeros_like(own[0]), *own])
