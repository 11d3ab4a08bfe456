"""Searching in rounds: what is asked in each, what comes out, and what it does for questions in two steps."""

from __future__ import annotations

import pytest

from memcourse.retrieval import Again, MemoryStore, Ranked, Record, Retriever, documents_of, evidence, sentences
from memcourse.world import load_world

TOWN = load_world()
QUESTIONS = ["Who is the captain?", "Where is the mill?"]


def hit(name: str) -> Ranked:
    return Ranked(Record(name, "doc", 0, 9, f" text {name}\n"), 1.0, 0.5)


class Recording:
    """A search that gives what it is told to, query by query, and remembers what it was asked."""

    def __init__(self, *answers: str) -> None:
        self.answers, self.asked = answers, []

    def search(self, questions, k=3):
        self.asked.append((list(questions), k))
        names = self.answers[min(len(self.asked), len(self.answers)) - 1]
        return [[hit(f"{name}{place}") for name in names][:k] for place in range(len(questions))]


def ids(found) -> list[list[str]]:
    return [[hit.record.id for hit in hits] for hits in found]


@pytest.fixture(scope="module")
def retriever(embedder):
    return Retriever(MemoryStore(documents_of(TOWN, sentences), embedder))


def test_one_round_is_the_search_behind(retriever):
    texts = [question.text for question in TOWN.questions[:8]]
    for k in (1, 3, 7):
        assert Again(retriever, 1).search(texts, k) == retriever.search(texts, k)


def test_each_round_asks_for_the_question_and_what_was_found_so_far():
    behind = Recording("abcd", "bcde", "fghi")
    found = Again(behind, 3).search(QUESTIONS, 3)
    assert behind.asked == [
        (QUESTIONS, 3),
        ([f"{QUESTIONS[0]} text a0", f"{QUESTIONS[1]} text a1"], 3),
        ([f"{QUESTIONS[0]} text a0 text b0", f"{QUESTIONS[1]} text a1 text b1"], 3),
    ]
    assert ids(found) == [["a0", "b0", "f0"], ["a1", "b1", "f1"]], "in the order in which they were found"


@pytest.mark.parametrize(("k", "rounds"), [(1, 1), (4, 2), (5, 2), (7, 3), (2, 3), (1, 4), (3, 3)])
def test_k_passages_and_none_twice(retriever, k, rounds):
    texts = [question.text for question in TOWN.select(split="dev", kinds=["two_hop"])]
    for names, hits in zip(ids(Again(retriever, rounds).search(texts, k)), retriever.search(texts, k), strict=True):
        assert len(names) == len(set(names)) == k
        kept = k // rounds or 1
        assert names[:kept] == ids([hits])[0][:kept], "what the first round found stays in front"


def test_what_was_found_before_gives_its_place_to_something_new():
    assert ids(Again(Recording("abcd", "abcd"), 2).search(["q"], 4)) == [["a0", "b0", "c0", "d0"]]
    assert ids(Again(Recording("ab", "ab"), 2).search(["q"], 4)) == [["a0", "b0"]], "nothing is new"


def test_with_fewer_passages_than_rounds_no_search_is_wasted():
    behind = Recording("abc", "def")
    assert ids(Again(behind, 5).search(["q"], 2)) == [["a0", "d0"]]
    assert len(behind.asked) == 3, "of the five rounds the first two have no place to fill"


def test_where_nothing_is_found_the_question_is_asked_again_alone():
    behind = Recording("", "xy")
    assert ids(Again(behind, 2).search(QUESTIONS, 2)) == [["x0", "y0"], ["x1", "y1"]]
    assert behind.asked[1] == (QUESTIONS, 2)
    assert Again(Recording(""), 3).search(QUESTIONS, 3) == [[], []] and Again(Recording("a"), 2).search([], 3) == []


def test_the_questions_given_stay_as_they_are():
    asked = tuple(QUESTIONS)
    Again(Recording("ab", "cd"), 2).search(asked, 2)
    assert asked == ("Who is the captain?", "Where is the mill?")


@pytest.mark.parametrize("rounds", [1, 2])
@pytest.mark.parametrize(
    ("questions", "k", "error", "message"),
    [
        ("Who?", 3, TypeError, "A list of questions is needed"),
        (["Who?", 3], 3, TypeError, "Question 1 is of type int"),
        (["Who?", ""], 3, ValueError, "Question 1 is empty"),
        (["Who?", "  "], 3, ValueError, "Question 1 is empty"),
        (["Who?"], 0, ValueError, "k must be at least 1, not 0"),
        (["Who?"], -1, ValueError, "k must be at least 1, not -1"),
    ],
)
def test_what_the_search_behind_refuses_is_refused(retriever, rounds, questions, k, error, message):
    for search in (retriever, Again(retriever, rounds)):
        with pytest.raises(error, match=message):
            search.search(questions, k)


@pytest.mark.parametrize("rounds", [0, -2])
def test_there_is_at_least_one_round(rounds):
    with pytest.raises(ValueError, match=f"at least one round, not {rounds}"):
        Again(Recording(), rounds)


def test_two_rounds_find_more_of_what_takes_two_steps(retriever):
    """Whether all facts of a question are found, on the splits that choices may be made on."""
    questions = [q for split in ("train", "dev") for q in TOWN.select(split=split, kinds=["two_hop"])]
    facts = {fact.id: fact for fact in TOWN.facts}

    def complete(search, k):
        found = search.search([question.text for question in questions], k)
        return sum(
            evidence(question, facts, [hit.record for hit in hits]) == 1
            for question, hits in zip(questions, found, strict=True)
        )

    once, again = ([complete(search, k) for k in (3, 4, 6)] for search in (retriever, Again(retriever)))
    assert len(questions) == 18 and all(b >= a for a, b in zip(once, again, strict=True)), (once, again)
    assert sum(again) >= sum(once) + 4, (once, again)
