"""One call that seeds everything random, made before anything random is built."""

from __future__ import annotations

import random


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch (all devices). Call it right before building a model, an adapter or a sample.

    Raises:
        ValueError: the seed is no whole number from 0 to 2**32 - 1.
    """
    import numpy as np
    import torch

    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise ValueError(f"The seed must be a whole number from 0 to {2**32 - 1}, not {seed!r}.")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
