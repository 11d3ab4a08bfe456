"""How logits become tokens, and which tokens end an answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
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


TRIED = 200  # tokens that are tried, the likeliest first, before a copied answer ends


class Copier:
    """The rule that only copies: the likeliest token with which the answer is still a run of whole words of `source`.

    It compares text, not tokens, so it doesn't matter how the source would be tokenised. The answer ends where the model
    would end it (an end token or a new line), but never within a word; where nothing fits, it ends as well.
    """

    def __init__(self, source: str, tokenizer: Any, ends: Collection[int]) -> None:
        self.source = " ".join(source.split())
        self.tokenizer, self.ends = tokenizer, ends
        self._written: list[int] = []

    def __call__(self, logits: torch.Tensor) -> int:
        before = self.tokenizer.decode(self._written).strip()
        for token in logits.topk(min(TRIED, len(logits))).indices.tolist():
            after = self.tokenizer.decode([*self._written, token])
            if token in self.ends or "\n" in after[len(before) :]:
                if self._stands(before, whole=True):
                    return token
            elif self._before_number(before) if after.strip() == before else self._stands(after):
                self._written.append(token)
                return token
        return next(iter(self.ends))

    def whole(self, text: str) -> str:
        """The text without its last word, where the limit of tokens cut that word short."""
        return text if self._stands(text, whole=True) else text.rstrip().rpartition(" ")[0]

    def _before_number(self, before: str) -> bool:
        """Whether a space may follow by itself: once, where the source goes on with what is no letter.

        Tokenizers write a space before digits as a token of its own; before a letter it would be a dead end.
        """
        if self.tokenizer.decode(self._written[-1:]).isspace():
            return False
        return re.search(rf"(?<!\w){re.escape(' '.join(before.split()))}\s*(?<!\S)[^a-zA-Z\s]", self.source) is not None

    def _stands(self, text: str, whole: bool = False) -> bool:
        words = " ".join(text.split())
        pattern = rf"(?<!\w){re.escape(words)}" + (r"(?!\w)" if whole else "")
        return bool(words) and re.search(pattern, self.source) is not None
