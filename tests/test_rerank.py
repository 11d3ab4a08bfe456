"""Stages behind a search: a model orders passages by the question, and copies of one text don't fill the first places."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memcourse.retrieval import Diverse, MemoryStore, Ranked, Record, Reranked, Retriever, mmr, question_logprobs

from .model_support import tiny_lm
from .store_support import Hashed, pieces

TOPICS = [
    "The bakery on Mill Street opens at six in the morning and sells rye bread, rolls and plum cake.",
    "The volcano last erupted two hundred years ago; its crater now holds a deep, cold lake.",
    "To change the tyre of a bicycle, release the brake, take out the wheel and lift the tyre off the rim.",
    "The museum shows paintings of the seventeenth century, most of them portraits of merchants.",
]
QUESTIONS = [
    "When does the bakery open in the morning?",
    "When did the volcano last erupt?",
    "How do I take the tyre off the wheel of my bicycle?",
    "Which paintings does the museum show?",
]
balances = st.sampled_from([0, 0.25, 0.5, 0.75, 1])


def hit(text: str, score: float = 0.0, cosine: float = 0.5, at: int = 0) -> Ranked:
    return Ranked(Record(f"{at}:{text}", "d", at, at + len(text), text, {"year": "1900"}), score, cosine)


class Fixed:
    """A search that finds the same passages for every question, and remembers what it was asked."""

    def __init__(self, *hits: Ranked) -> None:
        self.hits, self.asked = list(hits), []

    def search(self, questions, k=3):
        self.asked.append((list(questions), k))
        return [self.hits[:k] for _ in questions]


class Longer:
    """Vectors of many lengths from a table: direction (cosines are between angles) and length."""

    name, dim = "longer", 2

    def __init__(self, **angles: float) -> None:
        self.angles, self.seen = angles, []

    def encode(self, texts):
        self.seen.append(list(texts))
        return np.array([[math.cos(self.angles[t]), math.sin(self.angles[t])] for t in texts]) * [
            [10.0 ** (i % 3)] for i in range(len(texts))
        ]


def test_the_model_finds_the_passage_that_answers(lm):
    stage = Reranked(Fixed(*[hit(text, at=i) for i, text in enumerate(TOPICS)]), lm)
    found = stage.search(QUESTIONS, 4)
    assert [hits[0].record.text for hits in found] == TOPICS
    scores = question_logprobs(lm, QUESTIONS[0], [h.record.text for h in found[0]])
    assert [h.score for h in found[0]] == pytest.approx(scores, abs=1e-4) and max(scores) < 0


def test_logprobs_are_the_models_score_for_each_token():
    lm, question = tiny_lm(), "When does it open?"
    wanted = lm.score([f"Passage: {text}\nQuestion:" for text in TOPICS], [" " + question] * 4)
    n = len(lm.encode(" " + question))
    calls = []
    found = question_logprobs(lm, question, TOPICS, lambda *call: calls.append(call))
    assert n > 3 and found == pytest.approx([total / n for total in wanted], abs=1e-4)
    assert calls[-1] == (4, 4) and question_logprobs(lm, question, []) == []


def test_equal_passages_are_scored_once_and_alike():
    calls = []
    texts = [TOPICS[0], TOPICS[1], TOPICS[0]]
    found = question_logprobs(tiny_lm(), "Why?", texts, lambda *call: calls.append(call))
    assert found[0] == found[2] != found[1] and calls == [(2, 2)]


def test_o47_questions_together_get_what_each_gets_alone():
    lm, asked = tiny_lm(), ["Why?", "When does the bakery on Mill Street open, and who works there at night?", "Why?"]
    stage = Reranked(Fixed(*[hit(text) for text in TOPICS]), lm)
    together = stage.search(asked, 4)
    assert together[0] == together[2] and together[0] != together[1]
    for question, hits in zip(asked, together, strict=True):
        (alone,) = stage.search([question], 4)
        assert [h.record for h in alone] == [h.record for h in hits]
        assert [h.score for h in alone] == pytest.approx([h.score for h in hits], abs=1e-4)


def test_all_questions_take_one_call_of_the_model(monkeypatch):
    lm, calls = tiny_lm(), []
    score = lm.score
    monkeypatch.setattr(lm, "score", lambda p, c, **more: calls.append((p, c)) or score(p, c, **more))
    Reranked(Fixed(hit("one"), hit("two"), hit("one", at=9)), lm).search(["Why?", "Who?", "Why?"], 1)
    assert calls == [(["Passage: one\nQuestion:", "Passage: two\nQuestion:"], [[" Why?", " Who?"]] * 2)]


def test_o48_a_passage_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"Prompt 1 has .* but the window of tiny is 64"):
        Reranked(Fixed(hit("short"), hit("long " * 70)), tiny_lm(), pool=2).search(["Why?"], 1)


def test_o45_a_reranked_score_is_a_logprob_and_the_cosine_stays():
    hits = [hit(text, score=1 - i / 10, cosine=0.9 - i / 10, at=i) for i, text in enumerate(TOPICS)]
    (found,) = Reranked(Fixed(*hits), tiny_lm()).search(["Why?"], 4)
    scores = [h.score for h in found]
    assert scores == sorted(scores, reverse=True) and max(scores) < 0
    before = {h.record.text: h for h in hits}
    assert all(h.record is before[h.record.text].record and h.cosine == before[h.record.text].cosine for h in found)


def test_passages_that_score_alike_keep_their_order():
    hits = [hit("same", at=i) for i in (5, 3, 8)]
    (found,) = Reranked(Fixed(*hits), tiny_lm()).search(["Why?"], 3)
    assert [h.record.start for h in found] == [5, 3, 8]


def stages(search, pool):
    return [Reranked(search, tiny_lm(), pool), Diverse(search, Hashed(), pool)]


@pytest.mark.parametrize("which", [0, 1])
def test_a_stage_takes_the_pool_and_returns_k(which):
    search = Fixed(*[hit(text, at=i) for i, text in enumerate(TOPICS)])
    stage = stages(search, 3)[which]
    found = stage.search(["Why?", "Who?"], 2)
    assert search.asked == [(["Why?", "Who?"], 3)] and [len(hits) for hits in found] == [2, 2]
    assert {h.record.text for hits in stage.search(["Why?"], 3) for h in hits} == set(TOPICS[:3])


@pytest.mark.parametrize("which", [0, 1])
def test_o26_o27_few_passages_none_and_no_question(which):
    few = stages(Fixed(hit("one"), hit("two")), 5)[which]
    assert [sorted(h.record.text for h in hits) for hits in few.search(["Why?"], 5)] == [["one", "two"]]
    assert few.search([], 1) == []
    assert stages(Fixed(), 5)[which].search(["Why?", "Who?"], 2) == [[], []]


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(
    ("questions", "k", "error", "message"),
    [
        (["Why?"], 4, ValueError, "at most the pool of 3, not 4"),
        (["Why?"], 0, ValueError, "at least 1.*not 0"),
        (["Why?", "  "], 1, ValueError, "Question 1 is blank"),
        ("Why?", 1, TypeError, "list of questions"),
        ([None], 1, TypeError, "NoneType"),
    ],
)
def test_o42_bad_questions_and_k_are_refused_before_any_search(which, questions, k, error, message):
    search = Fixed(hit("one"))
    with pytest.raises(error, match=message):
        stages(search, 3)[which].search(questions, k)
    assert not search.asked


def test_stages_stand_behind_a_retriever_and_behind_each_other():
    store = MemoryStore([("d", pieces(*TOPICS), {})], Hashed())
    plain = Retriever(store, "vectors")
    stacked = Diverse(Reranked(plain, tiny_lm(), pool=4), store.embedder, pool=3, balance=1)
    (found,), (known,) = stacked.search(["Who?"], 2), plain.search(["Who?"], 4)
    cosines = {h.record.id: h.cosine for h in known}
    assert len(found) == 2 and all(h.cosine == cosines[h.record.id] and h.score < 0 for h in found)
    with pytest.raises(ValueError, match="pool of 2, not 3"):
        Diverse(Reranked(plain, tiny_lm(), pool=2), store.embedder, pool=3).search(["Who?"], 2)


def test_mmr_by_hand():
    relevance, similarity = [0.9, 0.8, 0.5], [[1, 0.95, 0.1], [0.95, 1, 0.2], [0.1, 0.2, 1]]
    # after item 0: 0.5 * 0.8 - 0.5 * 0.95 = -0.075 against 0.5 * 0.5 - 0.5 * 0.1 = 0.2
    assert mmr(relevance, similarity, 3, 0.5) == [0, 2, 1]
    # 0.9 * 0.8 - 0.1 * 0.95 = 0.625 against 0.9 * 0.5 - 0.1 * 0.1 = 0.44
    assert mmr(relevance, similarity, 3, 0.9) == [0, 1, 2] and mmr(relevance, similarity, 1) == [0]
    assert mmr([], [], 3) == []


def test_mmr_looks_at_the_nearest_of_those_picked():
    # item 3 is the very item 0, and unlike item 1; its mean similarity is below that of item 2
    similarity = [[1, 0, 0.6, 1], [0, 1, 0.6, 0], [0.6, 0.6, 1, 0.5], [1, 0, 0.5, 1]]
    assert mmr([1, 0.9, 0.5, 0.5], similarity, 4, 0.5) == [0, 1, 2, 3]


def test_balance_0_spreads():
    # on a line: the most relevant first, then the farthest end, then the middle
    places = np.array([0, 1, 2, 5, 9, 10])
    assert mmr([5, 9, 1, 1, 1, 1], -np.abs(places[:, None] - places), 4, 0) == [1, 5, 3, 0]


@st.composite
def items(draw):
    """Relevances and symmetric similarities in eighths, which are exact in binary, so that ties are true ties."""
    n = draw(st.integers(0, 7))
    eighths = st.integers(-8, 8).map(lambda i: i / 8)
    similarity = np.array(draw(st.lists(eighths, min_size=n * n, max_size=n * n)), dtype=float).reshape(n, n)
    return draw(st.lists(eighths, min_size=n, max_size=n)), np.triu(similarity) + np.triu(similarity, 1).T


@given(items(), balances, st.integers(1, 9))
def test_mmr_follows_the_definition(given_items, balance, k):
    relevance, similarity = given_items
    picked = mmr(relevance, similarity, k, balance)
    assert sorted(set(picked)) == sorted(picked) and len(picked) == min(k, len(relevance))
    assert all(type(i) is int for i in picked)

    def value(i, before):
        return balance * relevance[i] - (1 - balance) * max(similarity[i][j] for j in before)

    for place, i in enumerate(picked):
        left = [j for j in range(len(relevance)) if j not in picked[:place]]
        values = [value(j, picked[:place]) if place else relevance[j] for j in left]
        assert i == left[values.index(max(values))], "the highest, and the earlier of equals"


@given(items(), st.integers(1, 9))
def test_balance_1_sorts_by_relevance(given_items, k):
    relevance, similarity = given_items
    assert mmr(relevance, similarity, k, 1) == np.argsort(-np.array(relevance), kind="stable").tolist()[:k]


def test_copies_of_a_text_do_not_fill_the_first_places():
    hits = [hit(t, cosine=c, at=i) for i, (t, c) in enumerate(zip("aaabc", [0.8, 0.8, 0.8, 0.7, 0.6], strict=True))]
    embedder = Longer(a=0, b=1.2, c=-1.3)
    (found,) = Diverse(Fixed(*hits), embedder).search(["Why?"], 5)
    assert [(h.record.text, h.record.start) for h in found] == [("a", 0), ("b", 3), ("c", 4), ("a", 1), ("a", 2)]
    assert sorted(found, key=lambda h: h.record.start) == hits and embedder.seen == [["a", "b", "c"]]
    (plain,) = Diverse(Fixed(*hits), embedder, balance=1).search(["Why?"], 5)
    assert plain == hits


def test_o32_the_length_of_a_vector_says_nothing():
    hits = [hit(t, cosine=c) for t, c in zip("abc", [0.9, 0.8, 0.7], strict=True)]
    # the vectors have the lengths 1, 10 and 100; b is near to a, and c is at a right angle to it
    (found,) = Diverse(Fixed(*hits), Longer(a=0, b=0.1, c=math.pi / 2)).search(["Why?"], 3)
    assert [h.record.text for h in found] == ["a", "c", "b"]
    (again,) = Diverse(Fixed(*hits), Longer(a=0, b=math.pi / 2, c=1.5)).search(["Why?"], 2)
    assert [h.record.text for h in again] == ["a", "b"]


def test_near_copies_are_told_by_an_embedder(embedder):
    texts = [TOPICS[0], TOPICS[0].replace("plum", "apple"), TOPICS[0].replace("rolls", "buns"), TOPICS[1], TOPICS[3]]
    store = MemoryStore([("d", pieces(*texts), {})], embedder)
    search = Retriever(store, "vectors")
    (before,), (after,) = (s.search([QUESTIONS[0]], 3) for s in (search, Diverse(search, embedder, balance=0.4)))
    assert all("bakery" in h.record.text for h in before)
    assert after[0] == before[0] and sum("bakery" in h.record.text for h in after) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1], [[1]], 0), "k must be at least 1, not 0"),
        (([1], [[1]], 1, 1.1), "not 1.1"),
        (([1], [[1]], 1, -0.1), "not -0.1"),
        (([1], [[1]], 1, math.nan), "not nan"),
        (([1, 2], [[1]], 1), r"\(2,\) and \(1, 1\)"),
        (([[1]], [[1]], 1), r"\(1, 1\) and \(1, 1\)"),
        (([1, 2], [1, 2], 1), r"\(2,\) and \(2,\)"),
        (([math.nan], [[1]], 1), "NaN"),
        (([1, 2], [[1, math.inf], [0, 1]], 1), "infinite"),
    ],
)
def test_bad_input_of_mmr_gets_a_sentence(arguments, message):
    with pytest.raises(ValueError, match=message):
        mmr(*arguments)


@pytest.mark.parametrize("pool", [0, -1])
def test_a_stage_needs_a_pool(pool):
    for make in (lambda: Reranked(Fixed(), None, pool), lambda: Diverse(Fixed(), Hashed(), pool)):
        with pytest.raises(ValueError, match=f"pool must be at least 1, not {pool}"):
            make()
    with pytest.raises(ValueError, match="balance must be a number from 0 to 1, not 2"):
        Diverse(Fixed(), Hashed(), balance=2)


@pytest.mark.parametrize(
    ("question", "texts", "error", "message"),
    [
        (" ", ["a"], ValueError, "Question 0 is blank"),
        (7, ["a"], TypeError, "int"),
        ("Why?", ["a", " "], ValueError, "Passage 1 is blank"),
        ("Why?", "a", TypeError, "list of passages"),
        ("Why?", ["a", None], TypeError, "Passage 1 is of type NoneType"),
    ],
)
def test_o42_bad_questions_and_passages_are_refused(question, texts, error, message):
    with pytest.raises(error, match=message):
        question_logprobs(None, question, texts)
