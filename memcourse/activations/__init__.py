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
from memcourse.activations.context import Found, Needle, margins
from memcourse.activations.hooks import Activation, hidden_states, watch
from memcourse.activations.intervene import cut, knockout, patched
from memcourse.activations.layer import Layer, layer_attention
from memcourse.activations.lens import lens_step, logit_lens
from memcourse.activations.measure import Cost, attention_costs
from memcourse.activations.tracing import Facts, answer_logprobs, prepare_facts, trace

__all__ = [
    "Activation",
    "Cost",
    "Facts",
    "Found",
    "Layer",
    "Needle",
    "answer_logprobs",
    "attention",
    "attention_costs",
    "causal_mask",
    "cut",
    "expected_error",
    "hidden_states",
    "knockout",
    "layer_attention",
    "lens_step",
    "linear_state",
    "logit_lens",
    "margins",
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
