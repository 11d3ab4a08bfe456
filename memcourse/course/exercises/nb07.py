"""Exercises of notebook 07: a layer with LoRA, labels on the answer only, an adapter's size, and a mean of means."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from memcourse.course.exercises.exercise import Exercise, Mistake
from memcourse.weights.lora import LoRALinear
from memcourse.weights.samples import Sample, encode_samples


def lora(x: np.ndarray, weight: np.ndarray, down: np.ndarray, up: np.ndarray, alpha: float) -> np.ndarray:
    """(n, out): x (n, in) through a frozen weight (out, in), plus LoRA's (alpha / rank) * x A^T B^T beside it.

    `down` is A (rank, in) and `up` is B (out, rank). `memcourse.weights.LoRALinear` does the same.
    """
    rank = len(down)
    return x @ weight.T + alpha / rank * (x @ down.T) @ up.T


def labels(prompt: list[int], answer: list[int], end: int) -> tuple[list[int], list[int]]:
    """Token ids and labels of one sample: the answer and exactly one end token count, and nothing of the prompt.

    A label stands at the place of its own token, and the model looks one token ahead by itself; -100 is ignored.
    `memcourse.weights.encode_samples` does the same.
    """
    target = answer if answer[-1] == end else [*answer, end]
    return prompt + target, [-100] * len(prompt) + target


def adapter_bytes(layers: int, shapes: Sequence[tuple[int, int]], rank: int, bytes_each: int) -> int:
    """Bytes of a LoRA: in each of the layers, matrices of these shapes (out, in) get A (rank, in) and B (out, rank)."""
    return layers * sum(rank * (n_in + n_out) for n_out, n_in in shapes) * bytes_each


def loss_of(micro_batches: list[list[list[float]]]) -> float:
    """Mean loss of a token, as one large batch would give it; each micro-batch is a list of rows of token losses."""
    rows = [row for micro_batch in micro_batches for row in micro_batch]
    return sum(sum(row) for row in rows) / sum(len(row) for row in rows)


def loss_of_broken(micro_batches: list[list[list[float]]]) -> float:
    """Mean loss of a token, as one large batch would give it; each micro-batch is a list of rows of token losses."""
    losses = []
    for micro_batch in micro_batches:
        tokens = [loss for row in micro_batch for loss in row]
        losses.append(sum(tokens) / len(tokens))
    return sum(losses) / len(losses)


def where_it_fits(answer: Callable[..., Any], *arguments: Any) -> Any:
    """What an answer gives; words in place of NumPy's error where its shapes don't go together."""
    try:
        return answer(*arguments)
    except ValueError:
        return "shapes that don't go together"


def _lora(added: Callable[..., Any], frozen: Callable[..., Any] = lambda x, weight: x @ weight.T) -> Callable[..., Any]:
    """A layer whose frozen part and whose addition (x, A, B, alpha, what the frozen part gave) are these."""

    def layer(x: Any, weight: Any, down: Any, up: Any, alpha: float) -> Any:
        before = frozen(x, weight)
        return before + added(x, down, up, alpha, before)

    return layer


def _lora_layer(x: np.ndarray, weight: np.ndarray, down: np.ndarray, up: np.ndarray, alpha: float) -> torch.Tensor:
    """The package's own layer, filled with these numbers."""
    n_out, n_in = weight.shape
    layer = LoRALinear(torch.nn.Linear(n_in, n_out, bias=False, dtype=torch.float64), len(down), alpha)
    numbers = {"layer.weight": weight, "down": down, "up": up}
    layer.load_state_dict({name: torch.from_numpy(matrix) for name, matrix in numbers.items()})
    return layer(torch.from_numpy(x))


def _matrices(n: int, n_in: int, n_out: int, rank: int, alpha: float) -> tuple[Any, ...]:
    rng = np.random.default_rng(7)
    return *(rng.normal(size=size) for size in ((n, n_in), (n_out, n_in), (rank, n_in), (n_out, rank))), alpha


