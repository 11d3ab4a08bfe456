"""Exercises of notebook 01: a block's parameters, the cache's size, one step of the logit lens, a blind hash."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from memcourse.activations.lens import lens_step
from memcourse.course.exercises.exercise import Exercise, Mistake
from memcourse.model.size import block_parameters, kv_floats_per_token, weights_sha256


def hash_broken(model: Any) -> str:
    """SHA-256 of the weights (so it says)."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor}".encode())
    return digest.hexdigest()


def notices_a_change(hash_weights: Callable[[Any], str], width: int, change: float | None) -> bool:
    """Whether a hash tells a layer from the same layer with one weight changed (None: a row reversed)."""
    import torch

    torch.manual_seed(0)
    layer = torch.nn.Linear(width, width)
    before = hash_weights(layer)
    with torch.no_grad():
        if change is None:
            layer.weight[0] = layer.weight[0].flip(0)
        else:
            layer.weight[width // 2, width // 2] += change
    return hash_weights(layer) != before


def _hash_of_sums(model: Any) -> str:
    sums = [float(tensor.double().sum()) for tensor in model.state_dict().values()]
    return hashlib.sha256(str([round(x, 9) for x in sums]).encode()).hexdigest()


def _hash_of_names(model: Any) -> str:
    return hashlib.sha256(str(sorted(model.state_dict())).encode()).hexdigest()


def _lens_case(seed: int, shape: tuple[int, ...] = (3, 8)) -> tuple[Any, ...]:
    import torch

    draw = torch.Generator().manual_seed(seed)
    return (
        torch.randn(*shape, generator=draw) * 3, torch.rand(8, generator=draw) + 0.5,
        torch.randn(11, 8, generator=draw), 1e-5,
    )  # fmt: skip


def _layer_norm(hidden: Any, weight: Any, unembedding: Any, eps: float) -> Any:
    centred = hidden - hidden.mean(-1, keepdim=True)
    return centred / (centred.pow(2).mean(-1, keepdim=True) + eps).sqrt() * weight @ unembedding.T


_DIGITS = (lambda: (576, 9, 3, 64, 1536), lambda: (64, 4, 4, 16, 256), lambda: (128, 8, 1, 32, 96))

EXERCISES = (
    Exercise(
        id="01.block_parameters",
        reference=block_parameters,
        cases=_DIGITS,
        mistakes=(
            Mistake(
                lambda d, h, kv, hd, f: 4 * d * h * hd + 3 * d * f + 2 * d,
                "K and V have fewer heads than Q here (grouped-query attention): use kv_heads for them.",
            ),
            Mistake(
                lambda d, h, kv, hd, f: 2 * d * h * hd + 2 * d * kv * hd + 2 * d * f + 2 * d,
                "A Llama MLP is gated: it has three matrices (gate, up, down), not two.",
            ),
            Mistake(
                lambda d, h, kv, hd, f: 2 * d * h * hd + 2 * d * kv * hd + 3 * d * f,
                "The two norms are missing: each has a gain for every one of the d channels.",
            ),
            Mistake(
                lambda d, h, kv, hd, f: d * h * hd + 2 * d * kv * hd + 3 * d * f + 2 * d,
                "The output projection O of the attention is missing.",
            ),
        ),
        alternatives=(lambda d, h, kv, hd, f: d * (2 * h * hd + 2 * kv * hd + 3 * f + 2),),
        describe=lambda d, h, kv, hd, f: f"block_parameters(d={d}, heads={h}, kv_heads={kv}, head_dim={hd}, d_ff={f})",
    ),
    Exercise(
        id="01.kv_floats_per_token",
        reference=kv_floats_per_token,
        cases=(lambda: (30, 3, 64), lambda: (32, 8, 128), lambda: (2, 1, 5)),
        mistakes=(
            Mistake(lambda n, kv, hd: n * kv * hd, "A token leaves a key and a value, so twice as much."),
            Mistake(lambda n, kv, hd: 2 * kv * hd, "Every layer keeps its own keys and values."),
            Mistake(lambda n, kv, hd: 4 * 2 * n * kv * hd, "Those are bytes in fp32; the count of numbers was asked."),
            Mistake(
                lambda n, kv, hd: 2 * n * 3 * kv * hd,
                "The cache keeps KV heads, not query heads: sharing them is what grouped-query attention saves.",
            ),
        ),
        alternatives=(lambda n, kv, hd: sum(kv * hd + kv * hd for _ in range(n)),),
        describe=lambda n, kv, hd: f"kv_floats_per_token(layers={n}, kv_heads={kv}, head_dim={hd})",
    ),
    Exercise(
        id="01.lens_step",
        reference=lens_step,
        cases=(lambda: _lens_case(0), lambda: _lens_case(1), lambda: _lens_case(2, (2, 3, 8))),
        mistakes=(
            Mistake(
                lambda hidden, weight, unembedding, eps: hidden @ unembedding.T,
                "The final norm is missing: here the output matrix is trained to read normalised vectors.",
            ),
            Mistake(
                lambda hidden, weight, unembedding, eps: (
                    hidden / (hidden.pow(2).mean(-1, keepdim=True) + eps).sqrt() @ unembedding.T
                ),
                "The norm has a learnt gain for each channel: multiply by norm_weight.",
            ),
            Mistake(_layer_norm, "RMSNorm subtracts no mean; that is LayerNorm."),
            Mistake(
                lambda hidden, weight, unembedding, eps: (
                    hidden / (hidden.pow(2).sum(-1, keepdim=True) + eps).sqrt() * weight @ unembedding.T
                ),
                "RMSNorm divides by the root of the mean of squares, not of their sum.",
            ),
        ),
        alternatives=(
            lambda hidden, weight, unembedding, eps: (
                __import__("torch").nn.functional.rms_norm(hidden, (hidden.shape[-1],), weight, eps) @ unembedding.T
            ),
        ),
        describe=lambda hidden, *rest: f"lens_step(hidden of shape {tuple(hidden.shape)}, ...)",
    ),
    Exercise(
        id="01.puzzle",
        reference=weights_sha256,
        probe=notices_a_change,
        cases=(lambda: (4, 1.0), lambda: (200, 1.0), lambda: (200, 1e-6), lambda: (4, None), lambda: (200, 0.0)),
        broken=hash_broken,
        mistakes=(
            Mistake(_hash_of_sums, "A sum does not notice weights that trade places. Hash the bytes."),
            Mistake(_hash_of_names, "Only the names are hashed, and they never change."),
        ),
        alternatives=(
            lambda model: hashlib.sha256(
                b"".join(t.detach().cpu().contiguous().numpy().tobytes() for t in model.state_dict().values())
            ).hexdigest(),
        ),
        describe=lambda width, change: (
            f"in a {width} x {width} layer, "
            + ("a reversed row" if change is None else f"a change of {change:g} in one weight")
            + ": noticed"
        ),
    ),
)
