"""The logit lens: read the half-finished thought of every layer as if it were the last one.

Source: nostalgebraist, "interpreting GPT: the logit lens" (2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from memcourse.activations.hooks import hidden_states


def lens_step(hidden: torch.Tensor, norm_weight: torch.Tensor, unembedding: torch.Tensor, eps: float) -> torch.Tensor:
    """Turn a residual-stream vector into logits over the vocabulary: RMSNorm, then the output matrix.

    Built by hand in notebook 01.

    Args:
        hidden: (..., d).
        norm_weight: (d,), the gain of the final norm.
        unembedding: (vocab, d).
        eps: the small number that keeps the norm from dividing by zero.

    Returns:
        (..., vocab) logits.
    """
    mean_square = hidden.pow(2).mean(dim=-1, keepdim=True)
    return (hidden * torch.rsqrt(mean_square + eps) * norm_weight) @ unembedding.T


@torch.no_grad()
def logit_lens(lm: Any, prompts: Sequence[str]) -> torch.Tensor:
    """Log-probabilities of the next token as every layer would give them, at the last token of each prompt.

    Returns:
        (layers + 1, prompts, vocab). The last row equals the model's own prediction.
    """
    norm, head = lm.model.model.norm, lm.model.get_output_embeddings()
    hidden = hidden_states(lm, prompts)
    logits = lens_step(hidden, norm.weight, head.weight, norm.variance_epsilon)
    return logits.float().log_softmax(-1)
