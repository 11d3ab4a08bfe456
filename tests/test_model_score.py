"""Scores are log-probabilities: equal to a cross entropy made by hand from full logits, however they are computed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from memcourse.model.batching import LOGITS_COST, MAX_TOKENS

from .model_support import tiny_lm

PROMPTS = ["The capital of France is", "Hi", "Roses are red, violets are blue, and the sky above the village is"]
CONTINUATIONS = [" Paris, a city in Europe", " there", " full of stars\nand 漢字 🙂"]
NESTED = [[" Paris", " London, of course", " a"], [], [" dark and full of terrors", " blue", " Paris", " blue"]]


def by_hand(lm, prompt: str, continuation: str) -> float:
    """Minus the summed cross entropy of the continuation's tokens, from one plain run over both together."""
    start, end = lm.encode(prompt), lm.encode(continuation)
    with torch.no_grad():
        logits = lm.model(torch.tensor([start + end])).logits[0, len(start) - 1 : -1]
    return -cross_entropy(logits, torch.tensor(end), reduction="sum").item()


def test_score_equals_a_cross_entropy_by_hand(lm):
    wanted = [by_hand(lm, p, c) for p, c in zip(PROMPTS, CONTINUATIONS, strict=True)]
    assert wanted[0] < -1, "several tokens, so the value says something"
    for batch_size in (1, 2, 16):
        assert lm.score(PROMPTS, CONTINUATIONS, batch_size=batch_size) == pytest.approx(wanted, abs=1e-4)


def test_nested_scores_equal_a_cross_entropy_by_hand(lm):
    found = lm.score(PROMPTS, NESTED)
    assert [len(group) for group in found] == [3, 0, 4]
    for prompt, group, scores in zip(PROMPTS, NESTED, found, strict=True):
        assert scores == pytest.approx([by_hand(lm, prompt, c) for c in group], abs=1e-4)


def test_scores_with_a_prefix_are_those_of_the_whole_text(lm):
    before = "Some facts to begin with. "
    prefix = lm.prefix(before)
    for continuations in (CONTINUATIONS, NESTED):
        wanted = lm.score([before + prompt for prompt in PROMPTS], continuations)
        found = lm.score(PROMPTS, continuations, prefix=prefix)
        flat = [np.hstack(scores) for scores in (found, wanted)]
        assert flat[0] == pytest.approx(flat[1], abs=1e-4)
    assert lm.score([""], [" And then"], prefix=prefix) == pytest.approx([by_hand(lm, before, " And then")], abs=1e-4)


def test_single_tokens_share_all_the_probability_there_is():
    lm = tiny_lm()
    vocabulary = lm.last_logits(["a b"])[0].log_softmax(-1)
    tokens = [1000, 5000, 40000]
    texts = [lm.tokenizer.decode([i]) for i in tokens]
    assert [lm.encode(text) for text in texts] == [[i] for i in tokens]
    assert lm.score(["a b"], [texts])[0] == pytest.approx(vocabulary[tokens].tolist(), abs=1e-4)


def test_many_continuations_of_all_lengths_keep_their_places():
    lm = tiny_lm()
    groups = [[" x" * (1 + (i * 7 + j * 3) % 11) for j in range(i % 5)] for i in range(20)]
    prompts = [f"Row {i} " + "y " * (i % 6) + "is" for i in range(20)]
    found = lm.score(prompts, groups, batch_size=6)
    for prompt, group, scores in zip(prompts, groups, found, strict=True):
        assert scores == pytest.approx([by_hand(lm, prompt, c) for c in group], abs=1e-3)


def test_shapes_follow_the_input_and_any_iterable_will_do():
    lm = tiny_lm()
    assert lm.score([], []) == [] and lm.score(["a"], [[]]) == [[]]
    flat = lm.score(["a", "b"], [" c", " d"])
    assert [type(value) for value in flat] == [float, float]
    assert lm.score((p for p in ["a", "b"]), (c for c in [" c", " d"])) == flat
    assert lm.score(np.array(["a", "b"]), np.array([" c", " d"])) == flat
    assert lm.score(["a"], [(c for c in [" c", " d"])]) == lm.score(["a"], np.array([[" c", " d"]]))


@pytest.mark.parametrize(
    ("prompts", "continuations", "error", "words"),
    [
        ("a", [" b"], TypeError, "takes lists"),
        (["a"], " b", TypeError, "takes lists"),
        (["a", "b"], [" c"], ValueError, "2 prompts but 1 continuations"),
        (["a", ""], [" c", " d"], ValueError, "Prompt 1 is empty"),
        (["a", "b"], [" c", ""], ValueError, "Continuation 1 is empty"),
        (["a"], [[" b", ""]], ValueError, "Continuation 1 is empty"),
        (["a"], [None], TypeError, "Continuation 0 is of type NoneType"),
        (["a"], [[1.5]], TypeError, "Continuation 0 is of type float"),
        ([1], [" b"], TypeError, "Prompt 0 is of type int"),
    ],
)
def test_what_cannot_be_scored_is_named(prompts, continuations, error, words):
    with pytest.raises(error, match=words):
        tiny_lm().score(prompts, continuations)


def test_batch_size_must_be_positive():
    with pytest.raises(ValueError, match="at least 1"):
        tiny_lm().score(["a"], [" b"], batch_size=0)


def test_o48_prompt_and_continuation_must_fit_into_the_window():
    lm = tiny_lm(window=16)
    assert lm.score(["a" + " a" * 11], [" b" * 4])[0] < 0
    with pytest.raises(ValueError, match=r"has 13 tokens; .* 4 more that is 17"):
        lm.score(["a" + " a" * 12], [" b" * 4])


def test_logits_of_many_long_continuations_never_lie_in_memory_together(monkeypatch):
    """32 continuations of 400 tokens once took 2.5 GB of logits."""
    lm = tiny_lm(window=2048)
    asked, forward = [], lm._forward

    def spy(batch, cache, keep):
        asked.append(batch.ids.numel() if keep == 0 else len(batch.ids))
        return forward(batch, cache, keep)

    monkeypatch.setattr(lm, "_forward", spy)
    scores = lm.score([f"Row {i}" for i in range(12)], [" x" * 300] * 12)
    assert len(scores) == 12 and sum(asked) > 12 * 300 - 12
    assert max(asked) * LOGITS_COST <= MAX_TOKENS
