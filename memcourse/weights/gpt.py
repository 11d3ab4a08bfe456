"""A language model small enough to read in one sitting and to train in seconds: the shape of Llama, one page of code.

Choices, and why: *rotary positions* (no parameters that only hold places, and the distance between two tokens counts,
not where they stand), *RMSNorm* (one scale and no mean to subtract), SwiGLU, no biases, and one matrix for reading and
writing tokens. These are SmolLM2's choices too, so what is learned here carries over.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm, scaled_dot_product_attention, silu


@dataclass(frozen=True)
class GPTShape:
    """The sizes of a `TinyGPT`.

    Attributes:
        vocab: number of tokens.
        d: width of the hidden states.
        layers, heads: number of blocks, and of attention heads in each; d / heads must be even.
        d_ff: width inside the feed-forward part.
        window: longest input in tokens.

    Raises:
        ValueError: a size below 1, or heads that don't divide d into even parts.
    """

    vocab: int
    d: int = 64
    layers: int = 2
    heads: int = 4
    d_ff: int = 128
    window: int = 128

    def __post_init__(self) -> None:
        if min(self.vocab, self.d, self.layers, self.heads, self.d_ff, self.window) < 1:
            raise ValueError(f"Every size of a model must be at least 1, unlike in {self}.")
        if self.d % (2 * self.heads):
            raise ValueError(f"{self.heads} heads must divide the width {self.d} into parts of an even size.")


class TinyGPT(nn.Module):
    """Token ids (batch, tokens) to next-token logits (batch, tokens, vocab).

    The random start follows GPT-2 (standard deviation 0.02 at width 768, wider for narrower models; the matrices that
    write into the residual stream start smaller). Call `seed_everything` before building it.
    Source: Radford et al. (2019); Touvron et al., "LLaMA" (2023), arXiv 2302.13971. Tested equal to transformers' Llama.
    """

    angles: Tensor

    def __init__(self, shape: GPTShape) -> None:
        super().__init__()
        self.shape = shape
        self.tokens = nn.Embedding(shape.vocab, shape.d)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = RMSNorm(shape.d)
        angles = rotary_angles(shape.window, shape.d // shape.heads)
        self.register_buffer("angles", angles, persistent=False)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                shrink = (2 * shape.layers) ** -0.5 if name.endswith(("out.weight", "down.weight")) else 1.0
                nn.init.normal_(weight, std=shrink * 0.55 * shape.d**-0.5)

    def forward(self, ids: Tensor) -> Tensor:
        if ids.shape[-1] > self.shape.window:
            raise ValueError(f"{ids.shape[-1]} tokens don't fit into this model's window of {self.shape.window}.")
        x = self.tokens(ids)
        for block in self.blocks:
            x = block(x, self.angles[:, : ids.shape[-1]])
        return self.norm(x) @ self.tokens.weight.mT


def n_parameters(model: nn.Module) -> int:
    """All parameters of a model; a tied embedding counts once."""
    return sum(weight.numel() for weight in model.parameters())


class Block(nn.Module):
    """Attention mixes information between tokens, the feed-forward part works on each alone; both add to the stream."""

    def __init__(self, shape: GPTShape) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = RMSNorm(shape.d), RMSNorm(shape.d)
        self.attention = Attention(shape)
        self.mlp: nn.Module = MLP(shape)

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        x = x + self.attention(self.norm_1(x), angles)
        return x + self.mlp(self.norm_2(x))


class Attention(nn.Module):
    """Causal self-attention; the formula was built by hand in notebook 02."""

    def __init__(self, shape: GPTShape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.qkv = nn.Linear(shape.d, 3 * shape.d, bias=False)
        self.out = nn.Linear(shape.d, shape.d, bias=False)

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        batch, n, d = x.shape
        qkv = self.qkv(x).view(batch, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        q, k = rotate(qkv[:2], angles)
        mixed = scaled_dot_product_attention(q, k, qkv[2], is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(batch, n, d))


class MLP(nn.Module):
    """SwiGLU: one half of the inner layer opens and closes the other. Source: Shazeer (2020), arXiv 2002.05202."""

    def __init__(self, shape: GPTShape) -> None:
        super().__init__()
        self.gate_up = nn.Linear(shape.d, 2 * shape.d_ff, bias=False)
        self.down = nn.Linear(shape.d_ff, shape.d, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(silu(gate) * up)


class RMSNorm(nn.Module):
    """Divides each hidden state by its root mean square. Source: Zhang and Sennrich (2019), arXiv 1910.07467."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight.shape, self.weight, eps=1e-5)


def rotary_angles(window: int, head_dim: int) -> Tensor:
    """Cosines and signed sines (2, window, head_dim) of the angle by which each place turns each pair of coordinates.

    Source: Su et al., "RoFormer" (2021), arXiv 2104.09864; pairs are (i, i + head_dim / 2), as in Llama.
    """
    speed = 10_000.0 ** -(torch.arange(0, head_dim, 2) / head_dim)
    turned = torch.outer(torch.arange(window).float(), speed)
    return torch.stack([turned.cos().repeat(1, 2), torch.cat([-turned.sin(), turned.sin()], dim=1)])


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Turn queries or keys (..., tokens, head_dim) by their place."""
    cos, sin = angles
    return x * cos + x.roll(x.shape[-1] // 2, dims=-1) * sin
