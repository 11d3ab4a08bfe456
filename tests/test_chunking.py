"""Chunks know their place, lose nothing, stay within their size and cut no visible character apart."""

from __future__ import annotations

from itertools import pairwise

import pytest
import regex
from hypothesis import example, given, settings
from hypothesis import strategies as st

from memcourse.retrieval import by_characters, by_headings, by_sentences, by_tokens, sentences

from .model_support import smollm_tokenizer

FAMILY, FLAGS, THUMB = (
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\U0001f1eb\U0001f1f7\U0001f1e9\U0001f1ea",
    "\U0001f44d\U0001f3fd",
)
PIECES = [
    "Rain fell. ",
    "Who? ",
    "e\u0301",
    FAMILY,
    FLAGS,
    THUMB,
    "日本。",
    "क्षि ",
    "\r\n",
    "\n\n",
    "# A\n",
    "## B c\n",
    "x" * 30,
    " ",
    "Dr. ",
    '"No!" ',
]
TEXTS = st.one_of(st.text(max_size=200), st.lists(st.sampled_from(PIECES), max_size=40).map("".join))


def check(text, chunks, most=None, overlap=0):
    assert all(text[chunk.start : chunk.end] == chunk.text and chunk.text for chunk in chunks)
    assert all(most is None or len(chunk.text) <= most for chunk in chunks)
    if overlap == 0:
        assert "".join(chunk.text for chunk in chunks) == text
    else:
        covered = 0
        for chunk in chunks:
            assert chunk.start <= covered < chunk.end or covered == 0
            covered = chunk.end
        assert covered == len(text)


@settings(deadline=None, max_examples=300)
@given(TEXTS, st.integers(1, 60), st.integers(0, 59))
@example(FLAGS * 5, 3, 0)
def test_o36_chunks_by_characters_end_once_with_the_text(text, size, overlap):
    overlap %= size
    chunks = by_characters(text, size, overlap)
    check(text, chunks, size, overlap)
    assert overlap == 0 or all(a.end - b.start <= max(overlap, 1) + 12 for a, b in pairwise(chunks))


@settings(deadline=None, max_examples=300)
@given(TEXTS, st.integers(1, 60), st.integers(0, 59))
def test_o38_chunks_by_sentences_lose_nothing(text, size, overlap):
    overlap %= size
    check(text, by_sentences(text, size, overlap), size, overlap)


@settings(deadline=None, max_examples=300)
@given(TEXTS)
@example("\n\n")
@example("")
@example(" \n\n One. \n\n ")
@example("Rain. \u0301x")
def test_o38_chunks_of_one_sentence_lose_nothing(text):
    chunks = sentences(text)
    check(text, chunks)
    assert len(chunks) == bool(text) or all(chunk.text.strip() for chunk in chunks)
    cuts = {match.start() for match in regex.finditer(r"\X", text)}
    assert all(chunk.start in cuts for chunk in chunks)


@settings(deadline=None, max_examples=200)
@given(TEXTS, st.integers(1, 60))
def test_o38_chunks_by_headings_lose_nothing(text, size):
    check(text, by_headings(text, size), size)


@settings(deadline=None, max_examples=100)
@given(TEXTS, st.integers(1, 40), st.integers(0, 39))
def test_o38_chunks_by_tokens_lose_nothing(text, size, overlap):
    overlap %= size
    chunks = by_tokens(text, smollm_tokenizer(), size, overlap)
    check(text, chunks, overlap=overlap)


def test_a_chunk_by_tokens_holds_so_many_tokens_and_repeats_the_last():
    tokenizer = smollm_tokenizer()
    text = "The harbour master keeps a list of every ship that came in before the storm. " * 20
    chunks = by_tokens(text, tokenizer, 20, 5)
    ids = [tokenizer.encode(chunk.text) for chunk in chunks]
    assert all(len(some) <= 20 for some in ids) and all(len(some) == 20 for some in ids[:-1])
    assert all(a[-5:] == b[:5] for a, b in pairwise(ids))


@pytest.mark.parametrize("size", [11, 17, 30])
def test_what_is_seen_as_one_character_stays_whole(size):
    text = "".join(piece * 3 for piece in (FAMILY, FLAGS, THUMB, "e\u0301o\u0308", "\r\n", "ab")) * 4
    cuts = {match.start() for match in regex.finditer(r"\X", text)} | {len(text)}
    for chunks in (by_characters(text, size), by_sentences(text, size), by_tokens(text, smollm_tokenizer(), size)):
        assert all(chunk.start in cuts and chunk.end in cuts for chunk in chunks)


