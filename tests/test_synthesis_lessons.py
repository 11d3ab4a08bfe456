"""The study of notebook 08's beginning: what counts in the loss, equal budgets, and a model that answers afterwards."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from memcourse.synthesis.fact_table import FactTable
from memcourse.synthesis.lessons import asked_of, fact_rows, lessons_learned, mixtures
from memcourse.synthesis.rewrites import Text, question_answers, rewrite_texts
from memcourse.weights.finetuning import reused, reused_by
from memcourse.weights.loss import IGNORED
from memcourse.world import make_people


@pytest.fixture(scope="module")
def table() -> FactTable:
    return FactTable.of_people(make_people(4, 2, 4, seed=3))


def test_questions_carry_all_values_of_the_attribute_and_the_right_one(table):
    name = next(iter(table.subjects))
    asked = asked_of(table, [name], [0, 1])
    assert len(asked) == 4
    for one in asked:
        assert name in one.prompt and one.choices[one.gold] in table.facts_of(name).values() and len(one.choices) > 1


def test_only_the_values_count_and_what_a_question_asks_for(lm, table):
    told, answer = rewrite_texts(table, 1, 0)[0], question_answers(table, (0,))[0]
    first, second = fact_rows(lm, table, [told, answer])
    counted = [token for token, label in zip(first.ids, first.labels, strict=True) if label != IGNORED]
    assert lm.decode(first.ids) == told.text
    assert sorted(lm.decode(counted).split()) == sorted(w for f in told.facts for w in table.rows[f].value.split())
    kept = [label for label in second.labels if label != IGNORED]
    assert lm.decode(kept[:-1]) == answer.text and kept[-1] == lm.tokenizer.eos_token_id


def test_a_text_without_the_value_it_should_tell_is_refused(lm, table):
    with pytest.raises(ValueError, match="does not hold the value"):
        fact_rows(lm, table, [Text("Nothing of the kind.", (0,), "rewrite")])


def test_arms_get_the_same_tokens_and_each_part_its_share(lm, table):
    raw, asked = rewrite_texts(table, 1, 0), question_answers(table, (0,))
    arms = mixtures(lm, {"raw": [(raw, 1.0)], "both": [(raw, 3.0), (asked, 1.0)]}, 800, 0)

    def cost(texts):
        return sum(len(lm.encode(text.prompt + text.text)) + 1 for text in texts)

    assert all(700 < cost(texts) <= 800 for texts in arms.values())
    assert 150 < cost([text for text in arms["both"] if text.prompt]) <= 200
    with pytest.raises(ValueError, match="weight above 0"):
        mixtures(lm, {"raw": [(raw, 0)]}, 800, 0)


def test_rows_alike_run_once_in_whichever_group_they_stand(lm, table, monkeypatch):
    rows = fact_rows(lm, table, rewrite_texts(table, 1, 0))
    ran = []

    def counted(lm, some, start):
        ran.append(len(some))
        return reused(lm, some, start)

    monkeypatch.setattr("memcourse.weights.finetuning.reused", counted)
    read = reused_by(lm, {"a": rows * 3, "b": rows[:2]}, 28)
    assert ran == [len(rows)]
    batch, alone = read["b"]([1]), reused(lm, rows, 28)([1])
    assert torch.equal(batch.ids, alone.ids) and torch.equal(batch.labels, alone.labels)


def test_a_model_answers_after_reading_and_is_then_what_it_was(lm, table):
    before = {name: weight.clone() for name, weight in lm.model.named_parameters()}
    names = list(table.subjects)
    asked = asked_of(table, names[:2], [0])
    rows = fact_rows(lm, table, question_answers(table, (0,), names[:2]) * 12)
    found = lessons_learned(lm, {"asked": rows}, asked, ["The tide comes in twice a day."], start=26, lr=1e-2, tokens=96)
    first, (after,) = found["before"], found["asked"]
    assert np.mean(after["certainty"]) > np.mean(first["certainty"]) + 0.5
    assert after["rank"].count(0) > first["rank"].count(0) and np.mean(after["losses"][-3:]) < np.mean(after["losses"][:3])
    assert after["other loss"] != first["other loss"] and after["trained"] > 0
    assert all(torch.equal(weight, before[name]) for name, weight in lm.model.named_parameters())


@pytest.mark.parametrize("arms", [{}, {"none": []}])
def test_arms_without_rows_are_refused(lm, table, arms):
    with pytest.raises(ValueError, match="at least one arm"):
        lessons_learned(lm, arms, asked_of(table, list(table.subjects), [0]))
