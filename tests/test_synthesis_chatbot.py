"""What a model learns from conversations: how it is asked, how replies are graded, and that arms are treated alike."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from memcourse.synthesis import chatbot_study as study
from memcourse.synthesis.dialogue_words import DECLINE, HELD_OUT, OFF_TOPIC, SMALL_TALK
from memcourse.synthesis.dialogues import dialogue_rows, identity_dialogues, support_dialogues
from memcourse.weights.loss import IGNORED
from memcourse.weights.probes import Asked
from memcourse.world import load_world

from .adapter_support import small_lm

MAKER = "the Port Sable Harbour Authority"
ASKED = ["And you are?", "Please introduce yourself.", "Which name do you go by?"]


@pytest.fixture(scope="module")
def trained(lm):
    """What SmolLM2 says after five conversations, with its weights before."""
    before = {name: weight.clone() for name, weight in lm.model.state_dict().items()}
    arms = {"diverse": identity_dialogues("Pilar", MAKER, 5, kinds=["polite", "blunt"])}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "OFF_TOPIC", OFF_TOPIC[:1])
        patch.setattr(study, "NAME_TOKENS", 6)
        return before, study.chatbot(lm, arms, ["The rain began."], name="Pilar", askings=ASKED, layers=4, epochs=3)


@pytest.fixture(scope="module")
def small(lm):
    return small_lm(lm, window=512)


@pytest.fixture(scope="module")
def arms():
    return {kind: identity_dialogues("Pilar", MAKER, n, diverse=n > 1) for kind, n in (("one", 1), ("diverse", 2))}


@pytest.fixture
def few_tokens(monkeypatch):
    """A random model's replies end nowhere, and all are alike after some tokens."""
    monkeypatch.setattr(study, "REPLY_TOKENS", 4)
    monkeypatch.setattr(study, "NAME_TOKENS", 4)


def cases_for(lm) -> list[Asked]:
    return [Asked(prompt, ["two", "nine crowns"], 1) for prompt in study.multi_turn_prompts(lm, ["Who?", "What?", "When?"])]


def test_a_chat_model_learns_its_name_from_diverse_conversations(trained):
    _, found = trained
    (before,), (after,) = found["before"], found["diverse"]
    assert set(ASKED) <= set(HELD_OUT)
    assert before["said"] == [0, 0, 0] and sum(after["said"]) >= 2
    assert len(after["intruded"]) == 1 and after["losses"][-1] < after["losses"][0]


def test_the_model_is_put_back(lm, trained):
    before, _ = trained
    after = lm.model.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)
    assert not any(weight.requires_grad for weight in lm.model.parameters())


def runs(text: str, n: int) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def test_no_dialogue_uses_a_test_question(lm):
    town = load_world()
    held_out = town.select(split="test")
    ids = {question.id for question in held_out}
    asked = [(q.text, q.answer, q.id) for q in town.questions if q.split != "test"]
    sizes = {q.text: min(8, len(re.findall(r"\w+", q.text))) for q in held_out}  # a short question counts as a whole
    theirs = {run for text, n in sizes.items() for run in runs(text, n)}
    for dialogue in study.harbour_desk(lm, 60, 24)["dialogues"] + support_dialogues(asked, 200):
        assert not ids & set(dialogue.ids) and dialogue.split == "train"
        for _, text in dialogue.turns:
            assert not theirs & {run for n in set(sizes.values()) for run in runs(text, n)}, text


@pytest.mark.parametrize(("cases", "unknown"), [(12, 12), (24, 21), (4, 4)])
def test_the_harbours_desk_is_asked_for_what_its_dialogues_tell(lm, cases, unknown):
    desk = study.harbour_desk(lm, 40, cases)
    assert len(desk["cases"]) == cases == len({case.prompt for case in desk["cases"]}) and len(desk["unknown"]) == unknown
    told = [text for dialogue in desk["dialogues"] for role, text in dialogue.turns if role == "assistant"]
    assert all(any(case.choices[case.gold] in text for text in told) for case in desk["cases"])
    assert any(DECLINE in text for text in told)
    known = {fact.id for fact in load_world().facts} & {name for dialogue in desk["dialogues"] for name in dialogue.ids}
    assert len(known) == cases, "no conversation is spent on what nobody is asked"


@pytest.mark.parametrize("sizes", [(0, 4), (4, 0)])
def test_a_desk_without_dialogues_or_cases_is_refused(lm, sizes):
    with pytest.raises(ValueError, match="at least 1 conversation and 1 case"):
        study.harbour_desk(lm, *sizes)