def _labels(of: Callable[..., Any], ended: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """Ids as they should be (or with another `ended`(answer, end)), and labels made by of(prompt, target, end)."""

    def made(prompt: list[int], answer: list[int], end: int) -> Any:
        target = ended(answer, end) if ended else labels(prompt, answer, end)[0][len(prompt) :]
        return prompt + target, of(prompt, target, end)

    return made


def _encoded(prompt: list[int], answer: list[int], end: int) -> Any:
    """The package's own function, with a tokenizer that writes numbers as words."""
    lm: Any = SimpleNamespace(
        window=99, tokenizer=SimpleNamespace(eos_token_id=end), encode=lambda text: [int(word) for word in text.split()]
    )
    row = encode_samples(lm, [Sample(" ".join(map(str, prompt)), " ".join(map(str, answer)))], most=99).rows[0]
    return row.ids, row.labels


def _size(of: Callable[[int, int, int], float]) -> Callable[..., float]:
    """Bytes, where a matrix (out, in) of this rank has of(out, in, rank) numbers."""
    return lambda layers, shapes, rank, each: layers * sum(of(n_out, n_in, rank) for n_out, n_in in shapes) * each


def _trained(layers: int, shapes: Sequence[tuple[int, int]], rank: int, bytes_each: int) -> int:
    """What the package's layers would train, counted without making any number."""
    with torch.device("meta"):
        adapted = [LoRALinear(torch.nn.Linear(n_in, n_out, bias=False), rank, 1.0) for n_out, n_in in shapes]
    return layers * bytes_each * sum(w.numel() for layer in adapted for w in layer.parameters() if w.requires_grad)


_SMOLLM2 = [(576, 576), (192, 576), (192, 576), (576, 576), (1536, 576), (1536, 576), (576, 1536)]
_flat = itertools.chain.from_iterable


EXERCISES = (
    Exercise(
        id="07.lora",
        reference=lora,
        probe=where_it_fits,
        cases=(
            lambda: _matrices(2, 3, 3, 3, 6.0), lambda: _matrices(5, 4, 4, 2, 8.0),
            lambda: _matrices(4, 6, 3, 2, 1.0), lambda: _matrices(3, 2, 5, 4, 4.0),
        ),
        mistakes=(
            Mistake(
                _lora(lambda x, down, up, alpha, before: alpha * (x @ down.T) @ up.T),
                "The scale is alpha / rank: so another rank doesn't make the update stronger.",
            ),
            Mistake(
                _lora(lambda x, down, up, alpha, before: (x @ down.T) @ up.T),
                "The scale alpha / rank is missing.",
            ),
            Mistake(
                _lora(lambda x, down, up, alpha, before: alpha / len(down) * (x @ up.T) @ down.T),
                "The two are exchanged: first `down` leads from `in` to `rank`, then `up` from `rank` to `out`.",
            ),
            Mistake(
                _lora(lambda x, down, up, alpha, before: alpha / len(down) * x @ down @ up),
                "Both are stored like a linear layer's weight, (to, from): transpose each.",
            ),
            Mistake(
                _lora(lambda x, down, up, alpha, before: alpha / len(down) * (before @ down.T) @ up.T),
                "The adapter stands beside the frozen layer and reads its input x, not what the layer gives.",
            ),
            Mistake(
                _lora(lambda x, down, up, alpha, before: alpha / len(down) * (x @ down.T) @ up.T, lambda x, weight: 0),
                "That is the adapter alone; add it to what the frozen weight gives.",
            ),
            Mistake(
                lambda x, weight, down, up, alpha: weight + alpha / len(down) * up @ down,
                "That is the merged weight (out, in); x is still to go through it.",
            ),
        ),
        alternatives=(
            lambda x, weight, down, up, alpha: x @ (weight + alpha / down.shape[0] * up @ down).T,
            lambda x, weight, down, up, alpha: (
                np.einsum("ni,oi->no", x, weight) + np.einsum("ni,ri,or->no", x, down, up) * alpha / up.shape[1]
            ),
            _lora_layer,
        ),
        describe=lambda x, weight, down, up, alpha: (
            f"the output for x {x.shape}, weight {weight.shape}, down {down.shape}, up {up.shape} and alpha {alpha:g}"
        ),
    ),
    Exercise(
        id="07.labels",
        reference=labels,
        cases=(
            lambda: ([5, 8, 3], [7, 9], 2), lambda: ([6, 4], [9, 0, 2], 2),
            lambda: ([5, 2, 8, 2], [3], 2), lambda: ([1], [2, 4, 4, 6], 0),
        ),
        mistakes=(
            Mistake(
                _labels(lambda prompt, target, end: [-100] * (len(prompt) - 1) + target + [-100]),
                "The labels are shifted by one. The model does that itself: a label stands at the place of its own token.",
            ),
            Mistake(
                _labels(lambda prompt, target, end: prompt + target),
                "The prompt counts here too, so the model is trained to write questions: mask it with -100.",
            ),
            Mistake(
                _labels(lambda prompt, target, end: [0] * len(prompt) + target),
                "0 is a token id like any other, and would be trained on; what is ignored has the label -100.",
            ),
            Mistake(
                _labels(lambda prompt, target, end: target),
                "There are fewer labels than ids: each id needs one, and those of the prompt are -100.",
            ),
            Mistake(
                _labels(lambda prompt, target, end: [-100] * len(prompt) + target, lambda answer, end: answer),
                "The end token is missing: trained like this, the model never learns to stop.",
            ),
            Mistake(
                _labels(lambda prompt, target, end: [-100] * len(prompt) + target, lambda answer, end: [*answer, end]),
                "The end token comes twice where the answer has one already.",
            ),
            Mistake(
                _labels(lambda prompt, target, end: [-100] * len(prompt) + target[:-1] + [-100]),
                "The end token is there, but masked: it must count, or the model never learns to stop.",
            ),
        ),
        alternatives=(
            _encoded,
            lambda prompt, answer, end: (
                [*prompt, *answer] + [end] * (answer[-1] != end),
                [-100 for _ in prompt] + answer + [end] * (answer[-1] != end),
            ),
        ),
        describe=lambda prompt, answer, end: f"ids and labels of {prompt}, {answer} with end token {end}",
    ),
    Exercise(
        id="07.bytes",
        reference=adapter_bytes,
        cases=(
            lambda: (30, _SMOLLM2, 8, 4), lambda: (96, [(12288, 12288), (12288, 12288)], 4, 2),
            lambda: (1, [(10, 30)], 1, 1),
        ),
        mistakes=(
            Mistake(
                _size(lambda n_out, n_in, rank: rank * n_in * n_out),
                "A and B stand beside the matrix: rank * in numbers and out * rank numbers, not rank * in * out.",
            ),
            Mistake(
                lambda layers, shapes, rank, each: adapter_bytes(1, shapes, rank, each),
                "That is one layer; each of the layers has its own adapters.",
            ),
            Mistake(
                _size(lambda n_out, n_in, rank: n_in * n_out + rank * (n_in + n_out)),
                "The frozen matrix is counted as well; it belongs to the base, and the file holds A and B alone.",
            ),
            Mistake(_size(lambda n_out, n_in, rank: rank * n_in), "That is A alone; B has out * rank numbers more."),
            Mistake(
                _size(lambda n_out, n_in, rank: 2 * rank * n_in),
                "A has rank * in numbers and B has out * rank; the two are equal only for a square matrix.",
            ),
            Mistake(
                lambda layers, shapes, rank, each: adapter_bytes(layers, shapes, rank, 1),
                "Those are numbers; each takes `bytes_each` bytes.",
            ),
        ),
        alternatives=(
            _trained,
            lambda layers, shapes, rank, each: layers * rank * each * sum(_flat(shapes)),
        ),
        describe=lambda layers, shapes, rank, each: (
            f"the bytes for {layers} layers of {len(shapes)} matrices at rank {rank} and {each} bytes each"
        ),
    ),
    Exercise(
        id="07.puzzle",
        reference=loss_of,
        cases=(
            lambda: ([[[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]], [[4.0, 4.0]]],),
            lambda: ([[[2.0, 0.5], [1.5, 3.0]], [[0.5, 1.0], [4.0, 2.5]]],),
            lambda: ([[[0.25, 1.0, 2.0, 3.0, 0.5]], [[6.0], [2.0, 4.0]], [[1.0, 1.0, 2.0]]],),
        ),
        broken=loss_of_broken,
        mistakes=(
            Mistake(
                lambda batches: float(np.mean([np.mean(row) for rows in batches for row in rows])),
                "That is a mean over rows: a token of a short row counts more than one of a long row. Count tokens.",
            ),
            Mistake(
                lambda batches: float(np.mean([np.mean([np.mean(row) for row in rows]) for rows in batches])),
                "That is a mean of means twice over: of rows, and of micro-batches. Count tokens.",
            ),
            Mistake(
                lambda batches: sum(_flat(_flat(batches))) / len(batches),
                "All losses are added, but divided by the number of micro-batches; divide by the number of all tokens.",
            ),
            Mistake(
                lambda batches: sum(_flat(_flat(batches))),
                "That is the sum: it grows with the batch, and a learning rate would fit one size of batch only.",
            ),
        ),
        alternatives=(
            lambda batches: float(np.mean([loss for rows in batches for row in rows for loss in row])),
            lambda batches: float(
                np.average(
                    [np.mean(list(_flat(rows))) for rows in batches], weights=[len(list(_flat(rows))) for rows in batches]
                )
            ),
        ),
        describe=lambda batches: f"the loss of micro-batches with {[len(list(_flat(rows))) for rows in batches]} tokens",
    ),
)  # fmt: skip
