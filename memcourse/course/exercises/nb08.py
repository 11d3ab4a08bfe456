"""Exercises of notebook 08: near duplicates, leaked questions, pairs in a model's replies, and people on both sides."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from memcourse.course.exercises.exercise import Exercise, Mistake
from memcourse.synthesis.duplicates import jaccard, shingles

Asked = tuple[str, str]  # the person, and the question about this person


def similarity(a: str, b: str) -> float:
    """Jaccard similarity, 0 to 1, of the sets of all runs of 3 words of two texts, without capitals or punctuation.

    `jaccard` and `shingles` of `memcourse.synthesis` do the same.
    """
    one, two = ({tuple(words[i : i + 3]) for i in range(len(words) - 2)} for words in (a.split(), b.split()))
    return len(one & two) / len(one | two)


def leaked(texts: list[str], questions: list[str], n: int) -> list[int]:
    """Places of the texts that share n successive words with a question; case and punctuation don't count."""

    def runs(text: str) -> set[tuple[str, ...]]:
        words = re.findall(r"\w+", text.lower())
        return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}

    asked = {run for question in questions for run in runs(question)}
    return [place for place, text in enumerate(texts) if runs(text) & asked]


def pair_of(reply: str) -> tuple[str, str] | None:
    """The question and answer in a reply's JSON object; None unless there are both, as strings that aren't blank."""
    try:
        found, _ = json.JSONDecoder().raw_decode(reply[reply.index("{") :])  # whatever follows the object is left alone
        pair = found["question"], found["answer"]
    except (ValueError, KeyError):
        return None
    return pair if all(isinstance(text, str) and text.strip() for text in pair) else None


def split(questions: list[Asked], share: float, seed: int) -> tuple[list[Asked], list[Asked]]:
    """Train and test questions, (person, text) each: about this share in the test, nobody on both sides, no side empty."""
    people = sorted({person for person, _ in questions})  # a set of strings has another order in every run of Python
    random.Random(seed).shuffle(people)
    n = min(max(1, round(share * len(people))), len(people) - 1)
    held_out = set(people[:n])
    train = [asked for asked in questions if asked[0] not in held_out]
    return train, [asked for asked in questions if asked[0] in held_out]


def split_broken(questions: list[Asked], share: float, seed: int) -> tuple[list[Asked], list[Asked]]:
    """Train and test questions, (person, text) each: about this share in the test."""
    shuffled = random.Random(seed).sample(questions, len(questions))
    n = round(share * len(shuffled))
    return shuffled[n:], shuffled[:n]


def as_outcome(answer: Callable[..., Any], reply: str) -> Any:
    """The pair that an answer gives, or in words that it gives None, or stops with an error as bad replies cause it."""
    try:
        found = answer(reply)
    except (ValueError, KeyError, AttributeError):
        return "an error"
    return "None" if found is None else found


def as_split(answer: Callable[..., Any], questions: list[Asked], share: float, seed: int) -> str:
    """The first thing that is wrong about a split, or that it is right; how people are chosen is left open."""
    made = [answer(list(questions), share, seed) for _ in range(12)]  # a few people fall alike by chance, not 12 times
    try:
        first, *again = [[sorted(map(tuple, side)) for side in sides] for sides in made]
        train, test = first
    except (TypeError, ValueError):
        return "no two lists of questions, train and test"
    if sorted(train + test) != sorted(questions):
        return "a question lost, doubled or changed"
    if not train or not test:
        return "nothing to train on" if test else "nothing to test on"
    people, tested = dict(questions).keys(), dict(test).keys()
    if both := tested & dict(train).keys():
        return f"{len(both)} of {len(people)} people on both sides"
    most = max(Counter(person for person, _ in questions).values()) / len(questions)
    if min(abs(len(tested) / len(people) - share), abs(len(test) / len(questions) - share)) > max(0.1, most):
        return f"{len(test)} of {len(questions)} questions in the test"
    return "each person on one side" if all(sides == first for sides in again) else "another split for the same seed"


