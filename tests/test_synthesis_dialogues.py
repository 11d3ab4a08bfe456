"""Synthetic conversations: what they may say, what of them counts in the loss, and what a model learns from them."""

from __future__ import annotations

import re
from collections import Counter
from types import SimpleNamespace

import pytest
import torch

from memcourse.synthesis import dialogues as d
from memcourse.weights.loss import IGNORED, next_token_nll
from memcourse.weights.probes import Asked
from memcourse.weights.samples import encode_samples, padded
from memcourse.world import Fact, load_world

from .adapter_support import small_lm

TRIPLES = [("When does the mill open?", "07:10", "m1"), ("Who keeps the key?", "Una", "m2"), ("Who is lost?", "", "m3")]
MAKER = "the Port Sable Harbour Authority"


def fact(name: str, subject: str, attribute: str, value: str, until: str = "") -> Fact:
    return Fact(name, subject, attribute, value, "", until, "book", "train")


FACTS = [
    fact("f1", "Ice House", "opening time", "06:40"), fact("f2", "Ice House", "colour of the door", "green"),
    fact("f3", "harbour", "opening time", "05:15"), fact("f4", "Una Larch", "trade", "cooper"),
    fact("f5", "harbour", "toll", "4 crowns", until="2020-01-01"),
]  # fmt: skip


def spoken(dialogue: d.Dialogue, role: str) -> list[str]:
    return [text for who, text in dialogue.turns if who == role]


def messages(dialogue: d.Dialogue) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for role, text in dialogue.turns]


def runs(text: str, n: int) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def test_facts_that_hold_become_questions_with_the_article_that_they_need():
    made = d.fact_questions(FACTS)
    assert [(qa.id, qa.subject, qa.answer) for qa in made] == [
        ("f1", "the Ice House", "06:40"), ("f2", "the Ice House", "green"), ("f3", "the harbour", "05:15"),
        ("f4", "Una Larch", "cooper"),
    ]  # fmt: skip
    assert made[0].question == 'What does your book say for the Ice House under "opening time"?'


