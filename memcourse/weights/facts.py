"""Facts as batches: what is told, what is asked, and what was learned by heart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from memcourse.progress import Label, silent
from memcourse.weights.gpt import GPTShape, TinyGPT
from memcourse.weights.loss import IGNORED, Batch, recalled, row_nll
from memcourse.weights.stack import Stack
from memcourse.weights.training import Recipe, train
from memcourse.weights.words import WordTokenizer, shuffled, side_by_side
from memcourse.world import BACKWARD, FORWARD, PeopleKit, describe_people, make_people


def in_turn(*batches: Callable[[int], Batch]) -> Callable[[int], Batch]:
    """Steps that go to each of several sources of batches in turn."""
    return lambda step: batches[step % len(batches)](step // len(batches))


def questions(kit: PeopleKit, split: str, wordings: Iterable[int] = (0,)) -> list[tuple[str, str]]:
    """(question, answer) for each attribute of each person of a split, in each wording."""
    return [(q.question, q.answer) for wording in wordings for q in kit.questions(split, wording)]


def values_only(tokenizer: WordTokenizer, texts: Sequence[str], kit: PeopleKit) -> Batch:
    """Biographies of which only the attributes' values count, and these only after the name has been said.

    A value that stands before the first name can't be known from the text so far.
    """
    batch = tokenizer.texts(texts)
    values = torch.tensor([tokenizer.ids[value] for person in kit.people for value in person.values.values()]).unique()
    names = torch.tensor([tokenizer.ids[person.name.split()[-1]] for person in kit.people]).unique()
    named = torch.isin(batch.ids, names).cumsum(-1) > 0
    return Batch(batch.ids, torch.where(torch.isin(batch.ids, values) & named, batch.ids, IGNORED))


def _name_first(kit: PeopleKit) -> PeopleKit:
    """The kit without the statements that tell the value before the name."""
    attributes = (
        replace(a, statements=tuple(s for s in a.statements if s.index("{name}") < s.index("{value}")))
        for a in kit.attributes
    )
    return replace(kit, attributes=tuple(attributes))


def _models(tokenizer: WordTokenizer, seeds: Sequence[int], device: str) -> Stack:
    return Stack.built(lambda: TinyGPT(GPTShape(len(tokenizer), d=64, d_ff=128, window=64)), seeds).to(device)


def extraction(
    people: int, wordings: Sequence[int], steps: int, seeds: Sequence[int], device: str = "cpu", progress: Label = silent
) -> dict[str, Any]:
    """Tell the biographies of invented people, one text a row, and ask about half of them, in turn.

    Each person has three attributes and twelve texts, worded in so many ways (1 to 8), sentences in random order. Only
    wordings are used that name the person first, and attributes whose questions repeat no phrase of a statement. The
    people of the kit's split "train" are asked about in three wordings; the others are tested in one of these.

    Returns: "known" (3, wordings, seeds), the shares of biographies known by heart (their values, once the name is said),
    of training questions and of test questions answered; and "chance".
    Source: the design of Allen-Zhu and Li (2023), arXiv 2309.14316.

    Raises:
        ValueError: fewer than two people, or more wordings than there are.
    """
    if people < 2:
        raise ValueError(f"Half of the people are asked about, the others tested: at least 2 are needed, not {people}.")
    kits = [_name_first(make_people(people, ["pet", "trade", "drink"], seed=seed)) for seed in seeds]
    members = [(w, kit) for w in wordings for kit in kits]
    told = [[text for person in kit.people for text in kit.biographies(person, 12, w)] for w, kit in members]
    asked = [questions(kit, "train", (0, 1, 2)) for _, kit in members]
    tested = [questions(kit, "test") for _, kit in members]
    pairs = [" ".join(pair) for some in (*asked, *tested) for pair in some]
    tokenizer = WordTokenizer([*(text for texts in told for text in texts), *pairs])
    stack = _models(tokenizer, [*seeds] * len(wordings), device)
    texts, trained = [tokenizer.texts(t) for t in told], [tokenizer.answers(a) for a in asked]
    batch = in_turn(shuffled(texts, 32, seeds[0]), shuffled(trained, 32, seeds[0]))
    train(stack, batch, Recipe(steps, lr=5e-3, betas=(0.9, 0.98)), progress=progress("biographies and questions"))
    by_heart = [values_only(tokenizer, t, kit) for t, (_, kit) in zip(told, members, strict=True)]
    rows = (by_heart, trained, [tokenizer.answers(t) for t in tested])
    known = [recalled(stack, side_by_side(row)).float().mean(1).tolist() for row in rows]
    return {"known": np.reshape(known, (3, len(wordings), -1)), "chance": kits[0].chance}


REVERSAL_ARMS = {"one wording": FORWARD[:1], "six wordings": FORWARD, "six and three reversed": FORWARD + BACKWARD}


def reversal(
    people: int, steps: int, seeds: Sequence[int], device: str = "cpu", progress: Label = silent
) -> dict[str, Any]:  # fmt: skip
    """Tell who is known by which description, and ask in both directions.

    Two thirds of the people are told as `REVERSAL_ARMS` says and tested, in the first wording of each direction; the
    others are told in both directions in every arm, so that both forms are known. Whatever is asked was told in that very
    wording, where it was told in that direction at all.

    Returns: "known" (3, arms, seeds), the shares of descriptions given the name, of names given the description, and of
    names that are likelier than another tested person's; and "n", the number tested.
    Source: the design of Berglund et al. (2023), arXiv 2309.12288.
    """
    towns, n = [describe_people(people, seed) for seed in seeds], people * 2 // 3
    told = [
        [p.told(w) for p in town[:n] for w in wordings] + [p.told(w) for p in town[n:] for w in FORWARD + BACKWARD]
        for wordings in REVERSAL_ARMS.values() for town in towns
    ]  # fmt: skip
    tokenizer = WordTokenizer([text for texts in told for text in texts])
    stack = _models(tokenizer, [*seeds] * len(REVERSAL_ARMS), device)
    batch = shuffled([tokenizer.texts(texts) for texts in told], 64, seeds[0])
    train(stack, batch, Recipe(steps, lr=5e-3, betas=(0.9, 0.98)), progress=progress("descriptions"))

    def rows(pairs: Sequence[Sequence[tuple[str, str]]]) -> Batch:
        return side_by_side([tokenizer.answers(some) for some in pairs] * len(REVERSAL_ARMS))

    forward = rows([[p.asked(FORWARD[0]) for p in town[:n]] for town in towns])
    asked = [[p.asked(BACKWARD[0]) for p in town[:n]] for town in towns]
    wrong = [[(q, some[i - 1][1]) for i, (q, _) in enumerate(some)] for some in asked]  # the name of the one before
    before = row_nll(stack, rows(asked)) < row_nll(stack, rows(wrong))
    shares = [recalled(stack, forward), recalled(stack, rows(asked)), before]
    return {"known": np.reshape([x.float().mean(1).tolist() for x in shares], (3, len(REVERSAL_ARMS), -1)), "n": n}