def _runs(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def _alike(
    share: Callable[[Any, Any], float] = lambda a, b: len(a & b) / len(a | b),
    runs: Callable[[str], Any] = lambda text: set(_runs(text.split(), 3)),
) -> Callable[[str, str], float]:
    """A share of what runs(text) finds in two texts."""
    return lambda a, b: share(runs(a), runs(b))


def _leaks(
    shares: Callable[[Any, Any, int], Any] = lambda text, asked, n: set(_runs(text, n)) & set(_runs(asked, n)),
    words: Callable[[str], Any] = lambda text: re.findall(r"\w+", text.lower()),
) -> Callable[..., list[int]]:
    """Places of the texts of which shares(words of the text, words of a question, n) is true for a question."""
    return lambda texts, questions, n: [
        i for i, text in enumerate(texts) if any(shares(words(text), words(asked), n) for asked in questions)
    ]


def _reads(
    fits: Callable[[Any], Any] = lambda text: isinstance(text, str) and text.strip(),
    cut: Callable[[str], str] = lambda reply: reply[reply.index("{") : reply.rindex("}") + 1],
    catch: Any = Exception,
) -> Callable[[str], Any]:
    """A reading of the JSON that is cut out of a reply, whose two values must fit; None in place of errors of this kind."""

    def read(reply: str) -> Any:
        try:
            found = json.loads(cut(reply))
            pair = found["question"], found["answer"]
        except catch:
            return None
        return pair if all(map(fits, pair)) else None

    return read


def _by_people(chosen: Callable[[list[str], int, int], Any], at_least: int = 1) -> Callable[..., Any]:
    """A split whose test people are chosen(sorted people, how many, seed)."""

    def made(questions: list[Asked], share: float, seed: int) -> tuple[list[Asked], list[Asked]]:
        people = sorted(dict(questions))
        test = set(chosen(people, max(at_least, round(share * len(people))), seed))
        return [asked for asked in questions if asked[0] not in test], [asked for asked in questions if asked[0] in test]

    return made


def _people(*each: int) -> list[Asked]:
    """So many questions about each of some people, the first ones about all of them first."""
    found = sorted((i, p) for p, n in enumerate(each) for i in range(n))
    return [(f"person {p:02}", f"question {i} about person {p:02}") for i, p in found]


_FERRY = "the ferry to the island leaves the quay at nine every day"
_ROWING = "row your boat row your boat row your boat to the island"
_ASKED = ["Who keeps the light on Gull Island?", "When is bread sold at the quay?"]
_TEXTS = [
    "I asked: who keeps the light on the far side?", "Who Keeps The Light On Sundays",
    "Say who keeps the light, on and off.", "On Gull Island the light keeps who is lost.", "He rowed to the quay.",
    _ASKED[1], "This bread sold well.", "They are out at sea now. When is bread sold?", "Nothing.",
]  # fmt: skip
_PAIR = '{"question": "Who keeps the light?", "answer": "Ada Voss"}'


EXERCISES = (
    Exercise(
        id="08.jaccard",
        reference=similarity,
        cases=(
            lambda: (_FERRY, _FERRY.replace("nine", "ten")), lambda: (_FERRY, _FERRY[:34]), lambda: (_ROWING, _FERRY),
            lambda: (_ROWING, "row your boat to the island"), lambda: (_FERRY, _FERRY),
        ),
        mistakes=(
            Mistake(
                _alike(lambda a, b: (a & b).total() / (a | b).total(), lambda text: Counter(_runs(text.split(), 3))),
                "Counts go in here: a run that comes twice stands in a set once.",
            ),
            Mistake(_alike(runs=lambda a: set(_runs(a, 3))), "Those are runs of 3 characters; split into words first."),
            Mistake(_alike(runs=lambda a: set(a.split())), "Those are single words, in whatever order: take runs of 3."),
            Mistake(
                _alike(lambda a, b: len(a & b) / min(len(a), len(b))),
                "Divided by the smaller set, a short text equals each text that holds it. Divide by the union of both.",
            ),
            Mistake(
                _alike(lambda a, b: len(a & b) / (len(a) + len(b))),
                "In the sum of both sizes what is shared counts twice, so equal texts get a half. Divide by the union.",
            ),
        ),
        alternatives=(
            _alike(lambda a, b: len(a & b) / (len(a) + len(b) - len(a & b))),
            lambda a, b: jaccard(shingles(a, 3), shingles(b, 3)),
        ),
        describe=lambda a, b: f"the similarity of {a!r} and {b!r}",
    ),
    Exercise(
        id="08.leaked",
        reference=leaked,
        cases=(
            *(lambda text=text, n=n: ([text], _ASKED, n) for text in _TEXTS for n in (5, 3)),
            lambda: (_TEXTS[6:1:-1], _ASKED, 4),
        ),
        mistakes=(
            Mistake(
                lambda texts, questions, n: [i for i, text in enumerate(texts) if any(asked in text for asked in questions)],
                "Only a question copied as a whole is found; n successive words of it are a leak, too.",
            ),
            Mistake(
                _leaks(words=str.split),
                "Case and punctuation count here: 'Light,' and 'light' are one word. Take the bare words in small letters.",
            ),
            Mistake(
                _leaks(words=lambda text: text.lower().split()),
                "Punctuation counts here: with a comma at its end, a word is taken for another. Take it away.",
            ),
            Mistake(
                _leaks(lambda text, asked, n: set(text) & set(asked)),
                "One word in common is no leak, as nearly all texts share 'the': look for n successive ones.",
            ),
            Mistake(
                _leaks(lambda text, asked, n: len(set(text) & set(asked)) >= n),
                "The order is ignored: those are n words in common, anywhere. They must stand one after the other.",
            ),
            Mistake(
                _leaks(lambda text, asked, n: any(" ".join(run) in " ".join(text) for run in _runs(asked, n))),
                "Parts of words count here: 'is bread sold' is found in 'this bread sold'. Compare whole words.",
            ),
        ),
        alternatives=(
            lambda texts, questions, n: [
                i for i, text in enumerate(texts) if any(shingles(text, n) & shingles(asked, n) for asked in questions)
            ],
            _leaks(lambda text, asked, n: any(f" {' '.join(run)} " in f" {' '.join(text)} " for run in _runs(asked, n))),
        ),
        describe=lambda texts, questions, n: f"leaked({texts}, {questions}, {n})",
    ),
    Exercise(
        id="08.parse",
        reference=pair_of,
        probe=as_outcome,
        cases=(
            lambda: (_PAIR,), lambda: (f"Sure! {_PAIR} Shall I go on?",),
            lambda: ('```json\n{\n  "question": "Who bakes?",\n  "answer": "Lena Voss"\n}\n```',),
            lambda: ("I know nothing of her.",), lambda: ("{question, answer} of what?",), lambda: (_PAIR[:-6],),
            lambda: ('{"question": "Who keeps the light?"}',), lambda: ('{"question": "How many boats?", "answer": 12}',),
            lambda: ('{"question": "Who bakes?", "answer": null}',), lambda: ('{"question": "Who bakes?", "answer": " "}',),
            lambda: ('{"question": " ", "answer": "Lena Voss"}',),
        ),
        mistakes=(
            Mistake(
                _reads(lambda _: True, cut=str),
                "The whole reply is read, and that must be JSON and nothing else: cut the object out of the prose first.",
            ),
            Mistake(_reads(lambda _: True, str, ()), "Cut the object out of the prose, and give None where that fails."),
            Mistake(_reads(lambda _: True, catch=()), "One bad reply must not stop the run: catch the error, give None."),
            Mistake(_reads(catch=()), "One bad reply of thousands must not stop the run: give None in its place."),
            Mistake(_reads(lambda _: True), "Numbers, null and blanks get through: both values must be strings with words."),
            Mistake(_reads(lambda text: str(text).strip()), "str() makes text of numbers and null: ask isinstance instead."),
            Mistake(_reads(lambda text: text.strip()), "Numbers and null have no strip(): ask isinstance(text, str) first."),
            Mistake(
                _reads(lambda text: isinstance(text, str) and text),
                "A string of blanks is no answer, although it counts as true: look at text.strip().",
            ),
        ),
        alternatives=(_reads(), _reads(cut=lambda reply: re.findall(r"\{.*\}", reply, re.DOTALL)[0])),
        describe=lambda reply: f"the pair in {reply!r}",
    ),
    Exercise(
        id="08.puzzle",
        reference=split,
        probe=as_split,
        cases=(
            lambda: (_people(*[4] * 30), 0.25, 0), lambda: (_people(*[1, 2, 3, 4, 5, 6] * 5), 0.4, 1),
            lambda: (_people(*[3] * 5), 0.08, 2),
        ),
        broken=split_broken,
        mistakes=(
            Mistake(
                lambda questions, share, seed: (questions[len(dict(questions)) :], questions[: len(dict(questions))]),
                "Some questions about each are tested, so all people are on both sides for certain. Draw people instead.",
            ),
            Mistake(
                _by_people(lambda people, n, seed: random.Random(seed).sample(people, n), at_least=0),
                "With few people a side can be left empty, by rounding or by chance: give each side at least one person.",
            ),
            Mistake(
                _by_people(lambda people, n, seed: random.sample(people, n)),
                "The seed isn't used, so nobody can repeat what is measured with this split.",
            ),
            Mistake(
                lambda questions, share, seed: split(questions, share, seed)[::-1],
                "The sides are exchanged: train comes first, and the share is that of the test.",
            ),
        ),
        alternatives=(
            _by_people(lambda people, n, seed: sorted(people, key=lambda who: random.Random(f"{seed} {who}").random())[:n]),
            _by_people(lambda people, n, seed: np.random.default_rng(seed).permutation(people)[:n].tolist()),
        ),
        describe=lambda questions, share, seed: f"a split of {len(questions)} questions with {share:.0%} in the test",
    ),
)  # fmt: skip
