"""TinyGPT is Llama: the same weights give the same logits as transformers' class."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from memcourse.model import seed_everything
from memcourse.weights import GPTShape, TinyGPT, n_parameters


def as_llama(model: TinyGPT) -> LlamaForCausalLM:
    """transformers' Llama with the weights of a TinyGPT."""
    shape = model.shape
    config = LlamaConfig(
        vocab_size=shape.vocab, hidden_size=shape.d, intermediate_size=shape.d_ff, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, max_position_embeddings=shape.window, rms_norm_eps=1e-5,
        tie_word_embeddings=True, rope_theta=10_000.0,
    )  # fmt: skip
    llama = LlamaForCausalLM(config).eval()
    ours = model.state_dict()
    theirs = {"model.embed_tokens.weight": ours["tokens.weight"], "lm_head.weight": ours["tokens.weight"]}
    theirs["model.norm.weight"] = ours["norm.weight"]
    for i in range(shape.layers):
        a, b = f"blocks.{i}", f"model.layers.{i}"
        q, k, v = ours[f"{a}.attention.qkv.weight"].chunk(3)
        gate, up = ours[f"{a}.mlp.gate_up.weight"].chunk(2)
        theirs |= {
            f"{b}.self_attn.q_proj.weight": q, f"{b}.self_attn.k_proj.weight": k, f"{b}.self_attn.v_proj.weight": v,
            f"{b}.self_attn.o_proj.weight": ours[f"{a}.attention.out.weight"],
            f"{b}.mlp.gate_proj.weight": gate, f"{b}.mlp.up_proj.weight": up,
            f"{b}.mlp.down_proj.weight": ours[f"{a}.mlp.down.weight"],
            f"{b}.input_layernorm.weight": ours[f"{a}.norm_1.weight"],
            f"{b}.post_attention_layernorm.weight": ours[f"{a}.norm_2.weight"],
        }  # fmt: skip
    llama.load_state_dict(theirs)
    return llama


@settings(deadline=None, max_examples=12)
@given(st.sampled_from([(8, 2), (16, 4), (24, 3), (12, 1)]), st.integers(1, 3), st.integers(1, 20), st.integers(0, 9))
def test_the_logits_are_llamas(width, layers, tokens, seed):
    d, heads = width
    torch.manual_seed(seed)
    model = TinyGPT(GPTShape(vocab=50, d=d, layers=layers, heads=heads, d_ff=2 * d + 2, window=20))
    for weight in model.parameters():  # norms too: at the start they are all ones, which hides a forgotten one
        torch.nn.init.normal_(weight, std=0.5)
    ids = torch.randint(50, (3, tokens))
    with torch.no_grad():
        assert torch.allclose(model(ids), as_llama(model)(ids).logits, atol=1e-4)


def test_parameters_are_counted_once_as_transformers_counts_them():
    model = TinyGPT(GPTShape(vocab=64, d=16, layers=2, heads=4, d_ff=32, window=16))
    assert n_parameters(model) == as_llama(model).num_parameters() == 64 * 16 + 2 * (4 * 256 + 3 * 16 * 32 + 32) + 16


def test_no_token_sees_the_future():
    model = TinyGPT(GPTShape(vocab=20, window=12))
    ids = torch.randint(20, (1, 12))
    other = ids.clone()
    other[0, 7:] = (ids[0, 7:] + 1) % 20
    before, after = model(ids), model(other)
    assert torch.allclose(before[0, :7], after[0, :7], atol=1e-5) and not torch.allclose(before[0, 7], after[0, 7])


def test_one_seed_builds_one_model():
    def built(seed):
        seed_everything(seed)
        return torch.cat([weight.flatten() for weight in TinyGPT(GPTShape(vocab=20)).parameters()])

    assert torch.equal(built(1), built(1)) and not torch.equal(built(1), built(2))


@pytest.mark.parametrize("sizes", [{"vocab": 0}, {"vocab": 5, "d": 10, "heads": 3}, {"vocab": 5, "d": 10, "heads": 4}])
def test_an_impossible_shape_is_refused(sizes):
    with pytest.raises(ValueError, match=r"at least 1|must divide the width 10"):
        GPTShape(**sizes)
