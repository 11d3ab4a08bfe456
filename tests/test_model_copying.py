"""Answers that are copied: runs of whole words of a given text."""

from __future__ import annotations

import re

import pytest
import torch

from memcourse.model.sampling import Copier

SOURCE = "The harbour master, Isolde Corravel, keeps 12 boats\nat Lantern House. The ice plant closes at five."
PROMPTS = ["Question: Who is the harbour master?\nAnswer:", "Question: What is the capital of France?\nAnswer:",
           "Question: How many boats are there?\nAnswer:"]  # fmt: skip


def whole_words(text: str, source: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(text.strip())}(?!\w)", " ".join(source.split())) is not None


def test_every_answer_stands_in_its_text(lm):
    said = lm.generate([f"Passage: {SOURCE}\n{prompt}" for prompt in PROMPTS], 6, stop=["\n"], within=[SOURCE] * 3)
    assert all(text.strip() and whole_words(text, SOURCE) for text in said), said
    free = lm.generate("The capital of France is", 4)
    assert "Paris" in free and not whole_words(free, SOURCE), "freely it answers something else"


def test_a_batch_copies_as_each_alone(lm):
    prompts = [f"Passage: {SOURCE}\n{prompt}" for prompt in PROMPTS]
    sources = [SOURCE, "Paris or Rome", SOURCE]
    together = lm.generate(prompts, 8, stop=["\n"], within=sources, scored=True)
    for one, prompt, source in zip(together, prompts, sources, strict=True):
        alone = lm.generate(prompt, 8, stop=["\n"], within=[source], scored=True)
        assert one.text == alone.text and one.logprob == pytest.approx(alone.logprob, abs=1e-3)


def test_nothing_to_copy_is_no_answer(lm):
    assert lm.generate(PROMPTS[1], 8, within=[""]) == ""


def test_the_likeliest_token_that_fits_is_taken_and_no_word_is_cut(lm):
    def logits(*texts):
        row = torch.zeros(lm.model.config.vocab_size)
        for rank, text in enumerate(texts):
            row[lm.encode(text)[0]] = 9.0 - rank
        return row

    end = lm.tokenizer.eos_token
    pick = Copier(SOURCE, lm.tokenizer, lm.stop_ids)
    decode = lambda token: lm.tokenizer.decode([token])  # noqa: E731
    assert decode(pick(logits("\n", " Paris", " boats"))) == " boats", "no end before the first word"
    assert decode(pick(logits(" of", " at"))) == " at", "also over a line's end"
    assert decode(pick(logits(end, " Lantern"))) == end
    cut = Copier("Lanfish", lm.tokenizer, lm.stop_ids)
    assert decode(cut(logits(" Lan", end))) == " Lan"
    assert decode(cut(logits(end, "\n", "fish"))) == "fish", "no end within a word"


def test_copying_is_refused_where_it_makes_no_sense(lm):
    with pytest.raises(ValueError, match="one text for each of the 3 prompts"):
        lm.generate(PROMPTS, 4, within=[SOURCE])
    with pytest.raises(ValueError, match="one text for each"):
        lm.generate(PROMPTS, 4, within=SOURCE)
    with pytest.raises(ValueError, match="0 where it copies"):
        lm.generate(PROMPTS, 4, within=[SOURCE] * 3, temperature=1.0)


def test_a_word_that_the_limit_cut_short_is_left_out(lm):
    rule = Copier(SOURCE, lm.tokenizer, lm.stop_ids)
    assert [rule.whole(text) for text in (" Isolde Corravel", " Isolde Corr", " Corr", "")] == [
        " Isolde Corravel",
        " Isolde",
        "",
        "",
    ]
    prompt = f"Passage: {SOURCE}\n{PROMPTS[0]}"
    for room in range(1, 9):
        text = lm.generate(prompt, room, stop=["\n"], within=[SOURCE])
        assert not text.strip() or whole_words(text, SOURCE)


def test_a_space_of_its_own_is_taken_before_numbers_only(lm):
    assert lm.encode(" 12") == [*lm.encode(" "), *lm.encode("1"), *lm.encode("2")]
    prompt = "Passage: {}\nQuestion: How many boats?\nAnswer:"
    for source in ("12 boats lie there.", "There lie 12 boats.", "Of these, (33) lie there."):
        assert re.fullmatch(r" ?\(?(12|33)\D*", lm.generate(prompt.format(source), 6, stop=["\n"], within=[source]))
    rule = Copier("The harbour is 9 metres deep.", lm.tokenizer, lm.stop_ids)
    assert [rule._before_number(words) for words in ("", "harbour is", "The", "9", "deep.")] == [
        True,
        True,
        False,
        False,
        False,
    ]
    rule._written = lm.encode(" ")
    assert not rule._before_number("")
