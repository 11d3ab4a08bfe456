"""Where in the network a fact is looked up: knock parts out, or patch states in, layer by layer.

Sources: Meng et al. 2022 (arXiv 2202.05262), Geva et al. 2023 (arXiv 2304.14767).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from memcourse.activations.hooks import last_logits, watch
from memcourse.activations.intervene import Part, cut, knockout, patched
from memcourse.model.batching import Batch
from memcourse.progress import Progress


@dataclass(frozen=True)
class Facts:
    """Prompts that end right before a fact, as one padded batch.

    Attributes:
        prompts: the texts.
        batch: their tokens, padded on the left.
        subject: (n,) where each prompt's subject ends, as a position in the padded batch.
        last: (n,) where each prompt ends (the same place for all).
        answers: (n,) first token of the right answer.
    """

    prompts: tuple[str, ...]
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
    return Facts(
        tuple(prompts),
        Batch.of(rows, lm.device),
        torch.tensor(ends),
        torch.full((len(rows),), width - 1),
        torch.tensor(first),
    )


def _last_token(lm: Any, prompt: str, end: int) -> int:
    """Number of the token that holds character `end - 1`."""
    offsets = lm.tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    return max(i for i, (start, _) in enumerate(offsets) if start < end)


@torch.no_grad()
def answer_logprobs(lm: Any, facts: Facts, answers: torch.Tensor | None = None) -> np.ndarray:
    """(n,) log-probability of each answer's first token; with `answers` of shape (n,) or (n, k), of those tokens."""
    logits = last_logits(lm, facts.batch)
    wanted = (facts.answers if answers is None else answers).to(logits.device)
    found = logits.float().log_softmax(-1).gather(1, wanted.reshape(len(wanted), -1))
    return found.reshape(wanted.shape).cpu().numpy()


def _lost(lm: Any, facts: Facts, changes: Sequence[AbstractContextManager[None]], progress: Progress | None) -> np.ndarray:
    """(changes, n) log-probability that each fact loses under each change of the running model."""
    intact = answer_logprobs(lm, facts)
    lost = []
    for i, change in enumerate(changes):
        with change:
            lost.append(intact - answer_logprobs(lm, facts))
        if progress:
            progress(i + 1, len(changes))
    return np.stack(lost)


def knockout_sweep(
    lm: Any, facts: Facts, part: Part, tokens: torch.Tensor, layers: Sequence[int], width: int = 5,
    progress: Progress | None = None,
) -> np.ndarray:  # fmt: skip
    """How much log-probability each fact loses when `width` neighbouring blocks lose a part at one token.

    Returns:
        (len(layers), n) nats lost; row i has blocks layers[i] to layers[i] + width - 1 knocked out.

    Raises:
        ValueError: a window that reaches beyond the last block.
    """
    return _lost(lm, facts, [knockout(lm, range(layer, layer + width), part, tokens) for layer in layers], progress)


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
    both = torch.stack([facts.answers[donor], facts.answers], dim=1)
    margins = []
    for i, layer in enumerate(layers):
        with patched(lm, layer, tokens, states[i][donor]):
            found = answer_logprobs(lm, facts, both)
        margins.append(found[:, 0] - found[:, 1])
        if progress:
            progress(i + 1, len(layers))
    return np.stack(margins)


def cut_sweep(lm: Any, facts: Facts, layers: Sequence[int], width: int = 5, progress: Progress | None = None) -> np.ndarray:
    """How much log-probability each fact loses when the last token can't look at the subject, in `width` blocks.

    Returns:
        (len(layers), n) nats lost, as in `knockout_sweep`.
    """
    changes = [cut(lm, range(layer, layer + width), facts.last, facts.subject) for layer in layers]
    return _lost(lm, facts, changes, progress)


def trace(lm: Any, facts: Facts, step: int = 1, width: int = 3, progress: Progress | None = None) -> dict[str, np.ndarray]:
    """The sweeps of notebook 01, over every `step`-th block; each prompt's donor for patching is the next prompt.

    Returns:
        "blocks", and for them "patch subject" and "patch last" as `patch_sweep` returns them; "windows", and for them
        "mlp subject", "mlp last", "attention last" as `knockout_sweep` and "cut" as `cut_sweep` return them (nats
        lost; the window has the block and its `width` - 1 followers). Blocks count from 0.
    """
    n = lm.model.config.num_hidden_layers
    blocks = list(range(0, n, step))
    windows = [block for block in blocks if block + width <= n]
    donors = np.roll(np.arange(len(facts.last)), -1).tolist()
    sweeps: dict[str, Callable[[], np.ndarray]] = {
        "patch subject": lambda: patch_sweep(lm, facts, donors, "subject", blocks),
        "patch last": lambda: patch_sweep(lm, facts, donors, "last", blocks),
        "mlp subject": lambda: knockout_sweep(lm, facts, "mlp", facts.subject, windows, width),
        "mlp last": lambda: knockout_sweep(lm, facts, "mlp", facts.last, windows, width),
        "attention last": lambda: knockout_sweep(lm, facts, "attention", facts.last, windows, width),
        "cut": lambda: cut_sweep(lm, facts, windows, width),
    }
    found = {"blocks": np.array(blocks), "windows": np.array(windows)}
    for done, (name, sweep) in enumerate(sweeps.items(), 1):
        found[name] = sweep()
        if progress:
            progress(done, len(sweeps))
    return found


@torch.no_grad()
def _states_at(lm: Any, facts: Facts, tokens: torch.Tensor, layers: Sequence[int]) -> list[torch.Tensor]:
    paths = [f"model.layers.{layer}" for layer in layers]
    with watch(lm.model, keep=paths) as (_, kept):
        last_logits(lm, facts.batch)
    rows = torch.arange(len(tokens))
    return [kept[path][rows, tokens] for path in paths]
