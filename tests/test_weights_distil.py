"""Self-study: what the model with a long prompt says is learnt without it."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import kl_div

from memcourse.model import seed_everything
from memcourse.weights.distil import divergence, learn_from, self_study, taught
from memcourse.weights.finetuning import first_trained
from memcourse.weights.lora import add_lora
from memcourse.weights.prefix import KVPrefix
from memcourse.weights.training import Recipe
from memcourse.weights.tuned import Tuned

from .adapter_support import small_lm

CONTEXT = "Passage: The quay is 90 metres long. The kiosk sells kites for 33 crowns.\n"
TEXTS = ["Question: How long is the quay?\nAnswer: 90 metres", "Question: What is sold?"]


@pytest.fixture(scope="module")
def small(lm):
    return small_lm(lm)


@pytest.fixture(scope="module")
def context(small):
    return small.prefix(CONTEXT)


@torch.no_grad()
def read(lm, text, context=""):
    """Log-probabilities (tokens, vocab) of what follows each token of a text, from one plain pass."""
    before = lm.encode(context) if context else []
    return lm.model(torch.tensor([[*before, *lm.encode(text)]])).logits[0, len(before) :].log_softmax(-1)


def test_the_teacher_has_read_the_context(small, context):
    lesson = taught(small, context, TEXTS, k=5)
    for row, text in enumerate(TEXTS):
        n = len(small.encode(text))
        assert lesson.real[row].sum() == n and lesson.ids[row, :n].tolist() == small.encode(text)
        top = read(small, text, CONTEXT).topk(5)
        assert torch.equal(lesson.best[row, :n], top.indices)
        assert torch.allclose(lesson.logs[row, :n], top.values.log_softmax(-1), atol=1e-4)
        assert torch.allclose(lesson.logs[row, :n].exp().sum(-1), torch.ones(n), atol=1e-5)


def test_the_divergence_is_kullback_and_leiblers_over_the_likeliest_tokens(small, context):
    lesson = taught(small, context, TEXTS, k=5)
    with torch.no_grad():
        total, count = divergence(Tuned(small.model), lesson)
    by_hand = 0.0
    for row, text in enumerate(TEXTS):
        n = len(small.encode(text))
        student = read(small, text).gather(1, lesson.best[row, :n])
        by_hand += float(kl_div(student, lesson.logs[row, :n], reduction="sum", log_target=True))
    assert float(total) == pytest.approx(by_hand, rel=1e-4) and int(count) == int(lesson.real.sum())


def test_a_student_that_reads_the_context_has_nothing_to_learn(small, context):
    lesson = taught(small, context, TEXTS, k=small.model.config.vocab_size)
    with torch.no_grad():
        total, count = divergence(Tuned(small.model, 0, context), lesson)
        closed, _ = divergence(Tuned(small.model), lesson)
    assert float(total / count) == pytest.approx(0, abs=1e-4) and float(closed) > 10 * abs(float(total))


def test_a_cartridge_learns_what_the_context_makes_the_model_say(small, context):
    lesson = taught(small, context, TEXTS)
    prefix = KVPrefix.from_text(small, CONTEXT, 4)
    losses = learn_from(small, lesson, Recipe(25, lr=3e-2), prefix=prefix)
    assert losses[-5:].mean() < 0.9 * losses[0]
    assert first_trained(small.model) is None, "the model stays as it is"


def test_an_adapter_can_learn_it_too(lm, context):
    student = small_lm(lm)
    lesson = taught(student, student.prefix(CONTEXT), TEXTS)
    seed_everything(0)
    add_lora(student.model, 2)
    losses = learn_from(student, lesson, Recipe(20, lr=1e-2), tokens=16)
    assert losses[-4:].mean() < losses[:4].mean()


def test_self_study_writes_on_from_each_opening(lm):
    context = lm.prefix(CONTEXT)
    openings = ["Question: How", "Question: What"]
    texts = self_study(lm, context, openings, tokens=8, seed=3)
    assert [text.startswith(opening) for text, opening in zip(texts, openings, strict=True)] == [True, True]
    assert texts == self_study(lm, context, openings, tokens=8, seed=3)
    assert texts != self_study(lm, context, openings, tokens=8, seed=4)
    greedy = self_study(lm, context, openings[:1], tokens=8, temperature=0.0)
    assert greedy == [openings[0] + lm.generate(CONTEXT + openings[0], 8, stop=["\n\n"])]


def test_what_cannot_be_taught_is_refused(small, context):
    with pytest.raises(ValueError, match="Teaching needs texts"):
        taught(small, context, [])
    with pytest.raises(ValueError, match=r"k in 1\.\."):
        taught(small, context, TEXTS, k=0)
    with pytest.raises(ValueError, match="either a prefix beside a frozen model"):
        learn_from(small, taught(small, context, TEXTS), Recipe(1))
