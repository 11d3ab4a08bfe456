"""Activations: what a model computes for one input and then forgets. Hooks, logit lens, interventions."""

from memcourse.activations.associative import (
    expected_error,
    linear_state,
    recall_linear,
    recall_softmax,
    relative_error,
    unit_keys,
)
from memcourse.activations.attention import attention, causal_mask, repeat_heads, tiled_attention, tiled_bytes
from memcourse.activations.hooks import Activation, hidden_states, watch
from memcourse.activations.intervene import cut, knockout, patched
from memcourse.activations.lens import lens_step, logit_lens
from memcourse.activations.tracing import Facts, answer_logprobs, prepare_facts, trace

__all__ = [
    "Activation",
    "Facts",
    "answer_logprobs",
    "attention",
    "causal_mask",
    "cut",
    "expected_error",
    "hidden_states",
    "knockout",
    "lens_step",
    "linear_state",
    "logit_lens",
    "patched",
    "prepare_facts",
    "recall_linear",
    "recall_softmax",
    "relative_error",
    "repeat_heads",
    "tiled_attention",
    "tiled_bytes",
    "trace",
    "unit_keys",
    "watch",
]
