"""Training a language model, or what was put beside it, on rows of text; frozen layers below run once per text."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from memcourse.model.batching import make_batches
from memcourse.model.lm import LanguageModel
from memcourse.progress import Progress
from memcourse.weights.loss import Batch
from memcourse.weights.samples import Row, bucketed, padded
from memcourse.weights.training import Recipe, train
from memcourse.weights.tuned import Tuned, counted_nll, lower_states

if TYPE_CHECKING:
    from memcourse.weights.prefix import KVPrefix


class Finetuned(NamedTuple):
    """A finished training: the loss of each step (nats a token), the first layer that ran in it, and tokens read by it."""

    losses: Tensor
    start: int
    tokens: int


def finetune(
    lm: LanguageModel,
    rows: Sequence[Row],
    recipe: Recipe,
    *,
    prefix: KVPrefix | None = None,
    tokens: int = 512,
    accumulate: int = 1,
    seed: int = 0,
    read: Callable[[Sequence[int]], Batch] | None = None,
    checkpoint: Path | None = None,
    every: int = 100,
    progress: Progress | None = None,
) -> Finetuned:
    """Train whatever is not frozen in lm.model (LoRA layers, whole layers), or a prefix before it, in place.

    Batches hold rows of like length and end with the longest; padding never counts. Where only upper layers are trained,
    the frozen ones below them run once for each row, and every epoch reads what they gave.

    Args:
        rows: as `encode_samples` makes them.
        prefix: trained in place of the model, all of whose weights must then be frozen.
        tokens: most tokens of a batch, padding included; a longer row makes a batch of its own.
        accumulate: batches that make one step, where a step's batch would not fit into memory.
        seed: decides which rows go together, and their order.
        read: what `reused` gave for these rows and the first trained layer, where several trainings share it.
        checkpoint: a file to go on from, written every so many steps, as in `train`.

    Raises:
        ValueError: no rows, nothing to train, or both the model and a prefix.
    """
    if not rows or tokens < 1 or accumulate < 1:
        raise ValueError(f"finetune needs rows, tokens >= 1 and accumulate >= 1; not {len(rows)}, {tokens}, {accumulate}.")
    start = first_trained(lm.model)
    if prefix is not None:
        if start is not None:
            raise ValueError("A prefix is trained beside a frozen model; call lm.model.requires_grad_(False) before.")
        start = prefix.start
    if start is None:
        raise ValueError("Nothing to train: every weight of this model is frozen, and there is no prefix.")
    read = read or reused(lm, rows, start)
    step = bucketed(rows, tokens, seed)

    def batches(number: int) -> list[Batch]:
        return [read(step(number * accumulate + i)) for i in range(accumulate)]

    seen = sum(len(rows[i].ids) for number in range(recipe.steps * accumulate) for i in step(number))
    tuned = Tuned(lm.model, start, prefix)
    losses = train(tuned, batches, recipe, loss=counted_nll, checkpoint=checkpoint, every=every, progress=progress)
    return Finetuned(losses[:, 0], start, seen)


def reused(lm: LanguageModel, rows: Sequence[Row], start: int) -> Callable[[Sequence[int]], Batch]:
    """A function from row numbers to their batch for `Tuned(lm.model, start)`; the layers below run here, once per row."""
    if start == 0:
        return lambda chosen: padded([rows[i] for i in chosen])
    states: list[Tensor] = [torch.empty(0)] * len(rows)
    with torch.no_grad():
        for chosen in make_batches([len(row.ids) for row in rows], 32, 2048):
            found = lower_states(lm.model, padded([rows[i] for i in chosen]).ids.to(lm.device), start)
            for i, state in zip(chosen, found, strict=True):
                states[i] = state[: len(rows[i].ids)].clone()

    def batch(chosen: Sequence[int]) -> Batch:
        labels = padded([rows[i] for i in chosen]).labels
        return Batch(torch.nn.utils.rnn.pad_sequence([states[i] for i in chosen], batch_first=True), labels)

    return batch


def reused_by(
    lm: LanguageModel, groups: Mapping[str, Sequence[Row]], start: int
) -> dict[str, Callable[[Sequence[int]], Batch]]:
    """What `reused` gives, for several groups of rows; rows that are alike run once, in whichever group they stand."""
    place = {row: i for i, row in enumerate(dict.fromkeys(row for rows in groups.values() for row in rows))}
    read = reused(lm, list(place), start)

    def of(rows: Sequence[Row]) -> Callable[[Sequence[int]], Batch]:
        return lambda chosen: read([place[rows[i]] for i in chosen])

    return {name: of(rows) for name, rows in groups.items()}


def first_trained(model: Any) -> int | None:
    """The lowest layer in which anything is trained; 0 also where the embeddings are, None where nothing is."""
    trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
    if not trained:
        return None
    places = [name.split("layers.")[1].split(".")[0] for name in trained if "layers." in name]
    below = any("layers." not in name and not name.startswith(("model.norm", "lm_head")) for name in trained)
    return 0 if below or not places else min(map(int, places))


def train_fully(model: Any, layers: Collection[int] | None = None) -> Any:
    """Unfreeze whole layers and freeze all else, in place; without `layers`, the model as a whole. Returns the model.

    Raises:
        ValueError: a layer that isn't there.
    """
    count = len(model.model.layers)
    if layers is not None and not (layers and all(0 <= layer < count for layer in layers)):
        raise ValueError(f"The model has the layers 0 to {count - 1}, not {sorted(layers)}.")
    model.requires_grad_(layers is None)
    for layer in layers or ():
        model.model.layers[layer].requires_grad_(True)
    return model


@contextmanager
def put_back(model: Any) -> Iterator[None]:
    """Within this block the model's weights may change; at its end they are what they were, and frozen."""
    before = {weight: weight.detach().clone() for weight in model.parameters() if weight.requires_grad}
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, value in before.items():
                weight.copy_(value)
        model.requires_grad_(False)
