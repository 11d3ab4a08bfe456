"""Is synthetic text worth training on? Its diversity, what it leaks of a test, and whether it stays with the facts.

All measures look at words as BM25 does (`memcourse.retrieval.words`): case and punctuation don't count. Texts come in a
list: a single string, or something in the list that is no string, raises TypeError.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np

from memcourse.model.batching import check_texts
from memcourse.retrieval.bm25 import words

T = TypeVar("T")


def distinct_n(texts: Sequence[str], n: int = 2) -> float:
    """Share of the n-grams of all texts together that are different ones, in (0, 1]: 1 if none comes twice.

    More text repeats more by itself, so compare sets of as many words only.

    Source: Li, Galley, Brockett, Gao and Dolan, "A Diversity-Promoting Objective Function for Neural Conversation Models"
    (2016). They divide by the number of words; we divide, as is usual, by that of n-grams, so that 1 can be reached.

    Raises:
        ValueError: n < 1, or no text of n words.
    """
    _check_n(n)
    grams = [gram for text in check_texts(texts, "text", allow_empty=True) for gram in _ngrams(words(text), n)]
    if not grams:
        raise ValueError(f"No text has {n} words, so there are no {n}-grams to count.")
    return len(set(grams)) / len(grams)


def self_bleu(texts: Sequence[str], n: int = 4) -> float:
    """How well each text is made of n-grams of the others: its BLEU with all others as references, averaged; in (0, 1].

    1 for texts that are all the same, low for diverse ones. More texts raise it, so compare sets of one size only.
    BLEU is the geometric mean of the clipped precisions of 1- to n-grams, times a brevity penalty for the reference that
    is closest in length (the shorter of two). An n-gram counts at most as often as in the reference that has it most.
    Smoothing: where no n-gram of an order is found, 0.1 of one counts (method 1 of Chen and Cherry, 2014, as in the
    authors' Texygen). A text of fewer than n words is measured by the orders that it has.

    Source: Zhu et al., "Texygen" (2018). Cross-checked against torchmetrics.

    Raises:
        ValueError: n < 1, fewer than two texts, or a text without words.
    """
    _check_n(n)
    found = [words(text) for text in check_texts(texts, "text", allow_empty=True)]
    if len(found) < 2 or not all(found):
        raise ValueError(f"Self-BLEU needs at least two texts with words; of {len(found)}, {found.count([])} have none.")
    logs: list[list[float]] = [[] for _ in found]
    for order in range(1, n + 1):
        counts = [Counter(_ngrams(row, order)) for row in found]
        most: dict[tuple[str, ...], tuple[int, int]] = {}  # times in the text that has it most, and in the next one
        for count in counts:
            for gram, times in count.items():
                first, second = most.get(gram, (0, 0))
                most[gram] = (times, first) if times > first else (first, max(second, times))
        for log, count in zip(logs, counts, strict=True):
            # whoever has an n-gram most is compared with the next one, all others with that one: they have it less often
            both = ((times, *most[gram]) for gram, times in count.items())
            matches = sum(second if times == first else times for times, first, second in both)
            if total := count.total():
                log.append(math.log((matches or 0.1) / total))
    lengths = Counter(len(row) for row in found)
    penalties = {own: _brevity_penalty(own, lengths) for own in lengths}
    scores = (penalties[len(row)] * math.exp(sum(log) / len(log)) for row, log in zip(found, logs, strict=True))
    return sum(scores) / len(found)


def _brevity_penalty(own: int, lengths: Mapping[int, int]) -> float:
    others = (length for length, texts in lengths.items() if length != own or texts > 1)
    return min(1.0, math.exp(1 - min(others, key=lambda length: (abs(length - own), length)) / own))


def compression_ratio(texts: Sequence[str]) -> float:
    """Bytes of all texts before zlib's compression (level 9) by bytes after: the higher, the more they repeat.

    English prose has about 2 to 3; a text a hundred times over, much more. zlib looks back 32 KiB only: what repeats
    further away goes unseen, so the order of texts matters. Compare sets of as many bytes only.

    Source: Shaib et al., "Standardizing the Measurement of Text Diversity" (2024).

    Raises:
        ValueError: no characters at all.
    """
    raw = "\n".join(check_texts(texts, "text", allow_empty=True)).encode("utf-8", "surrogatepass")
    if not raw.strip():
        raise ValueError("There is no text to compress.")
    return len(raw) / len(zlib.compress(raw, 9))


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
    _check_n(n)
    index: dict[tuple[str, ...], int] = {}
    for i, question in enumerate(check_texts(questions, "question")):
        found = words(question)
        if not found:
            raise ValueError(f"Question {i} has no words: {question!r}.")
        for gram in _ngrams(found, min(n, len(found))):
            index.setdefault(gram, i)
    sizes = sorted({len(gram) for gram in index})
    leaks = []
    for i, text in enumerate(check_texts(texts, "text", allow_empty=True)):
        found = words(text)
        grams = (tuple(found[at : at + size]) for at in range(len(found)) for size in sizes)
        if gram := next((gram for gram in grams if gram in index), ()):
            leaks.append(Leak(i, index[gram], " ".join(gram)))
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


class FactTable:
    """Every value that each attribute can have, ready to be looked for in many texts."""

    def __init__(self, values: Mapping[str, Collection[str]]) -> None:
        """Take the values of each attribute, such as `{a.name: a.values for a in kit.attributes}`.

        Raises:
            ValueError: a value without words, or two of one attribute that differ in punctuation only ("C" and "C++").
        """
        self.meanings: dict[tuple[str, ...], dict[str, str]] = {}  # words of a value -> attributes that have it
        for attribute, known in values.items():
            for value in sorted(check_texts(known, "value", allow_empty=True)):
                key = tuple(words(value))
                same = self.meanings.setdefault(key, {}).setdefault(attribute, value)
                if not key:
                    raise ValueError(f"A value of {attribute!r} has no words to look for: {value!r}.")
                if same.casefold().split() != value.casefold().split():
                    raise ValueError(f"{same!r} and {value!r} of {attribute!r} differ in punctuation only; reword one.")
        self._sizes = {len(key) for key in self.meanings}

    def standing_in(self, text: str, ignored: Collection[str] = ()) -> list[tuple[str, ...]]:
        """The words of each value that stands in a text, in its order; of values that overlap, the longest."""
        skipped = {tuple(words(phrase)) for phrase in check_texts(ignored, "phrase", allow_empty=True)}
        sizes = sorted({*self._sizes, *map(len, skipped)} - {0}, reverse=True)
        row, at, found = words(text), 0, []
        while at < len(row):
            keys = (tuple(row[at : at + size]) for size in sizes)
            key = next((key for key in keys if key in self.meanings or key in skipped), ())
            if key and key not in skipped:
                found.append(key)
            at += len(key) or 1
        return found


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
    table: FactTable | Mapping[str, Collection[str]],
    promised: Collection[str] | None = None,
    ignored: Collection[str] = (),
) -> FactErrors:
    """Hold a text about one subject against a table of facts: which values are not the subject's, which are missing?

    Whole words are compared, the longest value first: "dark blue" is no mention of "blue", nor "catalogue" of "cat". A
    value of two attributes is right if it is the subject's in either. Words are checked, not what they mean: "not a cat"
    counts as a cat, "cats" doesn't.

    Args:
        facts: the subject's value for each of its attributes.
        table: all values of all attributes; make a `FactTable` once if there are many texts.
        promised: attributes that the text must state; all of the subject's by default.
        ignored: phrases in which no value is looked for, such as the name "Rex Baker".

    Raises:
        ValueError: a fact that isn't in the table, a promise that is no fact, or as for `FactTable`.
    """
    table = table if isinstance(table, FactTable) else FactTable(table)
    own = {attribute: tuple(words(value)) for attribute, value in facts.items()}
    promised = list(facts) if promised is None else check_texts(promised, "promised attribute")
    if unknown := [attribute for attribute, key in own.items() if attribute not in table.meanings.get(key, {})]:
        raise ValueError(f"The table has no value {facts[unknown[0]]!r} of {unknown[0]!r}, which the subject has.")
    if unknown := [attribute for attribute in promised if attribute not in own]:
        raise ValueError(f"{unknown[0]!r} is promised, but the subject has facts on {', '.join(facts)} only.")
    found = dict.fromkeys(table.standing_in(text, ignored))
    wrong = (fact for key in found if key not in own.values() for fact in table.meanings[key].items())
    return FactErrors(tuple(wrong), tuple(attribute for attribute in promised if own[attribute] not in found))


@dataclass(frozen=True)
class Report:
    """What a filter did.

    checks: names of the checks, in the order in which they ran.
    reasons: for each text the check that dropped it, None if it was kept.
    """

    checks: tuple[str, ...]
    reasons: tuple[str | None, ...]

    @property
    def kept(self) -> int:
        """How many texts are left."""
        return self.reasons.count(None)

    @property
    def dropped(self) -> dict[str, int]:
        """How many texts each check dropped; a text counts for the first check that it failed."""
        return {name: self.reasons.count(name) for name in self.checks}

    def __str__(self) -> str:
        parts = [f"{count:,} {name}" for name, count in self.dropped.items()]
        return f"kept {self.kept:,} of {len(self.reasons):,}" + (f" (dropped: {', '.join(parts)})" if parts else "")


def filtered(texts: Sequence[T], checks: Mapping[str, Callable[[list[T]], Iterable[bool]]]) -> tuple[list[T], Report]:
    """Keep the texts that pass every check. Checks run in order, each on what the ones before have left.

    Args:
        texts: texts, or anything that the checks understand, such as pairs of a person and a text.
        checks: for each name of a reason a function that says, for each text of a list, whether it may stay: a check may
            look at all texts at once, as one for duplicates must. `each` makes one of a function of a single text.

    Raises:
        ValueError: a check that doesn't answer True or False for each text.
    """
    if isinstance(texts, str):
        raise TypeError("A list of texts is needed; put the single text into a list.")
    reasons: list[str | None] = [None] * len(texts)
    for name, check in checks.items():
        left = [i for i, reason in enumerate(reasons) if reason is None]
        answers = check([texts[i] for i in left]) if left else []
        passed = list(answers) if isinstance(answers, Iterable) else []
        if len(passed) != len(left) or not all(isinstance(answer, bool | np.bool_) for answer in passed):
            wanted = f"must answer True or False for each of {len(left)} texts; `each` makes one of a function of one text"
            raise ValueError(f"The check {name!r} {wanted}.")
        for i, answer in zip(left, passed, strict=True):
            reasons[i] = None if answer else name
    kept = [text for text, reason in zip(texts, reasons, strict=True) if reason is None]
    return kept, Report(tuple(checks), tuple(reasons))


def each(passes: Callable[[T], bool]) -> Callable[[list[T]], list[bool]]:
    """A check for `filtered` that looks at one text at a time."""
    return lambda texts: [bool(passes(text)) for text in texts]


def _check_n(n: int) -> None:
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}.")


def _ngrams(found: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    return zip(*(found[i:] for i in range(n)), strict=False)
