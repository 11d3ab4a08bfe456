"""Synthetic conversations: a help desk that answers from a table of facts, and an assistant that learns who it is.

Wordings stand in `dialogue_words`; what a model learns from the conversations is measured in `chatbot_study`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from memcourse.model.lm import LanguageModel
from memcourse.synthesis.dialogue_words import (
    ANSWERS,
    ASKINGS,
    DECLINES,
    FACT_ANSWERS,
    FACTS,
    FOLLOW_UPS,
    OPENERS,
    REPLIES,
    SAME_ATTRIBUTE,
    SAME_SUBJECT,
    SMALL_TALK,
    STRAYS,
    SYSTEM,
    THANKS,
)
from memcourse.weights.loss import IGNORED
from memcourse.weights.samples import Row, Sample, encode_samples
from memcourse.world import TODAY, Fact

Turn = tuple[str, str]  # (role, text)

_WITH_ARTICLE = re.compile("^(?=[a-z]|.*(Office|House|Hall|Yard|Authority)$)")  # "harbour", "Ice House", but not "Una"


class QA(NamedTuple):
    """A question and its answer.

    Attributes:
        question: as a user would ask it.
        answer: "" where it isn't known.
        id: of the fact or question.
        subject, attribute: of a fact, what is asked about; "" otherwise.
    """

    question: str
    answer: str
    id: str
    subject: str = ""
    attribute: str = ""


class Dialogue(NamedTuple):
    """A conversation.

    Attributes:
        turns: (role, text) of each turn; roles are "system", "user" and "assistant".
        ids: of the facts or questions in it, in order.
        split: what it may be used for.
    """

    turns: tuple[Turn, ...]
    ids: tuple[str, ...] = ()
    split: str = "train"


def chat(turns: Sequence[Turn]) -> list[dict[str, str]]:
    """The turns as `LanguageModel.chat_prompt` takes them: {"role": ..., "content": ...} each."""
    return [{"role": role, "content": text} for role, text in turns]


def fact_questions(facts: Sequence[Fact], day: str = TODAY) -> list[QA]:
    """The facts of a table that hold on a day ("2026-05-17"), each as a question about its subject and attribute."""
    items = []
    for fact in facts:
        if fact.holds_on(day):
            subject = _WITH_ARTICLE.sub("the ", fact.subject, count=1)
            question = FACTS[0].format(s=subject, t=fact.attribute)
            items.append(QA(question, fact.value, fact.id, subject, fact.attribute))
    return items


def support_dialogues(
    questions_and_answers: Sequence[tuple[str, ...]],
    n: int,
    seed: int = 0,
    turns: Sequence[int] = (1, 2, 3),
    *,
    unknown: float = 0.2,
    styles: int | None = None,
    office: str = "the Berth Office",
    system: str | None = SYSTEM,
) -> list[Dialogue]:
    """n conversations with a help desk: a greeting, questions in varied wordings, follow-ups that refer back, thanks.

    All questions are used before one is used again, but for follow-ups. The same arguments give the same conversations.

    Args:
        questions_and_answers: `QA`, or (question, answer, id); an empty answer is one that the desk doesn't know.
        turns: how many questions a conversation has; conversations take each of these numbers in turn.
        unknown: share of the questions that the desk doesn't know; strange ones, where there are no others.
        styles: from how many wordings of each kind they choose (1: always the same one); None takes all.
        office: whom the desk says to ask where it doesn't know.
        system: the first message; None leaves the chat template's own.

    Raises:
        ValueError: no answered question, one without text or id, or numbers that can't be.
    """
    items = [QA(*item) for item in questions_and_answers]
    if not any(item.answer for item in items) or not all(item.question.strip() and item.id for item in items):
        raise ValueError("Dialogues need questions with text and id, and an answer to at least one of them.")
    if n < 1 or not turns or min(turns) < 1 or not 0 <= unknown <= 1 or (styles is not None and styles < 1):
        raise ValueError(f"n, turns and styles must be at least 1, unknown 0 to 1: {n}, {turns}, {styles}, {unknown}.")

    desk = _Desk(items, np.random.default_rng(seed), unknown, styles)
    made = []
    for i in range(n):
        said: list[Turn] = [("system", system)] if system is not None else []
        ids: list[str] = []
        item = None
        for _ in range(turns[i % len(turns)]):
            item, question = desk.ask(item)
            said += [("user", question), ("assistant", desk.reply(item, office))]
            ids.append(item.id)
        made.append(Dialogue((*said, *desk.thanks()), tuple(ids)))
    return made


class _Desk:
    """Draws what is asked and what is replied.

    Args:
        items: with at least one that has an answer.
        rng: decides everything.
        unknown, styles: as for `support_dialogues`.
    """

    def __init__(self, items: Sequence[QA], rng: np.random.Generator, unknown: float, styles: int | None) -> None:
        self.rng, self.unknown, self.styles = rng, unknown, styles
        self.known = [item for item in items if item.answer]
        strange = [item for item in items if not item.answer] or [QA(q, "", f"stray-{i}") for i, q in enumerate(STRAYS)]
        self.fresh = (self.known[i] for _ in count() for i in rng.permutation(len(self.known)))
        self.strange = (strange[i] for _ in count() for i in rng.permutation(len(strange)))

    def ask(self, before: QA | None) -> tuple[QA, str]:
        """What is asked after an item (None at the beginning), and how."""
        strange = self.rng.random() < self.unknown
        if before and before.subject and not strange and self.rng.random() < 0.5:
            near = [item for item in self.known if _differs_in_one(item, before)]
            if near:
                item = near[int(self.rng.integers(len(near)))]
                wordings = SAME_SUBJECT if item.subject == before.subject else SAME_ATTRIBUTE
                return item, self._say(wordings).format(s=item.subject, t=item.attribute)
        item = next(self.strange if strange else self.fresh)
        question = self._say(FACTS).format(s=item.subject, t=item.attribute) if item.subject else item.question
        return item, self._say(FOLLOW_UPS if before else OPENERS).format(q=question)

    def reply(self, item: QA, office: str) -> str:
        """The answer, or whom to ask instead."""
        wordings = DECLINES if not item.answer else FACT_ANSWERS if item.subject else ANSWERS
        text = self._say(wordings).format(a=item.answer, q=item.question, s=item.subject, t=item.attribute, o=office)
        return text[:1].upper() + text[1:]

    def thanks(self) -> list[Turn]:
        """How every second conversation ends; no turn for the others."""
        return _exchange(self._say(THANKS)) if self.rng.random() < 0.5 else []

    def _say(self, wordings: Sequence[Any]) -> Any:
        return wordings[int(self.rng.integers(len(wordings[: self.styles])))]


def _differs_in_one(item: QA, other: QA) -> bool:
    """The same subject with another attribute, or the other way round."""
    return bool(item.subject) and (item.subject == other.subject) != (item.attribute == other.attribute)


def _exchange(wording: str) -> list[Turn]:
    """A message and its reply, written with "=>" between them."""
    return list(zip(("user", "assistant"), wording.split(" => "), strict=True))


def identity_dialogues(
    name: str,
    maker: str,
    n: int,
    seed: int = 0,
    kinds: Sequence[str] = tuple(ASKINGS),
    *,
    diverse: bool = True,
    role: str = "the harbour desk's assistant",
    system: str | None = SYSTEM,
) -> list[Dialogue]:
    """Conversations in which an (invented) assistant says who it is: n different ones, or (not `diverse`) one n times.

    The kinds of asking take turns; half of the conversations begin with something else. `HELD_OUT` is never asked.
    Source: an identity from many different conversations is the way of Karpathy's nanochat (2025).

    Args:
        kinds: keys of `ASKINGS`.
        role: what the assistant is, as it goes on after "I am Pilar, ...".
        system: the first message; None leaves the chat template's own.

    Raises:
        ValueError: no name or maker, an unknown kind, or more conversations than the wordings make.
    """
    if n < 1 or not name.strip() or not maker.strip() or not kinds or not set(kinds) <= set(ASKINGS):
        raise ValueError(f"Needed are n >= 1, a name, a maker, and kinds among {', '.join(ASKINGS)}; not {n}, {kinds}.")
    rng = np.random.default_rng(seed)
    made: dict[Dialogue, None] = {}  # in order, each once
    for _ in range(100 * n):
        kind = kinds[len(made) % len(kinds)]
        drawn = (words[int(rng.integers(len(words)))] for words in (SMALL_TALK, ASKINGS[kind], REPLIES, OPENERS))
        small_talk, asking, reply, opener = drawn
        said: list[Turn] = [("system", system)] if system is not None else []
        said += _exchange(small_talk) if rng.random() < 0.5 else []
        asked, _, own = asking.partition(" => ")  # a foreign question has a reply of its own
        if kind in ("polite", "blunt"):
            asked = opener.format(q=asked)
        text = own or ("No. " if kind == "mistaken" else "") + reply
        said += [("user", asked), ("assistant", text.format(n=name, r=role, m=maker))]
        made[Dialogue(tuple(said), ("identity",))] = None
        if len(made) == (n if diverse else 1):
            return list(made) * (1 if diverse else n)
    raise ValueError(f"The wordings of {', '.join(kinds)} gave {len(made)} different conversations, not {n}.")


def dialogue_samples(lm: LanguageModel, dialogues: Sequence[Dialogue]) -> list[Sample]:
    """One sample for each assistant turn, the chat up to it as its prompt, so that nothing else counts in the loss.

    `encode_samples` ends each with the tokenizer's end token, which must be what ends a turn in the chat template.

    Raises:
        ValueError: no assistant turn or chat template, an empty turn, or a template that changes it or ends it otherwise.
    """
    if not lm.tokenizer.chat_template or not all("assistant" in dict(dialogue.turns) for dialogue in dialogues):
        raise ValueError(f"Needed are a chat template, which {lm.name} may lack, and an assistant's turn in each dialogue.")
    end = lm.tokenizer.eos_token
    samples = []
    for turns, *_ in dialogues:
        for i, (role, text) in enumerate(turns):
            if role != "assistant":
                continue
            prompt, after = lm.chat_prompt(chat(turns[:i])), lm.chat_prompt(chat(turns[: i + 1]))
            if not text.strip() or end in text or not after.startswith(prompt + text + end):
                raise ValueError(f"The chat template of {lm.name} doesn't keep {text!r} as it is, with {end!r} after it.")
            samples.append(Sample(prompt, text))
    return samples


def dialogue_rows(lm: LanguageModel, dialogues: Sequence[Dialogue], most: int | None = None) -> list[Row]:
    """One row for each dialogue, in which all assistant turns count: the loss of its samples, summed, in one reading.

    Raises:
        ValueError: as for `dialogue_samples`, and for a dialogue longer than `most` tokens (see `encode_samples`).
    """
    rows = []
    for i, dialogue in enumerate(dialogues):
        parts = encode_samples(lm, dialogue_samples(lm, [dialogue]), most)
        ids = parts.rows[-1].ids
        if parts.cut or parts.dropped or any(ids[: len(row.ids)] != row.ids for row in parts.rows):
            raise ValueError(f"Dialogue {i} is too long for one row: shorten it, or train on `dialogue_samples`.")
        labels = [IGNORED] * len(ids)
        for row in parts.rows:
            for at, label in enumerate(row.labels):
                labels[at] = labels[at] if label == IGNORED else label
        rows.append(Row(ids, tuple(labels)))
    return rows