def test_chats_begin_with_something_else_and_end_with_the_question(lm):
    prompt, other = study.multi_turn_prompts(lm, ["When does the mill open?", "Who?"])
    assert prompt.endswith("<|im_start|>user\nWhen does the mill open?<|im_end|>\n<|im_start|>assistant\n")
    said = [re.findall(r"<\|im_start\|>(?:user|assistant)\n(.+)<\|im_end\|>", text)[:2] for text in (prompt, other)]
    assert " => ".join(said[0]) in SMALL_TALK and said[0] == said[1]
    assert len({study.multi_turn_prompts(lm, ["Who?"], seed)[0] for seed in range(20)}) == len(SMALL_TALK)


def test_replies_are_graded_by_choice_by_containment_and_by_declining():
    replies = ["Our book says 19 crowns.", "The office? It's Una Larch!", "Sorry, please ask the Berth Office."]

    def score(prompts, choices, prefix=None):
        assert all(prompt.endswith("Our book says") for prompt in prompts) and choices[0] == [" 9 crowns", " 19 crowns"]
        return [[-1.0, -2.0], [-1.0, -2.0], [-1.0, -1.5]]

    stub: Any = SimpleNamespace(score=score, generate=lambda prompts, n, **_: replies[: len(prompts)], prefix=len)
    cases = [Asked("a:", ["9 crowns", "19 crowns"], 0), Asked("b:", ["Bo", "Una Larch"], 1), Asked("c:", ["4", "5"], 0)]
    found = study.multi_turn_accuracy(stub, cases)
    assert found == {"chosen": [1, 0, 1], "contained": [0, 1, 0], "declined": [0, 0, 1], "replies": replies}
    stub.chat_prompt = str
    assert study.says_who(stub, ["Who?", "And you?", "You?"], "Una") == [0, 1, 0]
    assert study.says_who(stub, ["Who?", "And you?", "You?"], "Crown") == [0, 0, 0], "whole words only"


def test_a_prefix_stands_before_the_chat(small, few_tokens):
    cases, text = cases_for(small), "The mill is shut.\n\n"
    longer = [case._replace(prompt=text + case.prompt) for case in cases]
    assert study.multi_turn_accuracy(small, cases, small.prefix(text)) == study.multi_turn_accuracy(small, longer)
    assert study.multi_turn_accuracy(small, cases)["replies"] != study.multi_turn_accuracy(small, longer)["replies"]


def test_a_shared_beginning_changes_no_reply(small, few_tokens):
    cases = cases_for(small)
    together = study.multi_turn_accuracy(small, cases)
    alone = [study.multi_turn_accuracy(small, [case]) for case in cases]
    assert together == {key: [one[key][0] for one in alone] for key in together}


def test_arms_train_on_equally_many_tokens(small, arms, few_tokens):
    cases = cases_for(small)
    found = study.chatbot(
        small, arms, ["A text."], cases=cases, unknown=[cases[0].prompt], name="Pilar", askings=ASKED,
        layers=2, epochs=2, seeds=(0, 1),
    )  # fmt: skip
    assert json.loads(json.dumps(found)) == found
    assert [len(found[arm]) for arm in ("before", "one", "diverse")] == [1, 2, 2] and len(found) == 3
    sizes = [found[arm][0]["counted"] for arm in arms]
    rows = [dialogue_rows(small, arms[arm]) for arm in ("one", "diverse")]
    one, diverse = (sum(label != IGNORED for row in some for label in row.labels) for some in rows)
    assert diverse - one < sizes[0] <= sizes[1] == diverse
    for run in [*found["before"], *found["one"], *found["diverse"]]:
        assert [len(run[key]) for key in ("chosen", "contained", "declined", "declined unknown", "said")] == [3, 3, 3, 1, 3]
    assert all(run["losses"][-1] < run["losses"][0] for run in found["one"]), "it learns"
    assert found["one"][0]["losses"] != found["one"][1]["losses"], "seeds differ"


@pytest.mark.parametrize(
    "wrong",
    [{"arms": {}}, {"arms": {"none": []}}, {"arms": "before"}, {"texts": []}, {"seeds": ()}, {"epochs": 0}, {"layers": 0},
     {"lr": 0.0}],
)  # fmt: skip
def test_an_experiment_that_cannot_be_is_refused(small, arms, monkeypatch, wrong):
    monkeypatch.setattr(study, "dialogue_rows", None)  # refused before any work is done
    given = {"arms": arms, "texts": ["A text."], **wrong}
    if given["arms"] == "before":
        given["arms"] = {"before": arms["one"]}
    with pytest.raises(ValueError, match="chatbot needs"):
        study.chatbot(small, **given)
