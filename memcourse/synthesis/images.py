"""What synthetic images are worth: the gap between printed and handwritten digits, and what closes it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from memcourse import metrics
from memcourse.model.seed import seed_everything
from memcourse.progress import Label, Progress, silent
from memcourse.synthesis.digits import Digits, Split, real_digits, rendered_digits, whole
from memcourse.weights.training import Recipe, train

ARMS = (
    "fonts",
    "distorted fonts",
    "few real",
    "distorted fonts, then few real",
    "distorted fonts with few real",
    "all real",
)
ROWS = 64  # images in a batch
Arm = tuple[str, int | slice, nn.Module]


class Images(NamedTuple):
    """A batch: images (rows, 8, 8) and their digits (rows,)."""

    images: Tensor
    digits: Tensor

    def share(self, count: int, number: int) -> Images:
        """The rows of one of so many processes."""
        return Images(self.images.tensor_split(count)[number], self.digits.tensor_split(count)[number])


def small_network() -> nn.Sequential:
    """A convolutional network with 9,930 weights: images (rows, 8, 8) to logits (rows, 10).

    Source: in the manner of LeCun et al., "Gradient-based learning applied to document recognition" (1998).
    """
    return nn.Sequential(
        *(nn.Unflatten(1, (1, 8)), nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10)),
    )


def digit_nll(model: nn.Module, batch: Images) -> tuple[Tensor, Tensor]:
    """Summed negative log-likelihood of a batch's digits in nats, and their number; (1,) each, as `train` wants them."""
    total = cross_entropy(model(batch.images), batch.digits, reduction="sum")
    return total.reshape(1), torch.tensor([len(batch.digits)])


