"""Where in the network a fact is looked up: knock parts out, or patch states in, layer by layer.

Sources: Meng et al. 2022 (arXiv 2202.05262), Geva et al. 2023 (arXiv 2304.14767).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from memcourse.activations.intervene import Part, knockout, patched
from memcourse.model.batching import Batch

Progress = Callable[[int, int], None]
PARTS: tuple[Part, ...] = ("mlp", "attention")


@dataclass(frozen=True)
class Facts:
    """Prompts that end right before a fact, as one padded batch.

    Attributes:
        batch: the prompts, padded on the left.
        subject: (n,) where each prompt's subject ends, as a position in the padded batch.
        last: (n,) where each prompt ends (the same place for all).
        answers: (n,) first token of the right answer.
    """

    batch: Batch
    subject: torch.Tensor
    last: torch.Tensor
    answers: torch.Tensor


def prepare_facts(lm: Any, template: str, subjects: Sequence[str], answers: Sequence[str]) -> Facts:
    """Fill the template ("... {} ...") with subjects and find the tokens at which each subject and prompt end.

    Raises:
        ValueError: no subjects, different lengths, or a template without "{}".
    """
    if not subjects or len(subjects) != len(answers):
        raise ValueError(f"{len(subjects)} subjects and {len(answers)} answers; give one answer for each, at least one.")
    before, placeholder, _ = template.partition("{}")
    if not placeholder:
        raise ValueError(f"The template {template!r} has no {{}} for the subject.")
    prompts = [template.format(subject) for subject in subjects]
    rows = [lm.encode(prompt) for prompt in prompts]
    width = max(len(row) for row in rows)
    ends = [width - len(row) + _last_token(lm, prompt, len(before + subject)) for row, prompt, subject in
            zip(rows, prompts, subjects, strict=True)]  # fmt: skip
    first = [lm.encode(" " + answer)[0] for answer in answers]
    return Facts(Batch.of(rows, lm.device), torch.tensor(ends), torch.full((len(rows),), width - 1), torch.tensor(first))


def _last_token(lm: Any, prompt: str, end: int) -> int:
    """Number of the token that holds character `end - 1`."""
    offsets = lm.tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    return max(i for i, (start, _) in enumerate(offsets) if start < end)


@torch.no_grad()
def answer_logprobs(lm: Any, facts: Facts, answers: torch.Tensor | None = None) -> np.ndarray:
    """(n,) log-probability of each answer's first token (of other tokens, if given)."""
    batch = facts.batch
    logits = lm.model(input_ids=batch.ids, attention_mask=batch.mask, position_ids=batch.positions, use_cache=False,
                      logits_to_keep=1).logits[:, -1]  # fmt: skip
    wanted = (facts.answers if answers is None else answers).to(logits.device)
    return logits.float().log_softmax(-1).gather(1, wanted[:, None])[:, 0].cpu().numpy()


def knockout_sweep(
    lm: Any, facts: Facts, part: Part, tokens: torch.Tensor, layers: Sequence[int], width: int = 5,
    progress: Progress | None = None,
) -> np.ndarray:  # fmt: skip
    """How much log-probability each fact loses when `width` neighbouring blocks lose a part at one token.

    Returns:
        (len(layers), n) nats lost; row i has blocks layers[i] to layers[i] + width - 1 knocked out.
    """
    intact = answer_logprobs(lm, facts)
    n = lm.model.config.num_hidden_layers
    lost = []
    for i, layer in enumerate(layers):
        with knockout(lm, range(layer, min(layer + width, n)), part, tokens):
            lost.append(intact - answer_logprobs(lm, facts))
        if progress:
            progress(i + 1, len(layers))
    return np.stack(lost)


def patch_sweep(
    lm: Any, facts: Facts, donors: Sequence[int], where: str, layers: Sequence[int], progress: Progress | None = None
) -> np.ndarray:
    """Move the residual stream of a donor prompt into each prompt, at one token and layer; does the answer follow?

    Args:
        donors: for each prompt the number of the prompt whose state it gets.
        where: "subject" or "last", the token whose state is moved.

    Returns:
        (len(layers), n) log-probability of the donor's answer minus that of the own answer, in nats.
    """
    if where not in ("subject", "last"):
        raise ValueError(f"Unknown place {where!r}; use 'subject' or 'last'.")
    tokens = facts.subject if where == "subject" else facts.last
    donor = torch.as_tensor(list(donors))
    states = _states_at(lm, facts, tokens, layers)
    margins = []
    for i, layer in enumerate(layers):
        with patched(lm, layer, tokens, states[i][donor]):
            margins.append(answer_logprobs(lm, facts, facts.answers[donor]) - answer_logprobs(lm, facts))
        if progress:
            progress(i + 1, len(layers))
    return np.stack(margins)


def trace(lm: Any, facts: Facts, step: int = 1, width: int = 3, progress: Progress | None = None) -> dict[str, np.ndarray]:
    """All sweeps over every `step`-th block, at the subject's token ("subject") and at the last one ("last").

    Each prompt's donor for patching is the next prompt.

    Returns:
        "blocks": the block numbers; "patch subject", "patch last", "mlp subject", "mlp last", "attention subject",
        "attention last": arrays (blocks, n) as `patch_sweep` and `knockout_sweep` return them.
    """
    blocks = list(range(0, lm.model.config.num_hidden_layers, step))
    donors = np.roll(np.arange(len(facts.last)), -1).tolist()
    found: dict[str, np.ndarray] = {"blocks": np.array(blocks)}
    for place, tokens in (("subject", facts.subject), ("last", facts.last)):
        found[f"patch {place}"] = patch_sweep(lm, facts, donors, place, blocks)
        for part in PARTS:
            found[f"{part} {place}"] = knockout_sweep(lm, facts, part, tokens, blocks, width)
            if progress:
                progress(len(found) - 1, 6)
    return found


@torch.no_grad()
def _states_at(lm: Any, facts: Facts, tokens: torch.Tensor, layers: Sequence[int]) -> list[torch.Tensor]:
    from memcourse.activations.hooks import watch

    batch, paths = facts.batch, [f"model.layers.{layer}" for layer in layers]
    with watch(lm.model, keep=paths) as (_, kept):
        lm.model(input_ids=batch.ids, attention_mask=batch.mask, position_ids=batch.positions, use_cache=False,
                 logits_to_keep=1)  # fmt: skip
    rows = torch.arange(len(tokens))
    return [kept[path][rows, tokens] for path in paths]
