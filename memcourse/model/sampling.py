"""How logits become tokens, and which tokens end an answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch


class Generated(NamedTuple):
    """An answer with the model's own view of it.

    Attributes:
        text: the answer.
        logprob: log-probability of its tokens, summed, in nats; what ended it (a stop text, an end token) is included.
        tokens: the number of those tokens.
    """

    text: str
    logprob: float
    tokens: int


def stop_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """The token ids that end an answer: those of the model's own generation settings, and the usual end tokens it knows."""
    ends = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    known = [tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])]
    for token in ("<|endoftext|>", "<|im_end|>"):
        i = tokenizer.convert_tokens_to_ids(token)
        if i is not None and tokenizer.convert_ids_to_tokens(i) == token:  # an unknown token gives the id of another one
            known.append(i)
    return frozenset(i for i in known if i is not None)


def picker(temperature: float, seed: int) -> Callable[[torch.Tensor], int]:
    """The rule that turns one row of logits into a token id: the likeliest one, or (above 0) one drawn with this seed."""
    if temperature == 0:
        return lambda logits: int(logits.argmax())
    generator = torch.Generator().manual_seed(seed)

    def sample(logits: torch.Tensor) -> int:
        probabilities = (logits.float().cpu() / temperature).softmax(-1)
        return int(torch.multinomial(probabilities, 1, generator=generator))

    return sample
