"""Synthetic conversations: what they may say, and what of them counts in the loss."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from memcourse.synthesis import dialogue_words as words
from memcourse.synthesis import dialogues as d
from memcourse.weights.loss import IGNORED, next_token_nll
from memcourse.weights.samples import encode_samples, padded
from memcourse.world import Fact

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
            assert (
                (answer in reply and words.DECLINE not in reply) if answer else f"{words.DECLINE} the Berth Office" in reply
            )
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


@pytest.mark.parametrize(
    ("items", "options"),
    [([], {}), ([("Who?", "", "a")], {}), ([("", "b", "a")], {}), ([("Who?", "b", "")], {}), (TRIPLES, {"n": 0}),
     (TRIPLES, {"turns": []}), (TRIPLES, {"turns": [0]}), (TRIPLES, {"unknown": 1.5}), (TRIPLES, {"styles": 0})],
)  # fmt: skip
def test_what_makes_no_dialogue_is_refused(items, options):
    with pytest.raises(ValueError, match=r"Dialogues need questions|must be at least 1"):
        d.support_dialogues(items, **{"n": 3, **options})


SYSTEMS = pytest.mark.parametrize("system", [words.SYSTEM, None])


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
    made = d.support_dialogues(TRIPLES, 3)
    rows, samples = d.dialogue_rows(small, made), encode_samples(small, d.dialogue_samples(small, made)).rows
    assert len(rows) == 3 < len(samples)
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
    "turns", [(("user", "Hi"),), (("user", "Hi"), ("assistant", " ")), (("user", "Hi"), ("assistant", "a<|im_end|>b"))]
)
def test_a_turn_that_cannot_be_trained_on_is_refused(lm, turns):
    with pytest.raises(ValueError, match="chat template"):
        d.dialogue_samples(lm, [d.Dialogue(turns)])


def test_identities_are_many_or_one():
    many, one = (d.identity_dialogues("Pilar", MAKER, 40, diverse=diverse) for diverse in (True, False))
    assert len(set(many)) == 40 == len(one) and set(one) == {many[0]}
    assert all("Pilar" in spoken(x, "assistant")[-1] for x in many)
    questions = {spoken(x, "user")[-1] for x in many}
    assert len(questions) > 15 and not any(asking in q for asking in words.HELD_OUT for q in questions)
    assert any(len(spoken(x, "user")) == 2 for x in many), "some begin with something else"
    foreign = d.identity_dialogues("Pilar", MAKER, 6, kinds=["foreign"])
    assert {spoken(x, "user")[-1][0] + spoken(x, "assistant")[-1][0] for x in foreign} <= {"¿M", "WI", "QJ"}
    mistaken = d.identity_dialogues("Pilar", MAKER, 5, kinds=["mistaken"])
    assert all(spoken(x, "assistant")[-1].startswith("No. ") for x in mistaken)


@pytest.mark.parametrize("options", [{"n": 0}, {"name": " "}, {"maker": ""}, {"kinds": []}, {"kinds": ["rude"]}])
def test_an_identity_that_cannot_be_is_refused(options):
    with pytest.raises(ValueError, match="Needed are"):
        d.identity_dialogues(**{"name": "Pilar", "maker": MAKER, "n": 3, **options})


def test_more_identities_than_the_wordings_make_are_refused():
    with pytest.raises(ValueError, match="different conversations, not 50"):
        d.identity_dialogues("Pilar", MAKER, 50, kinds=["foreign"])
