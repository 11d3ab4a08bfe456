"""BM25: equal to bm25s and to the formula, defined where there is nothing, and fair to every script."""

from __future__ import annotations

import unicodedata
import warnings

import bm25s
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memcourse import world
from memcourse.retrieval import BM25, bm25_by_hand, words

TEXTS = [
    "The ferry leaves at nine.",
    "The ferry office is shut on Sunday, and so is the ferry.",
    "Nine gulls sat on the office.",
    "",
]


@pytest.fixture(scope="module")
def town():
    return world.load_world()


def reference(texts: list[str], k1: float, b: float) -> bm25s.BM25:
    index = bm25s.BM25(method="lucene", k1=k1, b=b)
    index.index([words(text) for text in texts], show_progress=False)
    return index


@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (1.5, 0.4), (0.9, 0.0), (2.0, 1.0)])
def test_scores_are_those_of_bm25s(town, k1, b):
    texts = [passage.text for passage in town.passages.values()]
    ours, theirs = BM25(texts, k1, b), reference(texts, k1, b)
    for question in town.questions[::20]:
        expected = theirs.get_scores([w for w in words(question.text) if w in theirs.vocab_dict])
        np.testing.assert_allclose(ours.scores(question.text), expected, rtol=1e-4, atol=1e-5)


@given(
    st.lists(st.lists(st.sampled_from("abcde"), max_size=6), min_size=1, max_size=8),
    st.lists(st.sampled_from("abcdef"), max_size=5),
)
@settings(max_examples=100, deadline=None)
def test_scores_follow_the_formula(texts, question):
    if not any(texts):
        texts = [*texts, ["a"]]
    index = BM25([" ".join(text) for text in texts], k1=1.2, b=0.75)
    by_hand = [bm25_by_hand(question, text, texts, 1.2, 0.75) for text in texts]
    np.testing.assert_allclose(index.scores(" ".join(question)), by_hand, atol=1e-9)


@given(st.lists(st.lists(st.sampled_from("ab c"), max_size=6).map("".join), max_size=12), st.integers(1, 15))
@settings(max_examples=100, deadline=None)
def test_a_search_is_the_sorted_scores(texts, k):
    index = BM25(texts)
    (hits,) = index.search(["a b"], k)
    scores = index.scores("a b")
    expected = sorted((i for i in range(len(texts)) if scores[i] > 0), key=lambda i: (-scores[i], i))[:k]
    assert hits.ids.tolist() == expected
    np.testing.assert_allclose(hits.scores, scores[expected], rtol=1e-6)


def test_rare_words_count_more_and_long_texts_less():
    index = BM25(TEXTS)
    assert index.search(["ferry on Sunday"])[0].ids.tolist() == [1, 0, 2]
    scores = index.scores("nine")
    assert scores[0] > scores[2] > 0 == scores[3]  # the shorter of two texts that hold the word once
    assert index.scores("nine nine")[0] == pytest.approx(2 * scores[0])


@pytest.mark.parametrize("texts", [[], [""], ["", " \n"], ["...", "!?"]])
def test_o44_nothing_to_index_finds_nothing(texts):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        index = BM25(texts)
        assert len(index) == len(texts) and index.scores("ferry").tolist() == [0.0] * len(texts)
        hits = index.search(["ferry", ""])
    assert [len(h.ids) for h in hits] == [len(h.scores) for h in hits] == [0, 0]


@pytest.mark.parametrize("question", ["", " \n", "?!", "zeppelin zeppelin"])
def test_o44_a_question_of_nothing_known_finds_nothing(question):
    index = BM25(TEXTS)
    assert index.scores(question).tolist() == [0, 0, 0, 0] and len(index.search([question])[0].ids) == 0


def test_o44_one_text_alone_has_finite_scores_above_zero():
    index = BM25(["The ferry leaves at nine."])
    (hits,) = index.search(["When does the ferry leave?"])
    assert hits.ids.tolist() == [0] and 0 < hits.scores[0] < np.inf


def test_o39_scripts_without_spaces_are_found_by_parts_of_a_sentence():
    texts = ["東京タワーは港区にあります。", "京都は古い町です。", "เรือออกเก้าโมง", "Ужин в семь часов."]
    index = BM25(texts)
    for question, found in (("東京", 0), ("古い町", 1), ("เรือ", 2), ("УЖИН", 3)):
        assert index.search([question], 1)[0].ids.tolist() == [found], question


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The fee is 2,400.50 crowns.", ["the", "fee", "is", "2,400.50", "crowns"]),
        ("don't stop", ["don", "t", "stop"]),
        ("", []),
        ("STRASSE straße", ["strasse", "strasse"]),
        ("snake_case v1.2.3", ["snake_case", "v1", "2.3"]),
    ],
)
def test_words(text, expected):
    assert words(text) == expected


def test_two_ways_to_write_one_letter_are_one_word():
    composed, parts = (unicodedata.normalize(form, "café ﬁsh") for form in ("NFC", "NFD"))
    assert words(composed) == words(parts) == ["café", "fish"]


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: BM25("ferry"), TypeError, r"put the single text into a list"),
        (lambda: BM25(["a", None]), TypeError, r"Text 1 is of type NoneType, not str"),
        (lambda: BM25(TEXTS, k1=-1), ValueError, r"k1 >= 0 and b from 0 to 1, not k1 = -1"),
        (lambda: BM25(TEXTS, b=1.5), ValueError, r"b = 1.5"),
        (lambda: BM25(TEXTS, k1=float("nan")), ValueError, r"k1 = nan"),
        (lambda: BM25(TEXTS).search("ferry"), TypeError, r"put the single text into a list"),
        (lambda: BM25(TEXTS).search(["ferry"], 0), ValueError, r"k must be at least 1, not 0"),
        (lambda: BM25(TEXTS).scores(3), TypeError, r"type int, not str"),
    ],
)  # fmt: skip
def test_bad_input_gets_a_sentence(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
