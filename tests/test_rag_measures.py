"""Measures of a RAG: each by hand on made-up answers, and the rows of a real one in the town."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import partial

import pytest

from memcourse import metrics
from memcourse.model.prompts import Example, open_question, prompt_head
from memcourse.retrieval import RAG, Answer, MemoryStore, Ranked, Record, Retriever, content_id
from memcourse.retrieval.chunking import by_headings, by_sentences, sentences
from memcourse.retrieval.rag_measures import (
    VERDICTS,
    documents_of,
    evidence,
    gold_passages,
    judged,
    ranked_passages,
    read_everything,
    solved_examples,
    verdict,
)
from memcourse.world import Collection, Fact, Question, document, load_world

from .store_support import Hashed

TOWN = load_world()
FACTS = {fact.id: fact for fact in TOWN.facts}
TEXT = "# Bridge\n\nThe toll is 5 crowns.\n\nThe keeper is Ada Byrne. She has 12 geese."
SMALL = Collection((document("bridge", TEXT, metadata={"kind": "note"}), document("mill", "The mill has 5 crowns.")))


def record(start: int, end: int, name: str = "bridge") -> Record:
    text = {each.id: each.text for each in SMALL.documents}[name][start:end]
    return Record(content_id(name, start, end, text), name, start, end, text)


def ranked(*records: Record) -> list[Ranked]:
    return [Ranked(each, 1.0, 0.5) for each in records]


@pytest.mark.parametrize("cut", [sentences, partial(by_sentences, size=200), partial(by_headings, size=300)])
def test_documents_come_with_chunks_in_their_places_and_metadata(cut):
    documents = documents_of(TOWN, cut, ["kind", "date"])
    assert [name for name, _, _ in documents] == [each.id for each in TOWN.documents]
    for (_, chunks, metadata), each in zip(documents, TOWN.documents, strict=True):
        assert "".join(chunk.text for chunk in chunks) == each.text
        assert all(each.text[chunk.start : chunk.end] == chunk.text for chunk in chunks)
        assert metadata == {"kind": each.metadata["kind"], "date": each.metadata["date"]}


def test_a_store_takes_the_documents_also_where_a_field_is_missing():
    documents = documents_of(SMALL, iter_sentences, ["kind"])
    assert [metadata for _, _, metadata in documents] == [{"kind": "note"}, {"kind": ""}]
    records = MemoryStore(documents, Hashed(), ["kind"]).records({"kind": "note"})
    assert {each.document for each in records} == {"bridge"} and documents_of(SMALL, sentences)[0][2] == {}


def iter_sentences(text):
    yield from sentences(text)  # a generator will do


def test_gold_passages_are_the_relevant_ones_as_a_store_would_give_them():
    for question in TOWN.questions:
        gold = gold_passages(TOWN, question)
        assert ranked_passages(TOWN, gold) == list(question.passages)
        for hit in gold:
            each = hit.record
            whole = next(document.text for document in TOWN.documents if document.id == each.document)
            assert whole[each.start : each.end] == each.text
            assert each.id == content_id(each.document, each.start, each.end, each.text)
        assert question.kind == "unanswerable" or evidence(question, FACTS, [hit.record for hit in gold]) == 1
    assert gold_passages(TOWN, replace(TOWN.questions[0], relevance={"nothing#1": 0})) == [], "grade 0 is irrelevant"


def test_passages_are_named_best_first_and_once():
    heading, toll, keeper = record(0, 10), record(10, 31), record(33, 57)
    assert TEXT[10:31] == "The toll is 5 crowns." and TEXT[33:57] == "The keeper is Ada Byrne."
    mill = record(0, 10, "mill")
    assert ranked_passages(SMALL, ranked(keeper, mill, heading, toll, record(58, len(TEXT)))) == [
        "bridge#2", "mill#1", "bridge#1",
    ]  # fmt: skip
    assert ranked_passages(SMALL, []) == [] and ranked_passages(SMALL, ranked(heading)) == []
    strange = replace(toll, document="nowhere")
    assert ranked_passages(SMALL, ranked(strange, toll)) == ["bridge#1"]


@pytest.mark.parametrize(("start", "end", "wanted"), [(0, 38, "bridge#1"), (0, len(TEXT), "bridge#2"), (25, 45, "bridge#2")])
def test_a_chunk_over_several_passages_counts_for_the_one_it_shares_most_with(start, end, wanted):
    assert ranked_passages(SMALL, ranked(record(start, end))) == [wanted]


def fact(name: str, value: str, where: str = "bridge") -> Fact:
    return Fact(name, "bridge", name, value, "", "", where, "test")


TABLE = {each.id: each for each in (fact("toll", "5 crowns"), fact("keeper", "ada byrne"), fact("geese", "2"))}
BOTH = Question("q", "Who takes what?", ("Ada Byrne takes 5 crowns",), facts=("toll", "keeper"))


def test_evidence_is_the_share_of_facts_in_the_documents_that_state_them():
    toll, keeper, mill = record(10, 31), record(33, 57), record(0, 22, "mill")
    assert evidence(BOTH, TABLE, [toll, keeper]) == evidence(BOTH, TABLE, [record(0, len(TEXT))]) == 1
    assert evidence(BOTH, TABLE, [toll]) == evidence(BOTH, TABLE, [keeper]) == 0.5
    assert evidence(BOTH, TABLE, []) == 0
    assert "5 crowns" in mill.text and evidence(BOTH, TABLE, [mill]) == 0, "the right value in the wrong document"
    assert evidence(BOTH, TABLE, [mill, keeper]) == 0.5
    assert evidence(BOTH, TABLE, [record(10, 28)]) == 0, "a value cut apart is no evidence"
    assert evidence(replace(BOTH, facts=("geese",)), TABLE, [record(0, len(TEXT))]) == 0, "2 does not stand in 12"


def test_every_fact_of_the_town_is_found_in_the_document_that_states_it():
    records = [Record("", each.id, 0, len(each.text), each.text) for each in TOWN.documents]
    asked = [question for question in TOWN.questions if question.facts]
    assert len(asked) > 300 and all(evidence(question, FACTS, records) == 1 for question in asked)


def test_without_facts_there_is_no_evidence_to_look_for():
    with pytest.raises(ValueError, match="Question q rests on no facts"):
        evidence(replace(BOTH, facts=()), TABLE, [])


def answered(draft: str, retrieved=(), used=(), cut=()) -> Answer:
    return Answer(BOTH.text, draft, draft, 0.5, (), tuple(ranked(*retrieved)), tuple(used), tuple(cut), "", 9, {"read": 1.0})


TOLL, KEEPER = record(10, 31), record(33, 57)


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        (answered("the Ada Byrne takes 5 crowns."), "right"),
        (answered("Ada Byrne", [TOLL, KEEPER], [TOLL, KEEPER]), "model"),
        (answered("", [TOLL, KEEPER], [TOLL, KEEPER]), "model"),
        (answered("Ada Byrne", [TOLL], [TOLL]), "retrieval"),
        (answered("Ada Byrne"), "retrieval"),
        (answered("Ada Byrne", [TOLL, KEEPER], [TOLL], [KEEPER]), "assembly"),
        (
            answered("Ada", [TOLL, KEEPER], [TOLL, replace(KEEPER, text=KEEPER.text[:-4])], [KEEPER]),
            "assembly",
        ),  # not the name
        (
            answered("Ada", [TOLL, KEEPER], [TOLL, replace(KEEPER, text=KEEPER.text[:-1])], [KEEPER]),
            "model",
        ),  # the name, too
        (answered("5 crowns", [TOLL, KEEPER], [TOLL]), "model"),  # read each by itself, and another's answer won
    ],
)
def test_a_verdict_names_the_first_part_that_failed(answer, wanted):
    assert verdict(BOTH, TABLE, answer) == wanted and wanted in VERDICTS


def test_a_verdict_judges_the_draft_also_where_the_system_abstained():
    silent = replace(answered("Ada Byrne takes 5 crowns"), text="")
    assert silent.abstained and verdict(BOTH, TABLE, silent) == "right"


@pytest.fixture(scope="module")
def rag(lm, embedder):
    retriever = Retriever(MemoryStore(documents_of(TOWN, partial(by_sentences, size=300)), embedder))
    return RAG(lm, retriever, k=2, examples=solved_examples(TOWN, 6), max_new_tokens=10)


ASKED = [*TOWN.select(split="dev", kinds=["single"])[:4], *TOWN.select(split="dev", kinds=["unanswerable"])[:1]]


@pytest.fixture(scope="module")
def rows(rag):
    return judged(rag, TOWN, ASKED)


def test_rows_say_what_the_system_said(rag, rows):
    answers = rag.answer_many([question.text for question in ASKED])
    for question, answer, row in zip(ASKED, answers, rows, strict=True):
        assert (row["id"], row["kind"], row["answer"], row["tokens"]) == (
            question.id, question.kind, answer.draft, answer.tokens,
        )  # fmt: skip
        assert row["confidence"] == pytest.approx(answer.confidence, abs=1e-4) and row["seconds"] > 0
        assert row["retrieved"] == ranked_passages(TOWN, answer.retrieved)
        assert row["cited"] is any(citation.exact for citation in answer.citations)
        if question.answers:
            assert row["em"] == metrics.exact_match(answer.draft, question.answers)
            assert row["f1"] == metrics.token_f1(answer.draft, question.answers) >= row["em"]
            assert row["verdict"] == verdict(question, FACTS, answer) and (row["verdict"] == "right") == (row["em"] == 1)
    assert json.loads(json.dumps(rows)) == rows, "plain values"
    assert sum(row["em"] or 0 for row in rows) > 0, "the system knows something"


def test_an_unanswerable_question_is_neither_right_nor_wrong(rows):
    last = rows[-1]
    assert last["kind"] == "unanswerable" and last["answer"]
    assert last["em"] is last["f1"] is last["verdict"] is None and last["retrieved"]


def test_given_passages_take_the_place_of_the_search(rag, rows, monkeypatch):
    monkeypatch.setattr(rag.search, "search", lambda *a: pytest.fail("nothing is to be searched"))
    seen = []
    gold = judged(rag, TOWN, ASKED, [gold_passages(TOWN, q) for q in ASKED], lambda *done: seen.append(done))
    closed = judged(rag, TOWN, ASKED, [[]] * len(ASKED))
    assert [row["retrieved"] for row in gold] == [list(question.passages) for question in ASKED] and seen[-1] == (5, 5)
    assert not any(row["retrieved"] or row["cited"] for row in closed)
    assert {row["verdict"] for row in gold[:-1]} <= {"right", "model"}, "a perfect search is never to blame"
    assert {row["verdict"] for row in closed[:-1]} <= {"right", "retrieval"}
    scores = [sum(row["f1"] for row in some[:-1]) for some in (gold, rows, closed)]
    assert scores[0] >= scores[1] > scores[2], "the better the passages, the better the answers"
    with pytest.raises(ValueError, match="5 questions but 1 lists"):
        judged(rag, TOWN, ASKED, [[]])


def test_solved_examples_are_of_split_train_with_the_answer_as_words_of_one_sentence():
    every = solved_examples(TOWN, 62)
    train = {question.text: question for question in TOWN.select(split="train")}
    assert len({example.question for example in every}) == 62
    for example in every:
        question = train[example.question]
        assert example.answer == question.answer and len(question.passages) == 1 and len(example.answer) < 25
        passage = TOWN.passages[question.passages[0]]
        assert example.passage in [piece.text.strip() for piece in sentences(passage.text)]
        assert re.search(rf"(?<!\w){example.answer}(?!\w)", example.passage), "1 does not stand in 11:15"


@pytest.mark.parametrize("n", [1, 2, 16, 61])
def test_n_examples_are_spread_over_all(n):
    every, some = solved_examples(TOWN, 62), solved_examples(TOWN, n)
    places = [every.index(example) for example in some]
    gaps = {b - a for a, b in zip(places, [*places[1:], 62], strict=True)}
    assert len(some) == n and places[0] == 0 and max(gaps) - min(gaps) <= 1
    assert solved_examples(TOWN, n) == some and len(solved_examples(TOWN)) == 16


@pytest.mark.parametrize("n", [0, -1, 63])
def test_there_is_a_number_of_examples(n):
    with pytest.raises(ValueError, match=rf"There are 62 solved questions .* not {n}\."):
        solved_examples(TOWN, n)


EXAMPLES = [
    Example("Who sings?", "Tom Reed", "Tom Reed sings."),
    Example("When does it close?", "at four", "It closes at four."),
]
QUESTIONS = ["Who is the keeper?", "How much is the toll of the bridge?"]
RECORDS = [TOLL, replace(KEEPER, text=f"{KEEPER.text}\n\n"), record(58, len(TEXT)), record(0, 22, "mill")]


def whole(question: str, records) -> str:
    passage = " ".join(each.text.strip() for each in records)
    return prompt_head(EXAMPLES) + open_question(question, passage)


def test_everything_is_read_as_one_plain_prompt_would_be(lm):
    answers, kept = read_everything(lm, QUESTIONS, RECORDS, EXAMPLES, limit=500, room=8)
    plain = lm.generate([whole(question, RECORDS) for question in QUESTIONS], 8, stop=["\n"])
    assert kept == RECORDS and answers == [text.strip() for text in plain] and answers[1].startswith("5")


def test_no_example_is_needed_and_no_question_gives_no_answer(lm):
    answers, _ = read_everything(lm, QUESTIONS[:1], RECORDS, [], limit=500, room=4)
    text = " ".join(each.text.strip() for each in RECORDS)
    assert answers == [lm.generate(open_question(QUESTIONS[0], text), 4, stop=["\n"]).strip()]
    assert read_everything(lm, [], RECORDS, EXAMPLES, limit=500) == ([], RECORDS)


def test_o48_as_many_passages_as_fit_and_not_one_token_more(lm, monkeypatch):
    monkeypatch.setattr(lm, "generate", lambda prompts, *a, **b: [""] * len(prompts))
    monkeypatch.setattr(lm, "prefix", lambda text: text)
    room = 5

    def needed(records):
        return room + max(len(lm.encode(whole(question, records))) for question in QUESTIONS)

    sizes = [needed(RECORDS[:n]) for n in range(1, 5)]
    for limit in range(sizes[0], sizes[-1] + 3):
        _, kept = read_everything(lm, QUESTIONS, RECORDS, EXAMPLES, limit, room)
        assert len(kept) == sum(size <= limit for size in sizes) and kept == RECORDS[: len(kept)], limit
    monkeypatch.setattr(lm, "window", sizes[1])
    assert len(read_everything(lm, QUESTIONS, RECORDS, EXAMPLES, 10**6, room)[1]) == 2, "never more than the window"
    monkeypatch.setattr(lm, "prefix", lambda text: pytest.fail("nothing may be read"))
    with pytest.raises(ValueError, match=f"Not even the first passage fits into {sizes[0] - 1} tokens"):
        read_everything(lm, QUESTIONS, RECORDS, EXAMPLES, sizes[0] - 1, room)


@pytest.mark.parametrize(
    ("questions", "records", "room", "error", "message"),
    [
        ("Who?", RECORDS, 8, TypeError, "A list of questions is needed"),
        (["Who?", ""], RECORDS, 8, ValueError, "Question 1 is empty"),
        (["Who?", " "], RECORDS, 8, ValueError, "question is empty"),
        (["Who?"], [], 8, ValueError, "no passage to read"),
        (["Who?"], RECORDS, 0, ValueError, "at least 1 token, not 0"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_read(lm, monkeypatch, questions, records, room, error, message):
    monkeypatch.setattr(lm, "prefix", lambda text: pytest.fail("nothing may be read"))
    with pytest.raises(error, match=message):
        read_everything(lm, questions, records, EXAMPLES, 500, room)
