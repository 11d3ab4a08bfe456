"""Haystacks: every needle's passage is there, rivals only where they are asked for, and the lengths are kept."""

from __future__ import annotations

import numpy as np
import pytest

from memcourse.activations import Needle, context, margins

COLOURS = ["red", "blue", "green", "black", "white", "brown"]
NEEDLES = [
    Needle(f"What colour is the {thing} of the {who} house?", f"The {thing} of the {who} house is {colour}.", colour, rival,
           f"The {thing} of the {other} house is {rival}.")
    for thing, colour, rival in zip(("gate", "roof", "lamp"), COLOURS, COLOURS[3:], strict=False)
    for who, other in (("old", "new"),)
]  # fmt: skip
FILLER = [f"On day {i} the boats came home at {i % 12} and the men went up the hill to sleep." for i in range(60)]


class Spy:
    """A model that remembers the contexts it was given and prefers the right answer by one nat."""

    def __init__(self):
        self.contexts, self.asked = [], []

    def encode(self, text):
        return text.split()

    def prefix(self, text):
        self.contexts.append(text)
        return text

    def score(self, prompts, answers, prefix):
        self.asked.append((prefix, prompts))
        return [[-1.0, -2.0] for _ in prompts]


@pytest.mark.parametrize("with_rivals", [False, True])
@pytest.mark.parametrize("tokens", [42, 60, 200])
def test_contexts_hold_what_they_must_and_nothing_else(tokens, with_rivals):
    spy = Spy()
    found = margins(spy, NEEDLES, FILLER, tokens, with_rivals=with_rivals)
    assert found.margin.tolist() == [1.0] * 3 and ((found.position > 0) & (found.position < 1)).all()
    asked = {prompt: text for text, prompts in spy.asked for prompt in prompts}
    assert len(asked) == 3
    for needle in NEEDLES:
        text = asked[f"Question: {needle.question}\nAnswer:"]
        assert text.count(needle.passage) == 1
        assert text.count(needle.rival_passage) == int(with_rivals)
        assert 0.6 * tokens < len(text.split()) + text.strip().count("\n") + 1 <= tokens


def test_positions_are_where_the_passage_stands():
    spy = Spy()
    found = margins(spy, NEEDLES[:1], FILLER, 200, seed=3)
    text = spy.contexts[0]
    start = text.index(NEEDLES[0].passage)
    assert found.position[0] == pytest.approx((start + len(NEEDLES[0].passage) / 2) / len(text), abs=0.05)


def test_needles_that_are_rivals_of_each_other_never_share_a_context_without_rivals():
    one, two = NEEDLES[0], NEEDLES[0]._replace(passage=NEEDLES[0].rival_passage, rival_passage=NEEDLES[0].passage)
    spy = Spy()
    margins(spy, [one, two], FILLER, 200)
    assert len(spy.contexts) == 2
    margins(spy, [one, two], FILLER, 200, with_rivals=True)
    assert len(spy.contexts) == 3


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="A context of 5 tokens can't hold"):
        margins(Spy(), NEEDLES, FILLER, 5)
    with pytest.raises(ValueError, match=r"leaves .* of 900 tokens empty"):
        margins(Spy(), NEEDLES, FILLER[:5], 900)


def test_the_same_seed_gives_the_same_contexts():
    texts = []
    for seed in (0, 0, 1):
        spy = Spy()
        margins(spy, NEEDLES, FILLER, 100, seed=seed)
        texts.append(spy.contexts)
    assert texts[0] == texts[1] != texts[2]


def test_the_model_finds_a_plain_needle(lm):
    found = margins(lm, NEEDLES, FILLER, 120)
    assert isinstance(found, context.Found) and np.isfinite(found.margin).all() and found.margin.mean() > 0.5
