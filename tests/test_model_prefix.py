"""A prefix is a value: used as often as wanted, never changed, and without any influence on what comes out."""

from __future__ import annotations

import hashlib
import string

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memcourse.model import Prefix, Shape, kv_floats_per_token
from memcourse.model.cache import cache_from, common_length, layers_of, select_rows

from .model_support import as_ids, tiny_lm

TEXTS = st.text(st.sampled_from(string.ascii_letters + " \n.'0123456789é漢🙂"), min_size=1, max_size=24)


def digest(prefix: Prefix) -> str:
    """Every byte of the keys and values."""
    kept = hashlib.sha256()
    for pair in prefix.layers:
        for tensor in pair:
            kept.update(tensor.contiguous().numpy().tobytes())
    return kept.hexdigest()


def test_o46_prefix_does_not_grow_and_answers_stay_the_same(lm):
    prefix = lm.prefix("Anna has a dog called Rex. Ben has a cat called")
    before = (digest(prefix), len(prefix), prefix.nbytes, [tuple(k.shape) for k, _ in prefix.layers])
    first = lm.generate(["", " Mia. The dog of Anna is called"], 5, prefix=prefix)
    lm.score([" Tom", " Tom and"], [[" is here", " x"], [" so on"]], prefix=prefix)
    lm.prefix(prefix.text + " Tom. And so on", after=prefix)
    assert lm.generate(["", " Mia. The dog of Anna is called"], 5, prefix=prefix) == first
    assert (digest(prefix), len(prefix), prefix.nbytes, [tuple(k.shape) for k, _ in prefix.layers]) == before


def test_a_prefix_of_another_model_or_format_is_refused(lm):
    other = tiny_lm()
    with pytest.raises(ValueError, match=r"computed by .* in torch\.float32; make it anew"):
        lm.generate([" and so on"], 1, prefix=other.prefix("Once"))


@pytest.mark.parametrize(
    ("start", "ends"),
    [
        ("The capital of France", [" is", " was"]),
        ("The capital of Fra", ["nce is", "nconia is", "nce"]),  # one token across the boundary
        ("Question: 2+2=4. Question: 3+3=", ["6. Question: 1+1=", "", "6"]),
        ("A list:\n", ["\n\n- one\n-", "- one\n-"]),  # line breaks merge too
        ("caf", ["é au lait", "eteria"]),
    ],
)
def test_o46_generating_with_a_prefix_equals_the_whole_text_to_the_token(lm, monkeypatch, start, ends):
    prefix = lm.prefix(start)
    as_ids(lm, monkeypatch)
    assert lm.generate(ends, 4, prefix=prefix) == lm.generate([start + end for end in ends], 4)


def test_some_of_those_prefixes_do_merge_with_what_follows(lm):
    for start, end in (("The capital of Fra", "nce is"), ("A list:\n", "\n\n- one")):
        assert lm.encode(start) + lm.encode(end) != lm.encode(start + end)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(TEXTS, st.lists(TEXTS | st.just(""), min_size=1, max_size=4))
def test_o46_no_text_can_be_told_from_its_halves(start, ends):
    lm = tiny_lm()
    prefix = lm.prefix(start)
    before = digest(prefix)
    assert lm.generate(ends, 4, prefix=prefix) == lm.generate([start + end for end in ends], 4)
    assert lm.score(ends, [" so"] * len(ends), prefix=prefix) == pytest.approx(
        lm.score([start + end for end in ends], [" so"] * len(ends)), abs=1e-3
    )
    assert digest(prefix) == before


def test_a_prefix_holds_the_keys_and_values_of_a_plain_run(lm):
    prefix = lm.prefix("One two three four")
    ids = lm.encode("One two three four")
    with torch.no_grad():
        plain = layers_of(lm.model(torch.tensor([ids]), use_cache=True)[lm._cache_name])
    assert prefix.ids == tuple(ids) and len(prefix) == len(ids) and len(prefix.layers) == 30
    for ours, theirs in zip(prefix.layers, plain, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    shape = Shape.of(lm.model.config)
    per_token = kv_floats_per_token(shape.layers, shape.kv_heads, shape.head_dim)
    assert prefix.nbytes == 4 * len(ids) * per_token == 184_320
    assert repr(prefix) == "Prefix(4 tokens, 184,320 bytes)"


@pytest.mark.parametrize("text", ["A chat. Hello! More", "A chat. Hell", "A chat", "Another thing", "A chat. Hello!"])
def test_a_prefix_that_goes_on_equals_one_made_anew(text):
    lm = tiny_lm()
    first = lm.prefix("A chat. Hello!")
    before = digest(first)
    longer, fresh = lm.prefix(text, after=first), lm.prefix(text)
    assert longer.ids == fresh.ids and longer.text == text
    for ours, theirs in zip(longer.layers, fresh.layers, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    assert digest(first) == before
    assert all(ours[0].data_ptr() != old[0].data_ptr() for ours, old in zip(longer.layers, first.layers, strict=True))


def test_only_what_is_new_is_computed(monkeypatch):
    lm = tiny_lm()
    prefix = lm.prefix("a b c d e f g h")
    widths, forward = [], lm._forward
    monkeypatch.setattr(
        lm, "_forward", lambda batch, cache, keep: widths.append(batch.ids.shape[1]) or forward(batch, cache, keep)
    )
    lm.prefix("a b c d e f g h i", after=prefix)
    lm.generate([" x y"], 1, prefix=prefix)
    lm.score([""], [" x"], prefix=prefix)
    assert widths == [1, 2, 1]


def test_a_cache_made_from_a_prefix_is_a_copy():
    lm = tiny_lm()
    prefix = lm.prefix("a b c")
    before = digest(prefix)
    cache = cache_from(prefix.layers, 2, batch=3)
    assert [k.shape for k, _ in layers_of(cache)] == [(3, 2, 2, 8)] * 2
    rows = select_rows(cache, torch.tensor([2, 0, 0, 1]))
    for keys, values in (*layers_of(cache), *layers_of(rows)):
        keys.zero_(), values.zero_()
    cache.update(*(torch.ones(3, 2, 1, 8),) * 2, 0)
    assert digest(prefix) == before and layers_of(cache_from(prefix.layers, 0, batch=3)) == ()


@pytest.mark.parametrize(("text", "error"), [("", ValueError), (None, TypeError), (3, TypeError), (["a"], TypeError)])
def test_a_prefix_needs_a_text(text, error):
    with pytest.raises(error, match="Prefix 0"):
        tiny_lm().prefix(text)


def test_a_text_in_the_place_of_a_prefix_is_refused():
    for call in (tiny_lm().generate, lambda prompts, prefix: tiny_lm().score(prompts, [" b"], prefix=prefix)):
        with pytest.raises(TypeError, match=r"what prefix\(text\) returns"):
            call(["a"], prefix="Some text")


def test_o48_a_prefix_must_fit_into_the_window():
    lm = tiny_lm(window=16)
    assert len(lm.prefix("a" + " a" * 15)) == 16
    with pytest.raises(ValueError, match="Prefix 0 has 17 tokens"):
        lm.prefix("a" + " a" * 16)


@given(st.lists(st.integers(0, 3)), st.lists(st.integers(0, 3)))
def test_common_length_is_the_longest_shared_beginning(a, b):
    n = common_length(a, b)
    assert a[:n] == b[:n] and 0 <= n <= min(len(a), len(b))
    assert n in (len(a), len(b)) or a[n] != b[n]
    assert common_length(tuple(b), a) == n
