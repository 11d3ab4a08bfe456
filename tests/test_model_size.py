"""The formulas of size agree with models that exist: parameters, bytes, cache, and the fingerprint of all weights."""

from __future__ import annotations

import copy
import hashlib
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memcourse.model import (
    BITS,
    Shape,
    block_parameters,
    chat_tokens,
    kv_floats_per_token,
    parameter_shares,
    parameters,
    weight_bytes,
    weights_sha256,
)

from .model_support import tiny_llama, tiny_lm

SHAPES = st.builds(
    lambda groups, kv, wide, **rest: Shape(d=groups * kv * wide, heads=groups * kv, kv_heads=kv, **rest),
    groups=st.integers(1, 3), kv=st.integers(1, 3), wide=st.integers(1, 9), layers=st.integers(1, 3),
    head_dim=st.sampled_from([2, 4, 8]), d_ff=st.integers(1, 40), vocab=st.integers(1, 60), tied=st.booleans(),
)  # fmt: skip


def llama(shape: Shape):
    """A model of that shape without any memory behind it."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=shape.vocab, hidden_size=shape.d, intermediate_size=shape.d_ff, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads, head_dim=shape.head_dim,
        tie_word_embeddings=shape.tied, pad_token_id=None, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    with torch.device("meta"):
        return LlamaForCausalLM(config)


@settings(max_examples=30, deadline=None)
@given(SHAPES)
def test_parameters_are_those_of_a_real_model_of_that_shape(shape):
    model = llama(shape)
    assert Shape.of(model.config) == shape
    assert parameters(shape) == sum(p.numel() for p in model.parameters())
    block = sum(p.numel() for p in model.model.layers[0].parameters())
    assert block_parameters(shape.d, shape.heads, shape.kv_heads, shape.head_dim, shape.d_ff) == block
    shares = parameter_shares(shape)
    mlps = sum(p.numel() for name, p in model.named_parameters() if ".mlp." in name)
    attention = sum(p.numel() for name, p in model.named_parameters() if ".self_attn." in name)
    norms = sum(p.numel() for name, p in model.named_parameters() if "norm" in name)
    assert (shares["MLPs"], shares["attention"], shares["norms"]) == (mlps, attention, norms)
    assert sum(shares.values()) == parameters(shape)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)


def test_smollm2_has_the_size_that_the_formula_says(lm):
    shape = Shape.of(lm.model.config)
    assert shape == Shape(d=576, layers=30, heads=9, kv_heads=3, head_dim=64, d_ff=1536, vocab=49152, tied=True)
    assert parameters(shape) == lm.n_parameters == 134_515_008
    assert weight_bytes(lm.n_parameters, BITS["fp32"]) == sum(p.nbytes for p in lm.model.parameters())


def test_shape_of_an_older_configuration_derives_what_it_lacks():
    old = SimpleNamespace(hidden_size=48, num_hidden_layers=2, num_attention_heads=6, intermediate_size=96,
                          vocab_size=10, tie_word_embeddings=False)  # fmt: skip
    assert Shape.of(old) == Shape(48, 2, 6, 6, 8, 96, 10, tied=False)


def test_the_cache_grows_by_that_many_numbers_for_each_token():
    lm = tiny_lm()
    shape = Shape.of(lm.model.config)
    per_token = kv_floats_per_token(shape.layers, shape.kv_heads, shape.head_dim)
    for text in ("a", "a b c d"):
        prefix = lm.prefix(text)
        assert sum(tensor.numel() for pair in prefix.layers for tensor in pair) == len(prefix) * per_token


@given(st.integers(0, 50), st.integers(0, 500))
def test_a_chat_that_sends_everything_again_reads_this_many_tokens(turns, tokens):
    assert chat_tokens(turns, tokens) == sum(tokens * turn for turn in range(1, turns + 1))


def test_bytes_follow_the_bits():
    assert {name: weight_bytes(1000, bits) for name, bits in BITS.items()} == {
        "fp32": 4000, "bf16": 2000, "int8": 1000, "int4": 500,
    }  # fmt: skip
    assert weight_bytes(32, 5) == 20, "Q4_1: 4 bits and a scale and a minimum of 16 bits for each 32 weights"


def test_fingerprint_is_the_sha256_of_all_names_and_bytes_in_order_of_name():
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.numpy().tobytes())
    assert weights_sha256(model) == digest.hexdigest()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_fingerprint_sees_the_smallest_change_and_nothing_else(dtype):
    model = tiny_llama().to(dtype)
    before = weights_sha256(model)
    assert weights_sha256(copy.deepcopy(model).train()) == before
    with torch.no_grad():
        weight = model.model.layers[1].mlp.up_proj.weight
        weight[3, 5] = (
            torch.nextafter(weight[3, 5].float(), torch.tensor(torch.inf)) if dtype == torch.float32 else -weight[3, 5]
        )
    assert weights_sha256(model) != before