@pytest.mark.parametrize("items", [TRIPLES, d.fact_questions(FACTS)])
def test_each_reply_is_the_answer_to_the_question_before_it(items):
    answers = {item[2]: item[1] for item in items}
    made = d.support_dialogues(items, 60, seed=1)
    assert made == d.support_dialogues(items, 60, seed=1) != d.support_dialogues(items, 60, seed=2)
    for i, dialogue in enumerate(made):
        roles = [role for role, _ in dialogue.turns]
        assert roles == ["system"] + ["user", "assistant"] * (len(roles) // 2) and len(dialogue.ids) == 1 + i % 3
        for name, reply in zip(dialogue.ids, spoken(dialogue, "assistant"), strict=False):
            answer = answers.get(name, "")
            assert (answer in reply and d.DECLINE not in reply) if answer else f"{d.DECLINE} the Berth Office" in reply
    thanked = [dialogue for dialogue in made if len(spoken(dialogue, "user")) > len(dialogue.ids)]
    assert 15 <= len(thanked) <= 45, "half of them end with thanks"
    asked = Counter(name for dialogue in made for name in dialogue.ids)
    unknown = sum(n for name, n in asked.items() if not answers.get(name))
    assert 0.1 < unknown / asked.total() < 0.3


def test_all_questions_are_used_before_one_is_used_again():
    made = d.support_dialogues([(f"Who is {i}?", "Una", str(i)) for i in range(7)], 14, turns=[1], unknown=0)
    assert Counter(dialogue.ids[0] for dialogue in made[:7]) == Counter(dialogue.ids[0] for dialogue in made[7:])
    assert len({dialogue.ids for dialogue in made[:7]}) == 7


def test_follow_ups_refer_back_and_are_answered_for_what_they_mean():
    items = {item.id: item for item in d.fact_questions(FACTS)}
    seen = set()
    for dialogue in d.support_dialogues(list(items.values()), 80, turns=[2], unknown=0):
        before, item = (items[name] for name in dialogue.ids)
        second = spoken(dialogue, "user")[1]
        if item.subject not in second:  # "And what about ... there?": the subject stands in the first question only
            seen.add("subject")
            assert item.subject == before.subject and item.attribute in second
        if item.attribute not in second:
            seen.add("attribute")
            assert item.attribute == before.attribute and item.subject in second
    assert seen == {"subject", "attribute"}


def test_the_number_of_wordings_can_be_set():
    one = d.support_dialogues(TRIPLES[:1], 20, turns=[1], unknown=0, styles=1)
    many = d.support_dialogues(TRIPLES[:1], 20, turns=[1], unknown=0)
    first = [len({(spoken(x, "user")[0], spoken(x, "assistant")[0]) for x in some}) for some in (one, many)]
    assert first[0] == 1 and first[1] > 8


def test_no_dialogue_uses_a_test_question(lm):
    town = load_world()
    held_out = town.select(split="test")
    ids = {question.id for question in held_out}
    asked = [(q.text, q.answer, q.id) for q in town.questions if q.split != "test"]
    desk = d.harbour_desk(lm, 60)
    sizes = {q.text: min(8, len(re.findall(r"\w+", q.text))) for q in held_out}  # a short question counts as a whole
    theirs = {run for text, n in sizes.items() for run in runs(text, n)}
    for dialogue in desk["dialogues"] + d.support_dialogues(asked, 200):
        assert not ids & set(dialogue.ids) and dialogue.split == "train"
        for _, text in dialogue.turns:
            assert not theirs & {run for n in set(sizes.values()) for run in runs(text, n)}, text
    assert len(desk["cases"]) == 24 == len({case.prompt for case in desk["cases"]}) and len(desk["unknown"]) == 21


@pytest.mark.parametrize(
    ("items", "options"),
    [([], {}), ([("Who?", "", "a")], {}), ([("", "b", "a")], {}), ([("Who?", "b", "")], {}), (TRIPLES, {"n": 0}),
     (TRIPLES, {"turns": []}), (TRIPLES, {"turns": [0]}), (TRIPLES, {"unknown": 1.5}), (TRIPLES, {"styles": 0})],
)  # fmt: skip
def test_what_makes_no_dialogue_is_refused(items, options):
    with pytest.raises(ValueError, match=r"Dialogues need questions|must be at least 1"):
        d.support_dialogues(items, **{"n": 3, **options})


SYSTEMS = pytest.mark.parametrize("system", [d.SYSTEM, None])


@SYSTEMS
def test_samples_are_the_chat_format_and_each_reply_ends_once(lm, system):
    made = d.support_dialogues(TRIPLES, 9, system=system) + d.identity_dialogues("Pilar", MAKER, 9, system=system)
    end = lm.tokenizer.eos_token_id
    assert lm.tokenizer.eos_token == "<|im_end|>"
    for dialogue in made:
        samples = d.dialogue_samples(lm, [dialogue])
        rows = encode_samples(lm, samples).rows
        assert [sample.answer for sample in samples] == spoken(dialogue, "assistant")
        whole = lm.encode(lm.tokenizer.apply_chat_template(messages(dialogue), tokenize=False))
        for row, sample in zip(rows, samples, strict=True):
            counted = [label for label in row.labels if label != IGNORED]
            assert counted == [*lm.encode(sample.answer), end] and counted.count(end) == 1
            assert list(row.ids) == whole[: len(row.ids)]
            assert lm.encode(sample.prompt) + counted == list(row.ids), "what is asked after this prompt is what is trained"
        assert [*rows[-1].ids, *lm.encode("\n")] == whole, "nothing of the format is missing at the end"


def test_one_row_a_dialogue_has_the_loss_of_its_samples(lm):
    small = small_lm(lm, window=512)
    made = d.support_dialogues(TRIPLES, 6)
    rows, samples = d.dialogue_rows(small, made), encode_samples(small, d.dialogue_samples(small, made)).rows
    assert len(rows) == 6 < len(samples)
    with torch.no_grad():
        (one, n), (other, m) = (next_token_nll(small.model, padded(some)) for some in (rows, samples))
    assert int(n) == int(m) and float(one) == pytest.approx(float(other), rel=1e-5)
    with pytest.raises(ValueError, match="Dialogue 0 is too long for one row"):
        d.dialogue_rows(small, made[2:], most=60)


TRIMMED = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] | upper }}<|im_end|>\n{% endfor %}"
OTHER_END = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"


@pytest.mark.parametrize("template", [None, TRIMMED, OTHER_END])
def test_a_model_whose_chat_format_does_not_fit_is_refused(lm, monkeypatch, template):
    monkeypatch.setattr(lm.tokenizer, "chat_template", template)
    with pytest.raises(ValueError, match="chat template"):
        d.dialogue_samples(lm, d.support_dialogues(TRIPLES, 1))


@pytest.mark.parametrize(
    "turns", [(("user", "Hi"),), (("user", "Hi"), ("assistant", " ")), (("assistant", "a<|im_end|>b"),)]
)
def test_a_turn_that_cannot_be_trained_on_is_refused(lm, turns):
    with pytest.raises(ValueError, match="chat template"):
        d.dialogue_samples(lm, [d.Dialogue(turns)])


def test_identities_are_many_or_one():
    many, one = (d.identity_dialogues("Pilar", MAKER, 40, diverse=diverse) for diverse in (True, False))
    assert len(set(many)) == 40 == len(one) and set(one) == {many[0]}
    assert all("Pilar" in spoken(x, "assistant")[-1] for x in many)
    questions = {spoken(x, "user")[-1] for x in many}
    assert len(questions) > 15 and not any(asking in q for asking in d.HELD_OUT for q in questions)
    assert any(len(spoken(x, "user")) == 2 for x in many), "some begin with something else"
    foreign = d.identity_dialogues("Pilar", MAKER, 6, kinds=["foreign"])
    assert {spoken(x, "user")[-1][0] + spoken(x, "assistant")[-1][0] for x in foreign} <= {"¿M", "WI", "QJ"}
    mistaken = d.identity_dialogues("Pilar", MAKER, 5, kinds=["mistaken"])
    assert all(spoken(x, "assistant")[-1].startswith("No. ") for x in mistaken)


