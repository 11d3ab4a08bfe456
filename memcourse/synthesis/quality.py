"""What is wrong with a synthetic text: does it leak a test question, and does it stay with the facts?

All checks look at words as BM25 does (`memcourse.retrieval.words`): case and punctuation don't count. Texts come in a
list: a single string, or something in the list that is no string, raises TypeError.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from memcourse.model.batching import check_texts
from memcourse.retrieval.bm25 import words
from memcourse.synthesis.duplicates import shingles
from memcourse.synthesis.fact_table import FactTable, KnownValues


class Leak(NamedTuple):
    """A text that has words of a test question: the places of both, and the first run of words that they share."""

    text: int
    question: int
    shared: str


def overlapping(texts: Sequence[str], questions: Sequence[str], n: int = 8) -> list[Leak]:
    """Which texts share n words in a row with a test question: one `Leak` for each such text, in order.

    A question of fewer than n words is looked for as a whole. What says the same in other words isn't found.

    Source: the overlap analysis of Radford et al., "Language Models are Unsupervised Multitask Learners" (2019), with
    8-grams; Brown et al. (2020) filtered with 13-grams.

    Raises:
        ValueError: n < 1, or a question without words.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}.")
    index: dict[str, int] = {}
    for i, question in enumerate(check_texts(questions, "question")):
        runs = shingles(question, n)  # a shorter question is one run
        if not runs:
            raise ValueError(f"Question {i} has no words: {question!r}.")
        for run in runs:
            index.setdefault(run, i)
    sizes = sorted({run.count(" ") + 1 for run in index})
    leaks = []
    for i, text in enumerate(check_texts(texts, "text", allow_empty=True)):
        found = words(text)
        runs_there = (" ".join(found[at : at + size]) for at in range(len(found)) for size in sizes)
        if run := next((run for run in runs_there if run in index), ""):
            leaks.append(Leak(i, index[run], run))
    return leaks


def refuse_leaks(texts: Sequence[str], questions: Sequence[str], n: int = 8) -> None:
    """Stop before training on texts that hold test questions; what counts as a leak is said at `overlapping`.

    Raises:
        ValueError: a text shares n words with a question (the message names the first one), or as for `overlapping`.
    """
    if leaks := overlapping(texts, questions, n):
        text, question, shared = leaks[0]
        raise ValueError(
            f"{len(leaks)} of {len(texts)} texts hold words of the test: text {text} shares {shared!r} with question "
            f"{question}. Drop such texts (`overlapping` lists them), or the test measures what was copied."
        )


class FactErrors(NamedTuple):
    """What a text gets wrong about its subject; false in an `if` when there is nothing.

    wrong: (attribute, value) for each value that stands in the text and is not the subject's, in the text's order.
    missing: attributes whose value the text should state and doesn't.
    """

    wrong: tuple[tuple[str, str], ...]
    missing: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.wrong or self.missing)


def unfaithful(
    text: str,
    facts: Mapping[str, str],
    table: FactTable | KnownValues | Mapping[str, Collection[str]],
    promised: Collection[str] | None = None,
    ignored: Collection[str] = (),
) -> FactErrors:
    """Hold a text about one subject against a table of facts: which values are not the subject's, which are missing?

    Whole words are compared, the longest value first: "dark blue" is no mention of "blue", nor "catalogue" of "cat". A
    value of two attributes is right if it is the subject's in either. Words are checked, not what they mean: "not a cat"
    counts as a cat, "cats" doesn't.

    Args:
        facts: the subject's value for each of its attributes, such as `table.facts_of(subject)`.
        table: all values of all attributes: a table of facts, in whose subjects' names no value is looked for;
            `KnownValues`, made once for many texts; or a mapping of attributes to values.
        promised: attributes that the text must state; all of the subject's by default.
        ignored: more phrases in which no value is looked for, such as the name "Rex Baker".

    Raises:
        ValueError: a fact that isn't in the table, a promise that is no fact, or as for `KnownValues`.
    """
    known = table.known if isinstance(table, FactTable) else table if isinstance(table, KnownValues) else KnownValues(table)
    own = {attribute: tuple(words(value)) for attribute, value in facts.items()}
    promised = list(facts) if promised is None else check_texts(promised, "promised attribute")
    if unknown := [attribute for attribute, key in own.items() if attribute not in known.meanings.get(key, {})]:
        raise ValueError(f"The table has no value {facts[unknown[0]]!r} of {unknown[0]!r}, which the subject has.")
    if unknown := [attribute for attribute in promised if attribute not in own]:
        raise ValueError(f"{unknown[0]!r} is promised, but the subject has facts on {', '.join(facts)} only.")
    found = dict.fromkeys(known.standing_in(text, ignored))
    wrong = (fact for key in found if key not in own.values() for fact in known.meanings[key].items())
    return FactErrors(tuple(wrong), tuple(attribute for attribute in promised if own[attribute] not in found))
