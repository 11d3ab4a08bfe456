"""Facts as batches: what is told, what is asked, and what was learned by heart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch

from memcourse.weights.loss import IGNORED, Batch
from memcourse.weights.words import WordTokenizer
from memcourse.world import PeopleKit


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
