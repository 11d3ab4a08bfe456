"""Attention as an associative memory: what a fixed-size state can recall, and what a growing cache can. Notebook 02."""

from __future__ import annotations

import torch


def unit_keys(n: int, d: int, seed: int = 0) -> torch.Tensor:
    """(n, d) random directions of length 1."""
    draw = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(n, d, generator=draw), dim=-1)


def linear_state(keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The whole memory of linear attention: S = sum of v k^T, (d_v, d_k), whatever the number of pairs.

    Source: Katharopoulos et al., "Transformers are RNNs" (2020, arXiv 2006.16236), without a feature map.
    """
    return values.mT @ keys


def recall_linear(state: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
    """(n, d_v) what the state gives back for (n, d_k) queries."""
    return queries @ state.mT


def recall_softmax(keys: torch.Tensor, values: torch.Tensor, queries: torch.Tensor, beta: float) -> torch.Tensor:
    """(n, d_v) what softmax attention gives back with all pairs in its cache; `beta` multiplies the scores."""
    return (beta * queries @ keys.mT).softmax(-1) @ values


def relative_error(recalled: torch.Tensor, values: torch.Tensor) -> float:
    """Squared error over squared length of what was stored: 0 for a perfect recall, 1 for an answer of zeros."""
    return float((recalled - values).pow(2).sum() / values.pow(2).sum())


def expected_error(n: int, d: int) -> float:
    """The relative error that linear recall must make with n random pairs: every other pair adds 1/d on average."""
    return (n - 1) / d
