"""What can be read back from a model: strings by prompting, and whether a string was there by its loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from memcourse.metrics import auc
from memcourse.progress import Label, silent
from memcourse.weights.capacity import LENGTH, VOCAB, random_strings
from memcourse.weights.gpt import GPTShape, TinyGPT
from memcourse.weights.loss import IGNORED, Batch, recalled, row_nll
from memcourse.weights.stack import Stack
from memcourse.weights.training import Recipe, train
from memcourse.weights.words import shuffled


def reading_back(
    exposures: Sequence[int], each: int, seeds: Sequence[int], device: str = "cpu", progress: Label = silent, prompt: int = 4
) -> dict[str, Any]:
    """Train in one shuffled pass on random strings, `each` for each number of exposures, and try to read them back.

    Returns: "given" (exposures, seeds), the share of strings whose first `prompt` tokens make the model write the other
    ones; "auc" (exposures, seeds), how often such a string has a lower loss than one of as many that were never seen.
    Source: the questions of Carlini et al. (2022), arXiv 2202.07646, and Yeom et al. (2018), arXiv 1709.01604.
    """
    n = each * len(exposures)
    strings = torch.stack([random_strings(2 * n, LENGTH, VOCAB, seed) for seed in seeds])  # the second half is never seen
    times = torch.tensor(exposures).repeat_interleave(each)
    rows = [own[:n].repeat_interleave(times, dim=0) for own in strings]
    shape = GPTShape(VOCAB, d=64, d_ff=128, window=LENGTH)
    stack = Stack.built(lambda: TinyGPT(shape), seeds).to(device)
    batch = shuffled([Batch(own, own) for own in rows], 32, seeds[0])
    recipe = Recipe(max(1, len(rows[0]) // 32), lr=5e-3, betas=(0.9, 0.98))
    train(stack, batch, recipe, progress=progress("one pass"))
    asked = strings.clone()
    asked[..., :prompt] = IGNORED
    given = recalled(stack, Batch(strings, asked))[:, :n].float().view(len(seeds), -1, each).mean(2)
    sure = -row_nll(stack, Batch(strings, strings)).cpu().numpy()
    seen, unseen = sure[:, :n].reshape(len(seeds), -1, each), sure[:, n:]
    areas = [
        [auc([*seen[s, i], *unseen[s]], [1] * each + [0] * n) for s in range(len(seeds))] for i in range(len(exposures))
    ]
    return {"given": given.T.cpu().numpy(), "auc": np.array(areas)}
