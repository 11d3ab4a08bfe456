"""How much does one more text say that the texts before it did not? Counted in bits by a language model that reads them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from memcourse.model.batching import check_texts
from memcourse.model.lm import LanguageModel


@torch.no_grad()
def added_bits(lm: LanguageModel, texts: Sequence[str]) -> list[float]:
    """Bits that each text costs a model which has just read the ones before it, in this order.

    A text costs minus the binary logarithm of its probability: what it would take up if the model compressed it. What the
    model knew, or could foresee after the texts before, costs little. A new wording costs as a new fact does, so a text
    adds at most so much in facts. Each text begins a line of its own, the first one after a line break.

    Source: Shannon, "A Mathematical Theory of Communication" (1948); Delétang et al., "Language Modeling Is Compression"
    (2023), arXiv 2309.10668.

    Raises:
        ValueError: an empty text, or texts that together don't fit into the model's window.
    """
    line, encoded = lm.encode("\n"), [lm.encode(text) for text in check_texts(texts, "text")]
    ids = [token for some in encoded for token in (*line, *some)]
    if len(ids) > lm.window:
        raise ValueError(f"The texts have {len(ids):,} tokens together; the window is {lm.window:,}. Give fewer of them.")
    if not ids:
        return []
    states = lm.model.model(torch.tensor([ids], device=lm.device)).last_hidden_state[0]
    bits, at = [], 0
    for some in encoded:  # the logits of one text at a time: of all together they would take up gigabytes
        at += len(line)
        logits = lm.model.lm_head(states[at - 1 : at - 1 + len(some)]).float()
        target = torch.tensor(some, device=lm.device)
        bits.append(torch.nn.functional.cross_entropy(logits, target, reduction="sum").item() / math.log(2))
        at += len(some)
    return bits
