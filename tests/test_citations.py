"""Citations: the place that is named holds the answer, whole words only, and what is only similar says so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memcourse.retrieval import Record, by_sentences, cite

DOCUMENT = (
    "Port Ember has 140 lamps. The keeper,\n  Ada Byrne, earns 2,400 crowns a year!  Its price is $3.50 (plus tax).\n\n"
    "Die Straße führt nach Zürich. 東京は日本の首都です。Rex 🐕 barks. ADA BYRNE retired in 1999."
)


def chunks(text=DOCUMENT, size=60, document="d"):
    return [Record(f"{c.start:032x}", document, c.start, c.end, c.text) for c in by_sentences(text, size)]


def one(text, start=0):
    return Record("0" * 32, "d", start, start + len(text), text)


def quoted(answer, text, question=""):
    """The exact places of an answer in one passage."""
    return [citation.text for citation in cite(answer, [one(text)], question) if citation.exact]


@pytest.mark.parametrize(
    "answer",
    [
        "Ada Byrne",
        " ada   byrne\n",
        "140",
        "2,400 crowns",
        "$3.50",
        "(plus tax)",
        "Straße",
        "zürich",
        "東京",
        "🐕 barks",
        "Rex 🐕",
    ],
)
def test_a_citation_stands_in_the_document_where_it_says(answer):
    found = cite(answer, chunks())
    assert found and all(citation.exact for citation in found)
    for citation in found:
        assert DOCUMENT[citation.start : citation.end] == citation.text and citation.document == "d"
        assert "".join(citation.text.lower().split()) == "".join(answer.lower().split())


def test_case_and_line_breaks_do_not_count_and_each_passage_is_cited_once():
    found = cite("ada byrne", chunks())
    assert [citation.text for citation in found] == ["Ada Byrne", "ADA BYRNE"]
    assert quoted("ada byrne", "The keeper Ada\n  Byrne; Ada Byrne again") == ["Ada\n  Byrne"]
    two = [Record("1" * 32, "b", 5, 9, "Rex."), Record("2" * 32, "a", 0, 4, "Rex.")]
    assert [(c.document, c.start, c.end) for c in cite("Rex", two)] == [("b", 5, 8), ("a", 0, 3)], "in the order given"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("40", "There are 140 lamps, 401 doors, 2,40 and 40.5 of it."),
        ("400", "It costs 2,400 crowns."),
        ("3", "It costs 3.50 crowns."),
        ("Ann", "Anna and Joann came."),
        ("cafe", "The cafe\u0301 is open."),
        ("path", "Use sys_path."),
    ],
)
def test_a_part_of_a_word_is_no_citation(answer, text):
    assert quoted(answer, text) == []


@pytest.mark.parametrize(
    ("answer", "text", "wanted"),
    [
        ("40", "140, then 40.", "40"),
        ("1 1", "11 1 1", "1 1"),
        ("C++", "Use C++, or C.", "C++"),
        ("[a-z]+(x|y)?", "The pattern [a-z]+(x|y)? is odd.", "[a-z]+(x|y)?"),
        ("a.c", "abc a.c", "a.c"),
        (r"\d", r"A digit is \d there.", r"\d"),
        ("Paris.", "It is Paris, they say", "Paris"),
        ("40", "40", "40"),
        ("東京", "首都は東京です", "東京"),
    ],
)
def test_what_stands_there_as_a_whole_is_found(answer, text, wanted):
    assert quoted(answer, text) == [wanted]
    (citation,) = cite(answer, [one(text, 1000)])
    assert citation.start == 1000 + text.rindex(wanted) and citation.end == citation.start + len(wanted)


@pytest.mark.parametrize("answer", ["", "  \n", "...", "?", "🐕"])
def test_an_answer_without_a_word_has_no_citation(answer):
    assert cite(answer, chunks()) == ()


def test_nothing_is_cited_where_no_word_is_shared_or_nothing_was_read():
    assert cite("xylophone", chunks(), "How many lamps has Port Ember?") == ()
    assert cite("Ada Byrne", []) == ()


def test_otherwise_the_most_similar_sentence_is_named_as_not_exact():
    records = chunks(size=500)
    assert len(records) == 1, "all sentences in one passage"
    (citation,) = cite("It was Ada Byrne who retired", records)
    assert not citation.exact and citation.text == "ADA BYRNE retired in 1999."
    assert DOCUMENT[citation.start : citation.end] == citation.text
    (citation,) = cite("140 or so", records)
    assert (citation.text, citation.start) == ("Port Ember has 140 lamps.", 0)


def test_the_question_decides_between_sentences_that_share_as_much_with_the_answer():
    text = "Lyon has a market at six. Rome has a market at seven."
    assert [c.text for c in cite("six or seven", [one(text)], "What about Rome?")] == ["Rome has a market at seven."]
    assert [c.text for c in cite("six or seven", [one(text)], "What about Lyon?")] == ["Lyon has a market at six."]
    assert [c.text for c in cite("six or seven", [one(text)])] == ["Lyon has a market at six."], "else the first"


@given(st.text(max_size=40), st.text(max_size=80), st.integers(0, 10))
def test_whatever_comes_the_place_is_right(answer, text, start):
    document = "x" * start + text
    for citation in cite(answer, [one(text, start)], "Why?"):
        assert document[citation.start : citation.end] == citation.text != ""


@given(st.text("ab1.,é \n漢", min_size=1, max_size=12), st.text("ab1.,é \n漢", max_size=12))
def test_a_whole_passage_or_a_part_between_spaces_is_always_found(answer, rest):
    if cite(answer, [one(answer)]):
        assert quoted(answer, f"{rest} {answer} {rest}"), "what stands between spaces is whole"
