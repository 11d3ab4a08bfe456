"""RAG: what is read, what is said and what is told about it, cross-checked with the model's own calls."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from memcourse.metrics import normal_answer
from memcourse.model import Example, completion_prompt, weights_sha256
from memcourse.model.prompts import open_question, prompt_head
from memcourse.retrieval import RAG, MemoryStore, Ranked, Retriever, Store

from .store_support import Hashed, pieces

N = 6
TEXTS = {
    "lamp": "The keeper of the lamp is Ada Byrne.",
    "dog": "The dog of the harbour is called Rex. He barks at gulls.",
    "market": "The market opens at seven in the morning.",
}
EXAMPLES = [
    Example("Who sings in the choir?", "Tom Reed", "Tom Reed sings in the choir."),
    Example("When does the school close?", "at four", "The school closes at four."),
]
QUESTIONS = ["Who is the keeper of the lamp?", "When does the market open?", "What is the dog of the harbour called?"]
READ = pytest.mark.parametrize("read", ["together", "each"])


@pytest.fixture(scope="module")
def retriever(embedder):
    return Retriever(MemoryStore([(name, pieces(text), None) for name, text in TEXTS.items()], embedder))


@pytest.fixture(scope="module")
def rags(lm, retriever):
    return {read: RAG(lm, retriever, k=2, read=read, examples=EXAMPLES, max_new_tokens=N) for read in ("together", "each")}


@pytest.fixture(scope="module")
def answers(rags):
    return {read: rag.answer_many(QUESTIONS) for read, rag in rags.items()}


def alike(a, b):
    """Equal but for the time and the last digits."""
    bare = [replace(x, seconds={}, confidence=0.0, retrieved=()) for x in (a, b)]
    close = [(hit.record, pytest.approx((hit.score, hit.cosine), abs=1e-5)) for hit in b.retrieved]
    return (
        bare[0] == bare[1]
        and a.confidence == pytest.approx(b.confidence, abs=1e-4)
        and [(hit.record, (hit.score, hit.cosine)) for hit in a.retrieved] == close
    )


def chance(lm, prompt):
    """Text and mean probability of what the model says, from a plain run and from `score`: the answer and its new line."""
    text = lm.generate(prompt, N, stop=["\n"])
    tail = text + "\n" if len(lm.encode(text)) < N else text
    return text.strip(), math.exp(lm.score([prompt], [tail])[0] / len(lm.encode(tail)))


@READ
def test_o47_an_answer_is_the_same_alone_and_in_company(rags, answers, read):
    rag = rags[read]
    assert all(alike(rag.answer(question), answer) for question, answer in zip(QUESTIONS, answers[read], strict=True))
    turned = rag.answer_many([*QUESTIONS[::-1], "Why is the sky above a large and very quiet harbour blue in the evening?"])
    assert all(alike(a, b) for a, b in zip(turned, answers[read][::-1], strict=False)) and len(turned) == 4


@READ
def test_o46_the_examples_do_not_grow_with_the_calls(rags, answers, read):
    prefix = rags[read]._prefix
    before = (len(prefix), prefix.nbytes, [float(keys.sum()) for keys, _ in prefix.layers])
    for _ in range(2):
        assert alike(rags[read].answer(QUESTIONS[0]), answers[read][0])
    assert (len(prefix), prefix.nbytes, [float(keys.sum()) for keys, _ in prefix.layers]) == before


def test_the_weights_stay_as_they_are(lm, rags):
    before = weights_sha256(lm.model)
    rags["each"].answer_many(QUESTIONS[:2])
    assert weights_sha256(lm.model) == before and not lm.model.training


def test_together_is_what_the_model_says_to_one_prompt_of_all_passages(lm, retriever, answers):
    for question, answer, hits in zip(QUESTIONS, answers["together"], retriever.search(QUESTIONS, 2), strict=True):
        passage = " ".join(hit.record.text for hit in hits[::-1])
        assert answer.prompt == completion_prompt(question, passage=passage, examples=EXAMPLES)
        text, mean = chance(lm, answer.prompt)
        assert answer.text == answer.draft == text and answer.confidence == pytest.approx(mean, rel=1e-3)
        assert list(answer.retrieved) == hits and answer.used == tuple(hit.record for hit in hits) and answer.cut == ()
        assert answer.tokens == len(lm.encode(answer.prompt))


def test_each_is_the_sum_over_passages_of_weight_times_probability(lm, rags):
    """RAG-Sequence by hand; of these three passages two hold the same answer, and the first another one."""
    records = MemoryStore(
        [("d", pieces("The dog is called Tom.", "The dog is called Rex.", "Everybody calls the dog Rex."), None)], Hashed()
    ).records()
    question = "What is the dog called?"
    (answer,) = rags["each"].read_many([question], [[Ranked(record, 1.0, 1.0) for record in records]])
    prompts = [completion_prompt(question, passage=record.text, examples=EXAMPLES) for record in records]
    said = [chance(lm, prompt) for prompt in prompts]
    behind: dict[str, float] = {}
    for rank, (text, mean) in enumerate(said, 1):
        behind[normal_answer(text)] = behind.get(normal_answer(text), 0.0) + mean / rank
    assert len(behind) == 2
    best = max(behind, key=behind.get)
    chosen = [i for i, (text, _) in enumerate(said) if normal_answer(text) == best]
    assert answer.text == said[chosen[0]][0] and answer.confidence == pytest.approx(behind[best] / (11 / 6), rel=1e-3)
    assert answer.used == tuple(records[i] for i in chosen) and answer.prompt == prompts[chosen[0]]
    assert answer.tokens == sum(len(lm.encode(prompt)) for prompt in prompts) and len(answer.retrieved) == 3
    assert {citation.start for citation in answer.citations} <= {
        record.text.find(answer.text) + record.start for record in records
    }


@READ
def test_an_answer_tells_what_it_rests_on(answers, read):
    for answer, name, wanted in zip(answers[read], ("lamp", "market", "dog"), ("Ada Byrne", "seven", "Rex"), strict=True):
        assert wanted in answer.text and not answer.abstained and answer.question in answer.prompt
        assert 0 < answer.confidence <= 1 and answer.retrieved[0].record.document == name
        cited = [citation for citation in answer.citations if citation.document == name]
        assert cited and all(TEXTS[name][c.start : c.end] == c.text for c in cited) and wanted in cited[0].text
        assert set(answer.seconds) == {"retrieve", "read"} and all(0 < seconds < 60 for seconds in answer.seconds.values())
        assert answer.prompt.endswith("Answer:") and answer.prompt.startswith(prompt_head(EXAMPLES))


@READ
def test_below_the_threshold_the_answer_is_empty_and_the_draft_stays(lm, retriever, answers, read):
    known = answers[read][1]
    settings = {"k": 2, "read": read, "examples": EXAMPLES, "max_new_tokens": N}
    silent = RAG(lm, retriever, **settings, abstain_below=min(1.0, known.confidence + 1e-3)).answer(QUESTIONS[1])
    assert (silent.text, silent.draft, silent.abstained) == ("", known.text, True) and silent.citations == known.citations
    assert RAG(lm, retriever, **settings, abstain_below=known.confidence - 1e-3).answer(QUESTIONS[1]).text == known.text


@READ
def test_without_passages_the_model_is_on_its_own(lm, rags, read):
    closed = rags[read].read_many(QUESTIONS[:2], [[], ()])
    for question, answer in zip(QUESTIONS, closed, strict=False):
        prompt = prompt_head(EXAMPLES) + open_question(question)
        assert answer.prompt == prompt and (answer.draft, pytest.approx(answer.confidence, rel=1e-3)) == chance(lm, prompt)
        assert answer.citations == answer.used == answer.cut == answer.retrieved == ()
        assert answer.seconds["retrieve"] == 0


@READ
def test_o48_many_chunks_leave_room_for_question_and_answer(lm, retriever, read):
    limit = 60
    rag = RAG(lm, retriever, k=3, read=read, max_new_tokens=N, limit=limit)
    records = [hit.record for hit in retriever.search([QUESTIONS[0]])[0]]
    long = [replace(record, text=record.text * 9, end=record.start + 9 * len(record.text)) for record in records]
    (answer,) = rag.read_many([QUESTIONS[0]], [[Ranked(record, 1.0, 0.5) for record in long]])
    assert open_question(QUESTIONS[0]) in answer.prompt and len(lm.encode(answer.prompt)) <= limit - N
    assert {record.id for record in answer.cut} == {record.id for record in records}, "each was left out or cut"
    assert answer.tokens <= (limit - N) * (3 if read == "each" else 1) and answer.used[0].text in long[0].text * 3


def test_a_changed_store_changes_the_answer(lm, embedder, tmp_path):
    store = Store(tmp_path / "s", embedder)
    store.add("lamp", pieces(TEXTS["lamp"]))
    rag = RAG(lm, Retriever(store), k=1, examples=EXAMPLES, max_new_tokens=N)
    assert "Ada Byrne" in rag.answer(QUESTIONS[0]).text
    store.replace("lamp", pieces("The keeper of the lamp is Karl Holm."))
    changed = rag.answer(QUESTIONS[0])
    assert "Karl Holm" in changed.text and changed.citations[0].exact
    store.delete({"document": "lamp"}, for_good=True)
    forgotten = rag.answer(QUESTIONS[0])
    assert forgotten.retrieved == () and "Holm" not in forgotten.draft


def test_progress_counts_prompts_and_no_question_gives_no_answer(rags):
    seen = []
    assert rags["each"].answer_many([], lambda *done: seen.append(done)) == [] and seen == []
    rags["each"].answer_many(QUESTIONS[:1], lambda *done: seen.append(done))
    assert seen == [(2, 2)]


class Nothing:
    """A search that must not be asked."""

    def search(self, questions, k=3):
        pytest.fail("there is nothing to search for")


@pytest.mark.parametrize(
    ("questions", "error", "message"),
    [
        ("one", TypeError, "A list of questions is needed"),
        (["one", ""], ValueError, "Question 1 is empty"),
        (["one", " \n"], ValueError, "question is empty"),
        (["one", 2], TypeError, "Question 1 is of type int"),
        (["one", "why " * 100], ValueError, r"begins with 'why why.* Shorten it"),
    ],
)
def test_wrong_questions_are_refused_before_any_work(lm, monkeypatch, questions, error, message):
    rag = RAG(lm, Nothing(), limit=60)
    monkeypatch.setattr(lm, "generate", lambda *a, **b: pytest.fail("nothing may be generated"))
    with pytest.raises(error, match=message):
        rag.answer_many(questions)
    with pytest.raises(error, match=message):
        rag.read_many(questions, [[]] * 2)
    with pytest.raises(TypeError, match="A question is a string, not list"):
        rag.answer(["one"])
    with pytest.raises(ValueError, match="1 questions but 2 lists"):
        rag.read_many(["one"], [[], []])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 0}, "not 0, 16 and 0.0"),
        ({"max_new_tokens": 0}, "not 3, 0 and 0.0"),
        ({"abstain_below": 1.5}, "and 1.5"),
        ({"abstain_below": math.nan}, "and nan"),
        ({"read": "all"}, "together or each, not 'all'"),
        ({"examples": EXAMPLES, "limit": 40}, "give fewer examples"),
        ({"limit": 0}, "more than the 0 there are"),
    ],
)
def test_wrong_settings_are_refused(lm, settings, message):
    with pytest.raises(ValueError, match=message):
        RAG(lm, Nothing(), **settings)


@READ
def test_copied_answers_stand_in_what_was_read(lm, retriever, read):
    rag = RAG(lm, retriever, k=2, read=read, verbatim=True, examples=EXAMPLES, max_new_tokens=N)
    asked = [*QUESTIONS, "What is the capital of France?"]
    for answer in rag.answer_many(asked):
        assert answer.text and answer.citations and all(place.exact for place in answer.citations)
        assert {place.document for place in answer.citations} <= {record.document for record in answer.used}
    (nothing,) = rag.read_many(asked[:1], [[]])
    assert nothing.abstained and nothing.confidence == 0
