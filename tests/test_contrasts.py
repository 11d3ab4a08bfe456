"""The contrasts: each variant changes what its datasheet says and nothing else, and a sentence embedder is misled by it."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import fields
from difflib import SequenceMatcher

import numpy as np
import pytest

from memcourse import world

from .conftest import ROOT

DATA = ROOT / "data"
CONTRASTS = world.load_contrasts()
TEXTS = [field.name for field in fields(world.Contrast)][1:]
NEAR_COPIES = TEXTS[2:]
NUMBER = re.compile(
    r"\d+|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|(thir|four|fif|six|seven|eigh|nine)teen"
    r"|(twen|thir|for|fif|six|seven|eigh|nine)ty"
)
NEGATING = re.compile(r"not|no|never|nobody|none|nor|neither|nothing|cannot|without|hardly|\w+n't")
TITLES = {"Baron", "Captain", "Doctor", "Granny", "Mrs", "Pastor"}
FUNCTION_WORDS = """
a about after again all also an and any are as at be been before behind being below between but by can could did do does each
ever every for from had has have having he her here his how if in into is it its just more most much must of off on once one
only or out over own rather she should since so some still than that the their them then there they this those to too under
until up very was we were what when where whether which while who whom whose will with would yet
""".split()  # noqa: SIM905
each = pytest.mark.parametrize("contrast", CONTRASTS, ids=lambda contrast: contrast.id)


def words(text: str) -> list[str]:
    """The words of a text as they are written; "didn't" and "second-hand" are one word each, a goose's "'s" is dropped."""
    return [word.removesuffix("'s") for word in re.findall(r"[A-Za-z0-9]+(?:['-][A-Za-z0-9]+)*", text)]


def changes(before: str, after: str) -> list[tuple[list[str], list[str]]]:
    """The runs of words that differ, as they are before and after."""
    a, b = words(before), words(after)
    codes = SequenceMatcher(None, a, b, autojunk=False).get_opcodes()
    return [(a[i:j], b[k:m]) for tag, i, j, k, m in codes if tag != "equal"]


def names(contrast: world.Contrast) -> set[str]:
    """The words of the names: those with a capital letter where no sentence begins; a swap moves each away from there."""
    inside = words(contrast.sentence)[1:] + words(contrast.order)[1:]
    return {word for word in inside if word[0].isupper()} - {"Easter", "Sundays"}


def all_names(contrast: world.Contrast) -> set[str]:
    """The words of its names and of the one that takes another's place, titles apart."""
    return (names(contrast) | set(words(contrast.name)) - set(words(contrast.sentence))) - TITLES


def content(text: str) -> set[str]:
    """How the content words begin; names, numbers and the first word apart. "letters" equals "letter"."""
    skip = lambda word: word in FUNCTION_WORDS or NUMBER.fullmatch(word) or NEGATING.fullmatch(word)  # noqa: E731
    return {word[:5] for word in words(text)[1:] if word.islower() and not skip(word)}


def test_forty_sentences_in_plain_lines():
    raw = (DATA / "contrasts.jsonl").read_bytes()
    assert raw.isascii() and b"\r" not in raw and raw.endswith(b"}\n") and raw.count(b"\n") == 40
    assert isinstance(CONTRASTS, tuple) and [c.id for c in CONTRASTS] == [f"k{i:02d}" for i in range(1, 41)]
    assert len({getattr(c, kind) for c in CONTRASTS for kind in TEXTS}) == 240


@each
def test_sentences_are_short_and_whole(contrast):
    for kind in TEXTS:
        text = getattr(contrast, kind)
        longest = {"paraphrase": 20, "negation": 20}.get(kind, 18)
        assert 8 <= len(text.split()) <= longest and re.fullmatch(r"[A-Z][^.?!]*\.", text) and "  " not in text


@each
def test_a_paraphrase_says_it_in_other_words(contrast):
    assert len(names(contrast)) >= 2 and names(contrast) <= set(words(contrast.paraphrase))
    assert len(content(contrast.sentence)) >= 3
    assert 2 * len(content(contrast.sentence) & content(contrast.paraphrase)) < len(content(contrast.sentence))


@each
def test_a_negation_adds_or_drops_one_negating_word(contrast):
    before, after = words(contrast.sentence.lower()), words(contrast.negation.lower())
    negated = [any(NEGATING.fullmatch(word) for word in text) for text in (before, after)]
    assert sorted(negated) == [False, True]
    assert (Counter(after) - Counter(before)).total() <= 3 and (Counter(before) - Counter(after)).total() <= 1


@each
def test_only_the_number_is_another(contrast):
    [(before, after)] = changes(contrast.sentence, contrast.number)
    assert len(before) == len(after) == 1 and before[0].isdigit() == after[0].isdigit()
    numbers = lambda text: [word for word in words(text) if NUMBER.fullmatch(word.lower())]  # noqa: E731
    assert numbers(contrast.sentence) == before and numbers(contrast.number) == after


def test_half_of_the_numbers_are_in_digits():
    assert sum(any(word.isdigit() for word in words(c.sentence)) for c in CONTRASTS) == 20


@each
def test_only_one_name_is_another(contrast):
    [(before, after)] = changes(contrast.sentence, contrast.name)
    assert 1 <= len(before) == len(after) <= 2
    assert set(before) <= names(contrast) - TITLES and not set(after) & set(words(contrast.sentence))
    assert all(word[0].isupper() for word in after)


@each
def test_another_order_has_the_same_words(contrast):
    before, after = (words(text.lower()) for text in (contrast.sentence, contrast.order))
    assert before != after and Counter(before) == Counter(after)
    assert any(before.index(name.lower()) != after.index(name.lower()) for name in names(contrast)), "nobody has moved"


def test_sentences_have_little_in_common():
    often = Counter(word for c in CONTRASTS for word in content(c.sentence))
    assert max(often.values()) <= 3, often.most_common(3)
    runs = Counter(tuple(w[i : i + 4]) for w in (words(c.sentence.lower()) for c in CONTRASTS) for i in range(len(w) - 3))
    assert max(runs.values()) == 1, runs.most_common(3)
    everybody = Counter(name for c in CONTRASTS for name in all_names(c))
    assert max(everybody.values()) == 1, everybody.most_common(3)


def test_nothing_of_them_stands_in_the_other_data():
    others = [
        path for path in DATA.rglob("*") if path.is_file() and not path.name.startswith(("contrasts.", "MANIFEST", "."))
    ]
    assert len(others) > 90
    everything = " ".join(path.read_text(encoding="utf-8") for path in others)
    known = set(words(everything))
    for contrast in CONTRASTS:
        assert not any(getattr(contrast, kind)[:-1].lower() in everything.lower() for kind in TEXTS)
        assert not all_names(contrast) & known


def test_an_embedder_finds_near_copies_closer_than_paraphrases(embedder):
    vectors = {kind: embedder.encode([getattr(c, kind) for c in CONTRASTS]) for kind in TEXTS}
    among_themselves = vectors["sentence"] @ vectors["paraphrase"].T
    assert (among_themselves.argmax(axis=1) == np.arange(40)).all(), "no other paraphrase is closer than its own"
    for kind in NEAR_COPIES:
        closeness = (vectors["sentence"] * vectors[kind]).sum(axis=1)
        assert (closeness > among_themselves.diagonal()).sum() >= 34, kind
