"""Generation: what transformers itself would say, the same for one prompt and for many, within the window or not at all."""

from __future__ import annotations

import gc
import string

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memcourse.model import Example, LanguageModel, completion_prompt, weights_sha256
from memcourse.model.sampling import picker

from .model_support import PROMPTS, as_ids, reference_ids, smollm_tokenizer, tiny_llama, tiny_lm

N = 8
TEXTS = st.text(st.sampled_from(string.printable + "äß漢字🙂\u200b"), min_size=1, max_size=20)
slow_first = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def alone_ids(lm):
    """Each prompt's answer when it is the only one, as token ids."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        as_ids(lm, monkeypatch)
        return {prompt: lm.generate(prompt, N) for prompt in PROMPTS}


@pytest.fixture(scope="module")
def alone(lm, alone_ids):
    """The same answers as text."""
    return {prompt: lm.decode([int(i) for i in ids.split()]) for prompt, ids in alone_ids.items()}


def test_generate_equals_transformers_token_for_token(lm, alone_ids):
    assert alone_ids == {prompt: reference_ids(lm, prompt, N) for prompt in PROMPTS}


@pytest.mark.parametrize("batch_size", [4, 16])
def test_o47_batch_equals_single_in_the_order_of_the_prompts(lm, alone, batch_size):
    mixed = [PROMPTS[i] for i in (4, 0, 5, 2, 1, 3)]
    assert lm.generate(mixed, N, batch_size=batch_size) == [alone[prompt] for prompt in mixed]


@slow_first
@given(st.lists(TEXTS, min_size=1, max_size=7), st.integers(1, 9))
def test_o47_no_prompt_depends_on_its_neighbours(prompts, batch_size):
    lm = tiny_lm()
    assert lm.generate(prompts, 6, batch_size=batch_size) == [lm.generate(prompt, 6) for prompt in prompts]


def test_o47_tokenizer_and_weights_stay_as_they_are(lm):
    before = (lm.tokenizer.padding_side, lm.tokenizer.pad_token_id, weights_sha256(lm.model))
    lm.generate(PROMPTS[:3], 2)
    lm.score(PROMPTS[:2], [" Paris is", " 4"])
    assert (lm.tokenizer.padding_side, lm.tokenizer.pad_token_id, weights_sha256(lm.model)) == before
    assert not lm.model.training and all(p.grad is None for p in lm.model.parameters())


def test_a_stop_text_cuts_the_answer_where_it_first_stands(lm, alone):
    """Stop texts inside a token, over several tokens, in several rows at different steps, and longer than any answer."""
    assert alone[PROMPTS[0]].startswith(" Paris.\n\nT")
    check_stops(lm, [["ris.\n\nT", "a", "\n# "]], alone)
    tiny = {prompt: tiny_lm().generate(prompt, N) for prompt in PROMPTS}
    check_stops(tiny_lm(), [["\n"], ["e"], ["x" * 100_000], ["er", "o b", "n"], *([t[5:14]] for t in tiny.values())], tiny)


def check_stops(lm, stops, full):
    for stop in stops:
        wanted = [min((full[p].split(s)[0] for s in stop), key=len) for p in PROMPTS]
        assert lm.generate(PROMPTS, N, stop=stop, batch_size=4) == wanted


def test_scored_texts_are_the_same_texts_with_the_probability_of_all_their_tokens(lm, alone_ids, alone):
    """Cross-checked with a plain run over prompt and answer."""
    said = lm.generate(PROMPTS, N, scored=True, batch_size=4)
    assert [one.text for one in said] == [alone[prompt] for prompt in PROMPTS]
    for prompt, one in list(zip(PROMPTS, said, strict=True))[:4]:
        ids = [int(i) for i in alone_ids[prompt].split()]
        with torch.no_grad():
            logits = lm.model(torch.tensor([lm.encode(prompt) + ids])).logits[0]
        chances = logits[len(lm.encode(prompt)) - 1 : -1].log_softmax(-1)[range(len(ids)), ids]
        assert one.tokens == len(ids) == N and one.logprob == pytest.approx(chances.sum().item(), abs=2e-3)
    single = lm.generate(PROMPTS[0], N, scored=True)
    assert single.text == said[0].text and single.logprob == pytest.approx(said[0].logprob, abs=1e-3)


def test_what_ended_an_answer_counts_in_its_score(lm, monkeypatch):
    """Cross-checked with `score` of the answer and its new line."""
    prompt = completion_prompt("What is the capital of France?", examples=[Example("Of Italy?", "Rome")])
    one = lm.generate(prompt, N, stop=["\n"], scored=True)
    (ended,) = lm.score([prompt], [one.text + "\n"])
    assert one.text == " Paris" and one.tokens == len(lm.encode(" Paris\n")) == 2
    assert one.logprob == pytest.approx(ended, abs=1e-3)
    monkeypatch.setattr(lm, "stop_ids", lm.stop_ids | set(lm.encode("\n")))
    by_token = lm.generate(prompt, N, scored=True)
    assert (by_token.text, by_token.tokens, by_token.logprob) == (" Paris", 2, pytest.approx(ended, abs=1e-3))


@pytest.mark.parametrize(
    ("stop", "error"), [("\n", TypeError), ([""], ValueError), ([3], TypeError), (["a", None], TypeError)]
)
def test_stop_texts_that_would_silently_do_something_else_are_refused(lm, stop, error):
    with pytest.raises(error, match=r"[Ss]top text"):
        lm.generate("a", 1, stop=stop)


def test_an_end_token_ends_the_answer_and_is_no_part_of_it(monkeypatch):
    lm = tiny_lm()
    as_ids(lm, monkeypatch)
    ids = lm.generate(PROMPTS[0], 8).split()
    monkeypatch.setattr(lm, "stop_ids", frozenset({int(ids[3])}))
    assert lm.generate(PROMPTS[0], 8).split() == ids[: ids.index(ids[3])]
    assert lm.generate([PROMPTS[0]] * 2 + [PROMPTS[1]], 8)[0].split() == ids[: ids.index(ids[3])]


def test_rows_that_leave_the_batch_are_told():
    """Row 1 ends first, at an end token; then 0 and 3 together, one at a stop text; 4 before 2, which fills the limit."""
    lm, told = tiny_lm(), []
    a, b, end = lm.encode("a")[0], lm.encode("b")[0], min(lm.stop_ids)
    scripts = [iter(tokens) for tokens in ([a, a, end], [a, end], [a] * 5, [a, a, b], [a, a, a, end])]
    pickers = [lambda logits, script=script: next(script) for script in scripts]
    said = lm._continue([[a] * n for n in (3, 1, 2, 4, 2)], None, 0, 5, ["b"], pickers, told.append)
    assert [one.text for one in said] == ["aa", "a", "aaaaa", "aa", "aaa"]
    assert told == [[0, 2, 3, 4], [2, 4], [2]]


def test_stop_ids_are_the_end_tokens_of_tokenizer_and_model_and_nothing_else(lm, monkeypatch):
    assert lm.tokenizer.convert_ids_to_tokens(sorted(lm.stop_ids)) == ["<|endoftext|>", "<|im_end|>"]
    model, tokenizer = tiny_llama(), smollm_tokenizer()
    model.generation_config.eos_token_id = [2, 7]
    unknown = tokenizer.convert_tokens_to_ids
    monkeypatch.setattr(tokenizer, "convert_tokens_to_ids", lambda t: 5 if t == "<|endoftext|>" else unknown(t))
    assert LanguageModel(model, tokenizer, "x").stop_ids == {2, 7}, "5 is what an unknown token gives here"


def test_sampling_gives_the_same_text_alone_and_in_a_batch(lm):
    together = lm.generate(PROMPTS[:4], 5, temperature=1.0, seed=5)
    assert together == [lm.generate(p, 5, temperature=1.0, seed=5 + i) for i, p in enumerate(PROMPTS[:4])]
    other = tiny_lm().generate(["x"] * 4, 8, temperature=3.0, seed=5)
    assert len(set(other)) == 4, "each row samples with its own generator"


def test_sampling_follows_the_softmax_at_that_temperature():
    logits = torch.tensor([2.0, 1.0, 0.0])
    for temperature in (0.5, 2.0):
        drawn = [picker(temperature, seed)(logits) for seed in range(4000)]
        found = np.bincount(drawn, minlength=3) / len(drawn)
        assert found == pytest.approx((logits / temperature).softmax(-1).numpy(), abs=0.03)
    assert picker(0, 1)(logits) == 0


def test_any_iterable_of_strings_will_do():
    lm = tiny_lm()
    two = ["One two", "Three"]
    wanted = [lm.generate(prompt, 3) for prompt in two]
    assert all(isinstance(answer, str) for answer in wanted)
    for prompts in (tuple(two), (p for p in two), np.array(two), dict.fromkeys(two)):
        assert lm.generate(prompts, 3) == wanted
    assert lm.generate(np.str_("Three"), 3) == wanted[1]
    assert lm.generate([two[0]] * 5, 3, batch_size=99) == [wanted[0]] * 5
    assert lm.generate([], 3) == [] and lm.last_logits([]).shape == (0, 49152) and lm.next_tokens([]) == []


@pytest.mark.parametrize(
    ("prompts", "error", "words"),
    [
        ("", ValueError, "Prompt 0 is empty"),
        (["a", ""], ValueError, "Prompt 1 is empty"),
        (["a", None], TypeError, "Prompt 1 is of type NoneType"),
        ([float("nan")], TypeError, "Prompt 0 is of type float"),
        (b"abc", TypeError, "not str"),
        (3, TypeError, "int"),
    ],
)
def test_prompts_that_are_none_are_named(prompts, error, words):
    with pytest.raises(error, match=words):
        tiny_lm().generate(prompts, 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_new_tokens": 0},
        {"batch_size": 0},
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"temperature": np.inf},
    ],
)
def test_settings_out_of_range_are_refused_for_one_prompt_too(wrong):
    for prompts in ("a", ["a", "b"]):
        with pytest.raises(ValueError, match="at least 1"):
            tiny_lm().generate(prompts, **wrong)


def test_o48_prompt_and_answer_must_fit_into_the_window():
    lm = tiny_lm(window=16)
    full = "a" + " a" * 9
    assert len(lm.encode(full)) == 10
    assert lm.generate([full, "a"], 6)
    with pytest.raises(ValueError, match=r"Prompt 1 has 11 tokens; .* 6 more that is 17, .* is 16\. Shorten it by 1 tok"):
        lm.generate(["a", full + " a"], 6)
    with pytest.raises(ValueError, match="Prompt 0 has 19 tokens"):
        lm.generate(full + " a" * 7, 1, prefix=lm.prefix("a a"))


def test_progress_counts_prompts_up_to_all():
    seen = []

    def progress(done, total):
        seen.append((done, total))

    tiny_lm().generate(["a", "b b", "c c c"], 1, batch_size=2, progress=progress)
    tiny_lm().score(["a", "b b", "c c c"], [" x"] * 3, batch_size=2, progress=progress)
    tiny_lm().generate("a", 1, progress=progress)
    assert seen == [(2, 3), (3, 3), (2, 3), (3, 3), (1, 1)]


def test_last_logits_and_next_tokens_are_those_of_a_plain_run(lm):
    found = lm.last_logits(PROMPTS, batch_size=4)
    with torch.no_grad():
        plain = torch.stack([lm.model(torch.tensor([lm.encode(p)])).logits[0, -1] for p in PROMPTS])
    torch.testing.assert_close(found, plain, atol=2e-3, rtol=1e-4)
    best = lm.next_tokens(PROMPTS[:1], k=3)[0]
    probabilities, ids = plain[0].softmax(-1).topk(3)
    assert [text for text, _ in best] == [lm.tokenizer.decode([i]) for i in ids]
    assert [p for _, p in best] == pytest.approx(probabilities.tolist(), abs=1e-4)


def test_special_tokens_in_a_text_are_read_and_written_as_the_tokenizer_does(lm):
    chat = lm.chat_prompt([{"role": "user", "content": "Hi"}])
    assert chat.endswith("<|im_start|>assistant\n") and lm.tokenizer.convert_tokens_to_ids("<|im_end|>") in lm.encode(chat)
    assert lm.encode("a b") == lm.tokenizer("a b", add_special_tokens=False).input_ids
    assert lm.decode([*lm.encode("a b"), 2]) == "a b" and lm.decode([]) == ""


def test_bfloat16_on_the_cpu_answers_and_scores():
    lm = LanguageModel(tiny_llama().to(torch.bfloat16), smollm_tokenizer(), "tiny")
    assert len(lm.generate(PROMPTS[:3], 4, prefix=lm.prefix("a b c"))) == 3
    assert lm.score(["a"], [" b c"])[0] == pytest.approx(tiny_lm().score(["a"], [" b c"])[0], abs=0.5)


def test_repeated_calls_keep_no_tensors():
    lm = tiny_lm()

    def kept():
        lm.generate(PROMPTS[:3], 3, prefix=lm.prefix("a b c"))
        lm.score(PROMPTS[:3], [[" a b", " c"]] * 3)
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    kept()
    assert kept() == kept()


def test_completion_prompt_is_plain_text_that_waits_for_an_answer():
    examples = [Example("1+1?", " 2 ", "Sums."), Example("Sky?", "Blue")]
    prompt = completion_prompt(" Who? ", passage=" A text. ", examples=examples, instruction="Be short.")
    assert prompt == (
        "Be short.\n\nPassage: Sums.\nQuestion: 1+1?\nAnswer: 2\n\nQuestion: Sky?\nAnswer: Blue\n\n"
        "Passage: A text.\nQuestion: Who?\nAnswer:"
    )
    assert completion_prompt("Who?") == "Question: Who?\nAnswer:"
    with pytest.raises(ValueError, match="empty"):
        completion_prompt(" \n")
