"""Operations, cache bytes and throughput by formula: against counted operations, the real cache, and known figures."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from memcourse.activations import associative
from memcourse.model import costs
from memcourse.model.size import Shape


def test_the_table_holds_the_models_own_shape(lm):
    assert costs.SHAPES["SmolLM2 135M"] == Shape.of(lm.model.config)


@pytest.mark.parametrize(
    ("name", "billions"), [("SmolLM2 360M", 0.362), ("SmolLM2 1.7B", 1.71), ("Llama 2 7B", 6.74), ("Llama 3 8B", 8.03),
                           ("Llama 3 70B", 70.55), ("Qwen2.5 7B", 7.615)],
)  # fmt: skip
def test_shapes_give_the_published_parameter_counts(name, billions):
    assert costs.parameters(costs.SHAPES[name]) / 1e9 == pytest.approx(billions, rel=0.003)


def test_flops_are_those_that_torch_counts(lm):
    """torch counts the square of scores in full, and the output matrix for one token."""
    shape, tokens = costs.SHAPES["SmolLM2 135M"], 64
    # torch counts nothing inside its fused kernel for the CPU, so we ask for the one made of plain products
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        lm.model(torch.ones(1, tokens, dtype=torch.long), logits_to_keep=1)
    full = tokens * costs.linear_flops(shape) + costs.attention_flops(shape, tokens) * tokens + 2 * shape.d * shape.vocab
    assert counter.get_total_flops() == pytest.approx(full, rel=1e-6)


def test_the_crossover_is_where_both_cost_the_same():
    shape = costs.SHAPES["SmolLM2 135M"]
    assert costs.crossover(shape) == 3072
    assert costs.attention_flops(shape, 3072) == costs.linear_flops(shape)
    whole = 2 * 3072
    assert costs.prefill_flops(shape, whole) == pytest.approx(2 * whole * costs.linear_flops(shape), rel=1e-3)


def test_cache_bytes_are_those_of_the_cache(lm):
    prefix = lm.prefix("A chest of drawers stands beside the door.")
    assert costs.kv_bytes(costs.SHAPES["SmolLM2 135M"], len(prefix)) == prefix.nbytes


def test_the_roofline_lands_on_the_figures_of_the_talk():
    """An 8B model in bf16 with 60 GB for caches on a card that reads 3.35 TB/s: about 19,700 and 149 tokens a second."""
    shape = costs.SHAPES["Llama 3 8B"]
    assert costs.kv_bytes(shape, 1, bits=16) == 128 * 1024
    memory = costs.parameters(shape) * 2 + 60e9
    rates = {}
    for tokens in (1024, 131_072):
        batch = costs.largest_batch(shape, tokens, memory)
        rates[tokens] = costs.decode_rate(shape, tokens, batch, 3.35e12)
    assert rates[1024] == pytest.approx(19_700, rel=0.01) and rates[131_072] == pytest.approx(149, rel=0.02)
    assert costs.largest_batch(shape, 1024, 1e9) == 0
    with pytest.raises(ValueError, match="At least one sequence"):
        costs.decode_rate(shape, 1024, 0, 1e12)


@pytest.mark.parametrize("n", [1, 16, 64, 256])
def test_linear_recall_errs_as_the_formula_says_and_softmax_does_not(n):
    d = 64
    errors, exact = [], []
    for seed in range(8):
        keys, values = (
            associative.unit_keys(n, d, seed),
            torch.randn(n, d, generator=torch.Generator().manual_seed(99 + seed)),
        )
        state = associative.linear_state(keys, values)
        assert state.shape == (d, d)
        errors.append(associative.relative_error(associative.recall_linear(state, keys), values))
        exact.append(associative.relative_error(associative.recall_softmax(keys, values, keys, beta=50), values))
    assert sum(errors) / 8 == pytest.approx(associative.expected_error(n, d), rel=0.15, abs=1e-6)
    assert max(exact) < 0.01
