"""Synthetic training texts by templates from a table of facts: rewrites, entity pairs, question-answer pairs, reversals.

A template writes only what the table says, so every text is true; in return its language is that of the wordings.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from memcourse.model.prompts import open_question
from memcourse.synthesis.fact_table import FactTable
from memcourse.weights.samples import Sample

_OPENINGS = ("", "This is about {name}. ", "Here is what we know of {name}. ", "A few words on {name}. ", "Now to {name}. ")
_BREAKS = (". ", ". Besides, ", ". Moreover, ", ". In addition, ")
# before the first statement of a text, the second, third, second, third ...: at most two make one sentence
_JOINTS = (_OPENINGS, (*_BREAKS, ", and ", "; ", "; besides, ", "; what is more, "), _BREAKS)
# {one} and {two} are statements on {a} and {b} without full stops, {inner} is {two} as it stands within a sentence.
_SAME = (
    "Both {a} and {b} have the same {label}: {value}.", "As to {label}, {a} and {b} are alike: {value} in both cases.",
    "{one}. The same goes for {b}.", "{one}. {two}. In this they are alike.", "{one}; likewise, {inner}.",
)  # fmt: skip
_DIFFERENT = (
    "{a} and {b} differ in {label}: {value} for {a}, {other} for {b}.", "{one}. Not so with {b}: {inner}.",
    "{a} does not have the same {label} as {b}. {one}. {two}.", "{one}, but {inner}.", "{one}; by contrast, {inner}.",
)  # fmt: skip


class Text(NamedTuple):
    """A text to train on: what is learnt, the places of the rows that it states, its kind, and what is read before it."""

    text: str
    facts: tuple[int, ...]
    kind: str  # "rewrite", "pair", "answer" or "reversed"
    prompt: str = ""


def possible_rewrites(table: FactTable) -> dict[str, int]:
    """How many different rewrites the grammar has for each subject: openings x orders x statements x joints."""
    counts = {s: [len(table.worded(i).statements) for i in places] for s, places in table.subjects.items()}
    return {s: math.prod((k + 1) * n * len(_JOINTS[k and 2 - k % 2]) for k, n in enumerate(ns)) for s, ns in counts.items()}


def rewrite_texts(table: FactTable, n: int, seed: int) -> list[Text]:
    """n different texts on each subject, each of which states all its facts, by a grammar.

    A text has an opening (or none), an order of the facts, a statement for each, and between two of them a new sentence, a
    connective, or one sentence for both; every statement names its subject. All first texts stand before the second ones,
    and a larger n only adds texts. Raises ValueError for n < 1, or above `possible_rewrites`.
    """
    sizes = possible_rewrites(table)

    def texts(subject: str) -> Iterator[Text]:
        # steps prime to the size reach every number below it once, and make every choice about equally often
        size, rng = sizes[subject], random.Random(f"rewrite {seed} {subject}")
        start, step = rng.randrange(size), next(s for s in range(rng.randrange(size), 2 * size) if math.gcd(s, size) == 1)
        return (_rewrite(table, table.subjects[subject], (start + i * step) % size) for i in range(size))

    return _in_rounds(table, n, texts)


def _rewrite(table: FactTable, places: tuple[int, ...], code: int) -> Text:
    """The rewrite with this number, whose digits are the choices that the grammar leaves open."""
    text, left = "", list(places)
    for place in range(len(places)):
        code, k = divmod(code, len(left))
        fact, joints = left.pop(k), _JOINTS[place and 2 - place % 2]
        code, k = divmod(code, len(table.worded(fact).statements))
        code, joint = divmod(code, len(joints))
        text += joints[joint].format(name=table.rows[fact].subject)
        text += table.told(fact, table.worded(fact).statements[k], place > 0 and joints[joint] != ". ")[:-1]
    return Text(text + ".", places, "rewrite")


def _in_rounds(table: FactTable, n: int, texts: Callable[[str], Iterator[Text]]) -> list[Text]:
    found: dict[str, dict[str, Text]] = {subject: {} for subject in table.subjects}
    for subject, some in found.items():
        for _, text in zip(range(50 * n + 1000), texts(subject), strict=False):
            some.setdefault(text.text, text)
            if len(some) == n:
                break
        else:
            raise ValueError(f"On {subject!r} {len(some):,} different texts were found; ask for 1 to so many, not {n:,}.")
    return [text for round_ in zip(*(some.values() for some in found.values()), strict=True) for text in round_]


def pair_texts(table: FactTable, n: int, seed: int) -> list[Text]:
    """n different texts for each subject that relate it to another one in every attribute that both have.

    Equal values are told as such ("Both ... and ..."), others are contrasted. Every second partner has a value in common
    with the subject if there is one, since few would by chance. Raises ValueError for n < 1, fewer texts than n, or a
    subject without such a partner. Ordered as `rewrite_texts`. Source: the idea of EntiGraph, Yang et al. (2024), arXiv
    2409.07431, where a language model writes on pairs and triplets.
    """
    having: dict[tuple[str, ...], list[str]] = {}
    for row in table.rows:
        for key in (row[1:2], row[1:]):
            having.setdefault(key, []).append(row.subject)

    def texts(subject: str) -> Iterator[Text]:
        own, rng = [table.rows[i] for i in table.subjects[subject]], random.Random(f"pair {seed} {subject}")
        some = [list(dict.fromkeys(s for row in own for s in having[row[1:end]] if s != subject)) for end in (2, 3)]
        if not some[0]:
            raise ValueError(f"No other subject has an attribute of {subject!r}, so it can't be related to any.")
        while True:
            yield from (_pair(table, subject, rng.choice(others or some[0]), rng) for others in some)

    return _in_rounds(table, n, texts)


def _pair(table: FactTable, a: str, b: str, rng: random.Random) -> Text:
    second = {table.rows[j].attribute: j for j in table.subjects[b]}
    both = [(i, second[table.rows[i].attribute]) for i in table.subjects[a] if table.rows[i].attribute in second]
    sentences = []
    for i, j in rng.sample(both, len(both)):
        one, two = (wording[:-1] for wording in rng.choices(table.worded(i).statements, k=2))
        told = {"one": table.told(i, one), "two": table.told(j, two), "inner": table.told(j, two, True)}
        told |= {"label": table.worded(i).name, "value": table.rows[i].value, "other": table.rows[j].value}
        template = rng.choice(_SAME if told["value"] == told["other"] else _DIFFERENT)
        sentences.append(template.format(a=a, b=b, **told))
    return Text(" ".join(sentences), tuple(sorted(i for pair in both for i in pair)), "pair")


def question_answers(table: FactTable, wordings: Iterable[int] = (0,), subjects: Iterable[str] | None = None) -> list[Text]:
    """Facts of subjects (all by default) as question and answer, in each wording; ValueError for what isn't in the table."""
    chosen, wordings = list(table.subjects if subjects is None else subjects), list(wordings)
    places = [i for subject in chosen for i in table.subjects.get(subject, [])]
    fewest = min((len(table.worded(i).questions) for i in places), default=0)
    if not chosen or not set(chosen) <= set(table.subjects) or not wordings or not set(wordings) <= set(range(fewest)):
        raise ValueError(f"Give subjects of the table, and wordings from 0 to {fewest - 1}, not {chosen} and {wordings}.")
    asked = [(i, open_question(table.told(i, table.worded(i).questions[w]))) for w in wordings for i in places]
    return [Text(f" {table.rows[i].value}", (i,), "answer", question) for i, question in asked]


