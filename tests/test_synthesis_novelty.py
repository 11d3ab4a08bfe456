"""What a text adds to the ones before it, in bits."""

from __future__ import annotations

import math

import pytest
import torch

from memcourse.synthesis.fact_table import FactTable
from memcourse.synthesis.novelty import added_bits
from memcourse.synthesis.rewrites import rewrite_texts
from memcourse.world import make_people


def test_added_bits_are_the_surprise_of_every_token_in_one_reading(lm):
    texts = ["Ada keeps a heron.", "Her heron is called Bob."]
    line, first, second = (lm.encode(text) for text in ("\n", *texts))
    ids = torch.tensor([[*line, *first, *line, *second]])
    with torch.no_grad():
        logs = lm.model(ids).logits[0].log_softmax(-1)
    cost = [-logs[i, token].item() / math.log(2) for i, token in enumerate(ids[0, 1:].tolist())]
    assert added_bits(lm, texts) == pytest.approx([sum(cost[: len(first)]), sum(cost[-len(second) :])], rel=1e-4)


def test_a_copy_adds_least_and_a_rewrite_less_than_another_person(lm):
    table = FactTable.of_people(make_people(4, 3, 8, seed=0))
    people = len(table.subjects)
    texts = [text.text for text in rewrite_texts(table, 2, 0)]  # all first texts stand before the second ones
    first, again, other = texts[0], texts[people], texts[1]
    copy, rewrite, stranger = (added_bits(lm, [first, text])[1] for text in (first, again, other))
    assert copy < rewrite / 2 and rewrite < stranger


@pytest.mark.parametrize(
    ("texts", "error", "says"),
    [
        (["a text", ""], ValueError, "Text 1 is empty"),
        ("a text", TypeError, "list"),
        (["word " * 9000], ValueError, "window"),
    ],
)
def test_what_cannot_be_read_is_refused(lm, texts, error, says):
    with pytest.raises(error, match=says):
        added_bits(lm, texts)


def test_no_texts_add_nothing(lm):
    assert added_bits(lm, []) == []