@pytest.mark.parametrize("options", [{"n": 0}, {"name": " "}, {"maker": ""}, {"kinds": []}, {"kinds": ["rude"]}])
def test_an_identity_that_cannot_be_is_refused(options):
    with pytest.raises(ValueError, match="Needed are"):
        d.identity_dialogues(**{"name": "Pilar", "maker": MAKER, "n": 3, **options})
    with pytest.raises(ValueError, match="different conversations, not 500"):
        d.identity_dialogues("Pilar", MAKER, 500, kinds=["foreign"])


def test_chats_begin_with_something_else_and_end_with_the_question(lm):
    (prompt,) = d.multi_turn_prompts(lm, ["When does the mill open?"])
    assert prompt.endswith("<|im_start|>user\nWhen does the mill open?<|im_end|>\n<|im_start|>assistant\n")
    first = re.findall(r"<\|im_start\|>(?:user|assistant)\n(.+)<\|im_end\|>", prompt)[:2]
    assert " => ".join(first) in d.SMALL_TALK


def test_replies_are_graded_by_choice_by_containment_and_by_declining():
    replies = ["Our book says 19 crowns.", "The office? It's Una Larch!", "Sorry, please ask the Berth Office."]

    def score(prompts, choices, prefix=None):
        assert all(prompt.endswith("Our book says") for prompt in prompts) and choices[0] == [" 9 crowns", " 19 crowns"]
        return [[-1.0, -2.0], [-2.0, -1.0], [-1.0, -1.5]]

    stub = SimpleNamespace(score=score, generate=lambda prompts, n, prefix=None: replies[: len(prompts)])
    cases = [Asked("a:", ["9 crowns", "19 crowns"], 0), Asked("b:", ["Una Larch", "Bo"], 0), Asked("c:", ["4", "5"], 0)]
    found = d.multi_turn_accuracy(stub, cases)
    assert found == {"chosen": [1, 0, 1], "contained": [0, 1, 0], "declined": [0, 0, 1], "replies": replies}
    stub.chat_prompt = str
    assert d.says_who(stub, ["Who?", "And you?", "You?"], "Una") == [0, 1, 0]


def test_a_prefix_stands_before_the_chat(lm):
    small = small_lm(lm, window=512)
    cases = [Asked(prompt, ["two", "nine crowns"], 1) for prompt in d.multi_turn_prompts(small, ["Who?", "What?"])]
    text = "The mill is shut.\n\n"
    longer = [case._replace(prompt=text + case.prompt) for case in cases]
    assert d.multi_turn_accuracy(small, cases, small.prefix(text)) == d.multi_turn_accuracy(small, longer)
    assert d.multi_turn_accuracy(small, cases)["replies"] != d.multi_turn_accuracy(small, longer)["replies"]


def test_arms_train_on_equally_many_tokens_and_the_model_is_put_back(lm):
    small = small_lm(lm, window=512)
    before = {name: weight.clone() for name, weight in small.model.state_dict().items()}
    arms = {kind: d.identity_dialogues("Pilar", MAKER, n, diverse=n > 1) for kind, n in (("one", 1), ("diverse", 8))}
    cases = [Asked(prompt, ["two", "nine"], 1) for prompt in d.multi_turn_prompts(small, ["Who?", "What?"])]
    found = d.chatbot(
        small, arms, ["A text."], cases=cases, unknown=[cases[0].prompt], name="Pilar", askings=d.HELD_OUT[:3],
        layers=2, epochs=4, lr=1e-2, seeds=(0, 1),
    )  # fmt: skip
    after = small.model.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)
    assert not any(weight.requires_grad for weight in small.model.parameters())
    assert set(found) == {"before", "one", "diverse"} and len(found["one"]) == len(found["diverse"]) == 2
    sizes = [found[arm][0]["counted"] for arm in arms]
    assert sizes[1] - 60 < sizes[0] <= sizes[1]
    for run in [found["before"], *found["one"], *found["diverse"]]:
        assert [len(run[key]) for key in ("chosen", "contained", "declined", "declined unknown", "said")] == [2, 2, 2, 1, 3]
    assert all(run["losses"][-1] < run["losses"][0] for run in found["one"]), "it learns"
    assert found["one"][0]["losses"] != found["one"][1]["losses"], "seeds differ"
    for wrong in ({}, {"none": []}):
        with pytest.raises(ValueError, match="at least one arm"):
            d.chatbot(small, wrong, ["A text."])


def test_a_chat_model_learns_its_name_from_diverse_conversations(lm):
    arms = {"diverse": d.identity_dialogues("Pilar", MAKER, 20)}
    found = d.chatbot(lm, arms, ["The rain began."], name="Pilar", askings=d.HELD_OUT[:6], layers=4, epochs=4)
    (run,) = found["diverse"]
    assert sum(found["before"]["said"]) == 0 and sum(run["said"]) >= 3
