"""Attention by hand equals torch's, whole and in tiles; bytes and operations are what the formulas say."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from memcourse.activations.attention import attention, causal_mask, repeat_heads, tiled_attention, tiled_bytes
from memcourse.activations.layer import layer_attention
from memcourse.model.memory import peak_bytes

SIZES = st.tuples(
    st.sampled_from([(1, 1), (4, 2), (6, 6), (9, 3)]), st.integers(1, 40), st.integers(0, 25), st.integers(1, 9)
)


def draw(heads: int, groups: int, queries: int, keys: int, d: int, batch: tuple[int, ...] = (2,)):
    torch.manual_seed(queries * 100 + keys)
    q, k = torch.randn(*batch, heads, queries, d), torch.randn(*batch, groups, keys, d)
    return q * 3, k * 3, torch.randn(*batch, groups, keys, d)


def trusted(q, k, v, causal: bool):
    k, v = (x.repeat_interleave(q.shape[-3] // k.shape[-3], dim=-3) for x in (k, v))
    mask = causal_mask(q.shape[-2], k.shape[-2]) if causal else None
    return scaled_dot_product_attention(q, k, v, attn_mask=mask)


@settings(deadline=None, max_examples=60)
@given(SIZES, st.booleans(), st.tuples(st.integers(1, 12), st.integers(1, 12)))
def test_both_are_torchs_attention(sizes, causal, tile):
    (heads, groups), queries, cached, d = sizes
    q, k, v = draw(heads, groups, queries, queries + cached, d)
    wanted = trusted(q, k, v, causal)
    assert torch.allclose(attention(q, k, v, causal), wanted, atol=1e-5)
    assert torch.allclose(tiled_attention(q, k, v, causal, tile), wanted, atol=1e-5)


def test_tiles_are_exact_where_scores_are_huge():
    q, k, v = draw(2, 2, 50, 50, 8)
    assert torch.allclose(tiled_attention(q * 40, k * 40, v, tile=(8, 8)), trusted(q * 40, k * 40, v, True), atol=1e-5)


def test_causal_is_torchs_is_causal_and_the_future_does_not_matter():
    q, k, v = draw(4, 4, 300, 300, 16)
    wanted = scaled_dot_product_attention(q, k, v, is_causal=True)
    for mine in (attention, tiled_attention):
        before = mine(q, k, v)
        assert torch.allclose(before, wanted, atol=1e-5)
        k2, v2 = k.clone(), v.clone()
        k2[..., 200:, :], v2[..., 200:, :] = 7.0, -9.0
        assert torch.equal(mine(q, k2, v2)[..., :200, :], before[..., :200, :])


def test_inputs_stay_as_they_are():
    tensors = draw(4, 2, 30, 40, 8)
    copies = [x.clone() for x in tensors]
    tiled_attention(*tensors, tile=(8, 8))
    assert all(torch.equal(x, y) for x, y in zip(tensors, copies, strict=True))


def test_heads_share_keys_in_a_row():
    x = torch.arange(3.0)[:, None, None]
    assert repeat_heads(x, 6).flatten().tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("mine", [attention, tiled_attention])
def test_shapes_that_do_not_fit_are_refused(mine):
    q, k, v = draw(4, 2, 5, 5, 8)
    with pytest.raises(ValueError, match=r"4 query heads can't share 3"):
        mine(q, *(torch.zeros(2, 3, 5, 8),) * 2)
    with pytest.raises(ValueError, match=r"q must be .* not \(2, 4, 5, 8\)"):
        mine(q, k[..., :7], v)
    with pytest.raises(ValueError, match="5 queries need at least as many keys, not 4"):
        mine(q, k[..., :4, :], v[..., :4, :])
    with pytest.raises(ValueError, match="at least one row"):
        tiled_attention(q, k, v, tile=(0, 4))


@pytest.mark.parametrize("tokens", [1024, 2048])
def test_peak_bytes_are_those_of_the_formulas(tokens):
    q, k, v = draw(9, 3, tokens, tokens, 64, ())
    output = q.nbytes
    assert peak_bytes(lambda: tiled_attention(q, k, v)) - output == pytest.approx(tiled_bytes(9, 64), rel=0.1)
    square = 9 * tokens * tokens * 4
    assert 2 * square < peak_bytes(lambda: attention(q, k, v)) < 2.6 * square


def test_peak_bytes_counts_what_is_held_and_what_was_released():
    assert peak_bytes(lambda: torch.zeros(1000)) == pytest.approx(4000, abs=100)
    assert peak_bytes(lambda: [torch.zeros(1000) for _ in range(3)]) == pytest.approx(12000, abs=200)

    def one_after_the_other():
        for _ in range(3):
            torch.zeros(1000)

    assert peak_bytes(one_after_the_other) == pytest.approx(4000, abs=200)


@pytest.mark.parametrize("layer", [0, 17, 29])
def test_a_layer_of_the_model_is_our_attention(lm, layer):
    """Our attention on SmolLM2's own queries, keys and values gives what its attention module hands on."""
    q, k, v, mixed = layer_attention(lm, "The tide tables of the harbour hang beside the door.", layer)
    assert (q.shape[0], k.shape[0], q.shape[1:], mixed.shape) == (9, 3, k.shape[1:], q.shape)
    for mine in (attention, tiled_attention):
        assert torch.allclose(mine(q, k, v), mixed, atol=1e-4)
    with pytest.raises(ValueError, match="layers 0 to 29, not 30"):
        layer_attention(lm, "x", 30)