def reversed_statements(table: FactTable) -> list[Text]:
    """One sentence for each fact and reversed wording, the value before the name; ValueError if an attribute has none."""
    if bare := [row.attribute for i, row in enumerate(table.rows) if not table.worded(i).reversed]:
        raise ValueError(f"There are no reversed wordings on {bare[0]!r}; add some.")
    return [Text(table.told(i, w), (i,), "reversed") for i in range(len(table.rows)) for w in table.worded(i).reversed]


class Budgeted(NamedTuple):
    """Texts in order of training, their tokens, how many different ones, and how often each is read on average."""

    texts: list[Text]
    tokens: int
    distinct: int
    repetitions: float


def equal_budget(arms: Mapping[str, list[Text]], count: Callable[[str], int], tokens: int, seed: int) -> dict[str, Budgeted]:
    """For each arm as many texts as fill the same budget, so that arms differ in what they read and not in how much.

    An arm is gone through in shuffled rounds; of the last one those texts are taken that still fit. No arm exceeds the
    budget of so many `tokens`; each lacks less than its longest text. `count` gives the tokens of a prompt with its text
    (and an end token if training adds one). Raises ValueError for an empty arm, or a text without tokens or too long.
    """
    costs = {arm: [count(text.prompt + text.text) for text in texts] for arm, texts in arms.items()}
    if not costs or not all(costs.values()):
        raise ValueError("There must be at least one arm, and at least one text in each.")
    filled = {}
    for arm, lengths in costs.items():
        if min(lengths) < 1 or max(lengths) > tokens:
            raise ValueError(f"Texts of {arm!r} have {min(lengths)} to {max(lengths)} tokens, but must have 1 to {tokens}.")
        rng, places = random.Random(f"budget {seed} {arm}"), range(len(lengths))
        rounds, left = divmod(tokens, sum(lengths))
        chosen = [i for _ in range(rounds) for i in rng.sample(places, len(places))]
        for i in rng.sample(places, len(places)):
            if lengths[i] <= left:
                chosen.append(i)
                left -= lengths[i]
        texts = [arms[arm][i] for i in chosen]
        distinct = len({(text.prompt, text.text) for text in texts})
        filled[arm] = Budgeted(texts, tokens - left, distinct, len(texts) / distinct)
    return filled


def samples(texts: Iterable[Text]) -> list[Sample]:
    """The texts as `encode_samples` takes them; what stands in a prompt is not learnt."""
    return [Sample(text.prompt, text.text) for text in texts]
