"""The loss of texts under a model, token by token, and whether the model gives a text back."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

IGNORED = -100  # a label that doesn't count, as in torch's cross_entropy


class Batch(NamedTuple):
    """Token ids (..., rows, tokens), and labels of the same shape: the ids where they count in the loss, -100 elsewhere.

    For a `Tuned` that begins above the first layer, `ids` holds the hidden states that the layers below gave instead,
    (rows, tokens, d).
    """

    ids: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        return Batch(self.ids.to(device), self.labels.to(device))

    def share(self, count: int, number: int) -> Batch:
        """The rows of one of so many processes."""
        rows = -3 if self.ids.is_floating_point() else -2
        return Batch(self.ids.tensor_split(count, rows)[number], self.labels.tensor_split(count, -2)[number])


def _predictions(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Logits (..., rows, tokens - 1, vocab) and the labels that they are to give, (..., rows, tokens - 1)."""
    batch = batch.to(next(model.parameters()).device)
    logits = model(batch.ids)
    logits = getattr(logits, "logits", logits)[..., :-1, :]  # models of transformers answer with an object
    return logits, batch.labels[..., 1:].expand(logits.shape[:-1])


def token_nll(model: nn.Module, batch: Batch) -> Tensor:
    """Negative log-likelihood of each label but the first, in nats, (..., rows, tokens - 1); 0 where nothing counts."""
    logits, labels = _predictions(model, batch)
    nll = cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="none", ignore_index=IGNORED)
    return nll.view(labels.shape)


def next_token_nll(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Summed negative log-likelihood (nats) and how many labels count: (members,) each, (1,) for a single model."""
    nll = token_nll(model, batch)
    members = nll.shape[0] if nll.dim() == 3 else 1
    counted = (batch.labels[..., 1:] != IGNORED).expand(nll.shape).to(nll.device)
    return nll.reshape(members, -1).sum(1), counted.reshape(members, -1).sum(1)


@torch.no_grad()
def row_nll(model: nn.Module, batch: Batch) -> Tensor:
    """Summed negative log-likelihood of each row in nats, (..., rows)."""
    return token_nll(model, batch).sum(-1)


@torch.no_grad()
def recalled(model: nn.Module, batch: Batch) -> Tensor:
    """Whether every label of a row is the model's first choice, (..., rows) of bool.

    So it says whether greedy decoding, begun before the first label, gives the labels word for word: as long as it does,
    what it has written is what stands in the row.
    """
    logits, labels = _predictions(model, batch)
    return ((logits.argmax(-1) == labels) | (labels == IGNORED)).all(-1)
