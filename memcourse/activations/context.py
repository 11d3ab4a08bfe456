"""Does a long context still work? The same question with more and more text around its passage. See notebook 02."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from memcourse.model.lm import LanguageModel


class Needle(NamedTuple):
    """One question in a haystack: the passage that answers it, the right answer, and a rival answer with its passage."""

    question: str
    passage: str
    gold: str
    rival: str
    rival_passage: str


class Found(NamedTuple):
    """What `margins` measured for each needle.

    margin: log-probability of the right answer minus that of the rival, in nats; above 0 the right one is preferred.
    position: where the middle of its passage stood, from 0 (beginning) to 1 (end).
    """

    margin: np.ndarray
    position: np.ndarray


def margins(
    lm: LanguageModel,
    needles: Sequence[Needle],
    filler: Sequence[str],
    tokens: int,
    *,
    with_rivals: bool = False,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Found:
    """Ask each needle's question after a context of about so many tokens that holds its passage.

    Needles share contexts, so that each context is read once: their passages, in random order among filler, are
    the hay for each other. Without rivals, no context holds the passage that states the rival answer of a needle
    asked there; with rivals, each does. The pairs of answers are the same in both cases, so the arms are paired.

    Args:
        filler: passages that answer none of the questions.
        tokens: length of the context; at least one needle's passages must fit.

    Raises:
        ValueError: a needle's passages don't fit, or the filler doesn't fill the context.
    """
    rng = np.random.default_rng([seed, tokens, with_rivals])
    size = {
        text: len(lm.encode(text)) + 1 for text in {*filler, *(t for n in needles for t in (n.passage, n.rival_passage))}
    }
    margin, position = np.zeros(len(needles)), np.zeros(len(needles))
    done = 0
    for group in _groups(needles, size, tokens, with_rivals, rng):
        texts = list(dict.fromkeys(text for i in group for text in _needed(needles[i], with_rivals)))
        texts = _filled(texts, filler, size, tokens, rng)
        context = lm.prefix("\n".join(texts) + "\n\n")
        prompts = [f"Question: {needles[i].question}\nAnswer:" for i in group]
        answers = [[f" {needles[i].gold}", f" {needles[i].rival}"] for i in group]
        starts = np.cumsum([0, *(size[text] for text in texts)])
        for i, (right, wrong) in zip(group, lm.score(prompts, answers, prefix=context), strict=True):
            place = texts.index(needles[i].passage)
            margin[i], position[i] = right - wrong, (starts[place] + starts[place + 1]) / 2 / starts[-1]
        done += len(group)
        if progress:
            progress(done, len(needles))
    return Found(margin, position)


def _needed(needle: Needle, with_rivals: bool) -> list[str]:
    return [needle.passage, needle.rival_passage] if with_rivals else [needle.passage]


def _groups(
    needles: Sequence[Needle], size: dict[str, int], tokens: int, with_rivals: bool, rng: np.random.Generator
) -> list[list[int]]:
    """Needles that can share a context: their passages fit, and (without rivals) none brings another one's rival."""
    groups: list[tuple[list[int], set[str]]] = []
    for i in rng.permutation(len(needles)).tolist():
        mine = set(_needed(needles[i], with_rivals))
        if sum(size[text] for text in mine) > tokens:
            raise ValueError(f"A context of {tokens} tokens can't hold the passages of {needles[i].question!r}.")
        for group, texts in groups:
            clash = not with_rivals and (
                needles[i].rival_passage in texts or any(needles[j].rival_passage in mine for j in group)
            )
            if not clash and sum(size[text] for text in texts | mine) <= tokens:
                group.append(i)
                texts |= mine
                break
        else:
            groups.append(([i], mine))
    return [group for group, _ in groups]


def _filled(
    texts: list[str], filler: Sequence[str], size: dict[str, int], tokens: int, rng: np.random.Generator
) -> list[str]:
    """The texts and as much filler as fits, in random order."""
    room = tokens - sum(size[text] for text in texts)
    for k in rng.permutation(len(filler)):
        if size[filler[k]] <= room and filler[k] not in texts:
            texts = [*texts, filler[k]]
            room -= size[filler[k]]
    if room > tokens / 4 and room > 60:
        raise ValueError(f"The filler leaves {room} of {tokens} tokens empty; give more of it.")
    return [texts[k] for k in rng.permutation(len(texts))]
