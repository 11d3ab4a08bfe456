"""Activations: what a model computes for one input and then forgets. Hooks, logit lens, interventions."""

from memcourse.activations.hooks import Activation, hidden_states, watch
from memcourse.activations.intervene import cut, knockout, patched
from memcourse.activations.lens import lens_step, logit_lens
from memcourse.activations.tracing import Facts, answer_logprobs, prepare_facts, trace

__all__ = [
    "Activation",
    "Facts",
    "answer_logprobs",
    "cut",
    "hidden_states",
    "knockout",
    "lens_step",
    "logit_lens",
    "patched",
    "prepare_facts",
    "trace",
    "watch",
]