def batches(*sources: Digits, seed: int = 0, rows: int = ROWS) -> Callable[[int], Images]:
    """The batch of each step: rows / len(sources) images of each source, at random, or all that a source has.

    A small source beside a large one comes up as often as the large one, however few its images are.

    Raises:
        ValueError: no source, an empty one, or fewer rows than sources.
    """
    if not sources or not all(len(source.labels) for source in sources) or rows < len(sources):
        raise ValueError(
            f"Batches need at least one image from each source, and a source; not {rows} rows of {len(sources)}."
        )
    tensors = [Images(torch.tensor(s.images, dtype=torch.float32), torch.tensor(s.labels)) for s in sources]

    def step(number: int) -> Images:
        rng = np.random.default_rng([seed, number])
        chosen = [torch.from_numpy(rng.permutation(len(t.digits))[: rows // len(sources)]) for t in tensors]
        parts = [(t.images[i], t.digits[i]) for t, i in zip(tensors, chosen, strict=True)]
        return Images(*(torch.cat(column) for column in zip(*parts, strict=True)))

    return step


def trained(
    *sources: Digits, steps: int, seed: int = 0, lr: float = 1e-2, start: nn.Module | None = None,
    progress: Progress | None = None,
) -> nn.Module:  # fmt: skip
    """A network trained on these images for so many steps: a new one, or a copy of `start`, which itself stays as it is.

    Raises:
        ValueError: as for `batches` and `train`.
    """
    source = batches(*sources, seed=seed)
    seed_everything(seed)
    model = small_network() if start is None else copy.deepcopy(start)
    train(model, source, Recipe(steps, lr), loss=digit_nll, every=steps, progress=progress)
    return model


@torch.no_grad()
def recognised(model: nn.Module, digits: Digits) -> np.ndarray:
    """(n,) 1 where the network's likeliest digit is the right one, else 0."""
    return metrics.hits(model(torch.tensor(digits.images, dtype=torch.float32)).tolist(), digits.labels.tolist())


def domain_gap(
    sizes: Sequence[int] = (1, 3, 10, 30),
    seeds: Sequence[int] = (0, 1, 2),
    n: int = 2000,
    steps: int = 200,
    distortion: float = 1.0,
    label: Label = silent,
) -> dict[str, Any]:
    """Accuracy on real test digits of networks that were trained on synthetic digits, on real ones, and on both.

    Every arm trains for the same number of steps; after "then", half as many more at a third of the learning rate. A
    seed decides which real images are the few, what the synthetic ones look like, and the network; the test images are
    the same for all.

    Args:
        sizes: real images of each digit, k.
        n: synthetic images.

    Returns:
        "arms", "k" and "test" (how many test images); "accuracy" (arms, k, seeds); "by_digit" (arms, k, seeds, 10), the
        accuracy on each digit. Arms that have no few real images are the same for every k.

    Raises:
        ValueError: sizes, seeds, n, steps or a distortion that can't be had.
    """
    real = real_digits()
    _check(seeds, [n, steps])
    for k in sizes:
        real.train.few(k)
    _check_sizes(sizes)
    right = np.zeros((len(ARMS), len(sizes), len(seeds), len(real.test.labels)))
    for j, seed in enumerate(seeds):
        progress = label(f"digits, seed {seed}")
        models = _arms(real, sizes, seed, n, steps, distortion)
        for done, (arm, i, model) in enumerate(models, 1):
            right[ARMS.index(arm), i, j] = recognised(model, real.test)
            if progress is not None:
                progress(done, 3 + 3 * len(sizes))
    by_digit = np.stack([right[..., real.test.labels == digit].mean(-1) for digit in range(10)], axis=-1)
    found = {"arms": list(ARMS), "k": [int(k) for k in sizes], "test": len(real.test.labels)}
    return {**found, "accuracy": right.mean(-1), "by_digit": by_digit}


def _arms(real: Split, sizes: Sequence[int], seed: int, n: int, steps: int, distortion: float) -> Iterator[Arm]:
    """(arm, which k, network), one by one; a slice for arms to which k makes no difference."""
    synthetic, every = rendered_digits(n, seed, distortion), slice(None)
    yield "fonts", every, trained(rendered_digits(n, seed, 0), steps=steps, seed=seed)
    before = trained(synthetic, steps=steps, seed=seed)
    yield "distorted fonts", every, before
    yield "all real", every, trained(real.train, steps=steps, seed=seed)
    for i, k in enumerate(sizes):
        few = real.train.few(k, seed)
        yield "few real", i, trained(few, steps=steps, seed=seed)
        after = trained(few, steps=max(1, steps // 2), seed=seed, lr=3e-3, start=before)
        yield "distorted fonts, then few real", i, after
        yield "distorted fonts with few real", i, trained(synthetic, few, steps=steps, seed=seed)


def synthetic_scaling(
    sizes: Sequence[int] = (30, 200, 1000),
    distortions: Sequence[float] = (0.0, 0.5, 1.0, 2.0),
    seeds: Sequence[int] = (0, 1, 2),
    steps: int = 200,
    label: Label = silent,
) -> dict[str, Any]:
    """Accuracy on real test digits after training on so many synthetic ones only, that are so strongly distorted.

    Returns:
        "n", "distortions" and "test" (how many test images); "accuracy" (distortions, sizes, seeds).

    Raises:
        ValueError: as for `domain_gap`.
    """
    _check(seeds, [*sizes, steps])
    _check_sizes(sizes, distortions)
    for distortion in distortions:
        rendered_digits(1, 0, distortion)  # refused now, not after minutes
    test = real_digits().test
    found = np.zeros((len(distortions), len(sizes), len(seeds)))
    for i, distortion in enumerate(distortions):
        progress = label(f"distortion {distortion}")
        for j, seed in enumerate(seeds):
            most = rendered_digits(max(sizes), seed, distortion)
            for m, n in enumerate(sizes):
                model = trained(Digits(most.images[:n], most.labels[:n]), steps=steps, seed=seed)
                found[i, m, j] = recognised(model, test).mean()
                if progress is not None:
                    progress(j * len(sizes) + m + 1, len(sizes) * len(seeds))
    return {"n": [int(n) for n in sizes], "distortions": list(distortions), "test": len(test.labels), "accuracy": found}


def _check(seeds: Sequence[int], counts: Sequence[int]) -> None:
    if not len(seeds) or not all(whole(seed, 0, 2**32 - 1) for seed in seeds):
        raise ValueError(f"At least one seed is needed, each a whole number from 0 to 2**32 - 1, not {seeds}.")
    if not all(whole(count, 1) for count in counts):
        raise ValueError(f"Images and steps are counted in whole numbers from 1 up, not {counts}.")


def _check_sizes(*lists: Sequence[float]) -> None:
    if not all(len(values) for values in lists):
        raise ValueError("At least one size (a number of images) is needed, and one of everything else that is varied.")