def test_sentences_stay_whole_where_they_fit_and_headings_begin_chunks():
    text = 'Rain fell. "Stop!" she said. Then it was over. 雨。風。'
    assert [chunk.text for chunk in by_sentences(text, 30)] == [
        'Rain fell. "Stop!" she said. ',
        "Then it was over. 雨。風。",
    ]
    text = "One is. Two is. Three is. Four is."
    assert [chunk.text for chunk in by_sentences(text, 18, 10)] == ["One is. Two is. ", "Two is. Three is. ", "Four is."]
    text = "Intro.\n# One\nA b. C d.\n## Two\nE.\n"
    assert [chunk.text for chunk in by_headings(text, 50)] == ["Intro.\n", "# One\nA b. C d.\n", "## Two\nE.\n"]


def test_each_sentence_is_a_chunk_of_its_own_and_blank_parts_join_it():
    text = '\n\n Rain fell. "Stop!" she said.\n\nNo full stop\n\n  雨。風。v1.2 is out\n\n  '
    assert [chunk.text for chunk in sentences(text)] == [
        "\n\n Rain fell. ",
        '"Stop!" ',
        "she said.\n\n",
        "No full stop\n\n",
        "  雨。",
        "風。",
        "v1.2 is out\n\n  ",
    ]
    assert [chunk.text for chunk in sentences(" \n\n ")] == [" \n\n "] and sentences("") == []
    assert len(sentences("Long " * 1000 + "one. Two.")) == 2


@pytest.mark.parametrize("chunker", [by_characters, by_sentences, by_headings])
@pytest.mark.timeout(120)  # it takes a second; were the work to grow with the square of the text, it would take hours
def test_o40_long_texts_of_any_kind_are_cut(chunker):
    for piece in ("A sentence of some words stands here. ", FLAGS, "x", "e\u0301", "\n\n", "# A\n"):
        check(piece * 100_000, chunker(piece * 100_000, 800), 800)


@pytest.mark.timeout(120)
def test_o40_long_texts_of_any_kind_are_cut_into_sentences():
    for piece in ("A sentence. ", FLAGS, "x", "。\u0301", "\n\n", "\n \u0301", ". "):
        check(piece * 100_000, sentences(piece * 100_000))


@pytest.mark.parametrize("text", ["chunk chunk", "the same line\n" * 50, "two  spaces  between  " * 9, "ab" * 100])
def test_o37_repeated_text_has_a_place_of_its_own_each_time(text):
    for size in (5, 7, 14):
        for chunks in (by_characters(text, size), by_sentences(text, size), by_characters(text, size, 3)):
            assert all(text[chunk.start : chunk.end] == chunk.text for chunk in chunks)
            assert all(a.start < b.start for a, b in pairwise(chunks)) and chunks[-1].end == len(text)


@pytest.mark.parametrize(
    "text", ["\n\n# A\nv1.2.3 is out", "\tTabs.\tMore\t", "One.\r\nTwo\r\n\r\nThree", ". . .", "no stop"]
)
def test_o38_separators_and_last_sentences_are_kept(text):
    for size in range(1, len(text) + 2):
        for chunks in (by_characters(text, size), by_sentences(text, size), by_headings(text, size)):
            check(text, chunks, size)


def test_o39_chinese_is_cut_at_its_full_stops():
    text = "海边的小镇每天都有新的船只到来。" * 320  # 16 characters each, no space anywhere
    chunks = by_sentences(text, 100)
    check(text, chunks, 100)
    assert all(chunk.text.endswith("。") and len(chunk.text) == 96 for chunk in chunks[:-1])


@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (-1, 0), (5, 5), (5, 7), (5, -1)])
def test_o35_an_impossible_size_is_refused(size, overlap):
    for chunker in (by_characters, by_sentences, lambda *a: by_tokens(a[0], smollm_tokenizer(), *a[1:])):
        with pytest.raises(ValueError, match=f"an overlap from 0 to size - 1, not {size} and {overlap}"):
            chunker("text", size, overlap)
    with pytest.raises(ValueError, match="a size of at least 1"):
        by_headings("text", 0)
