"""Attention by hand: as the formula says it, and tile by tile without ever holding the square of scores."""

from __future__ import annotations

import math

import torch

QUERY_TILE, KEY_TILE = 128, 128  # small enough for the caches of a processor, large enough to be fast


def causal_mask(queries: int, keys: int, device: torch.device | str | None = None) -> torch.Tensor:
    """(queries, keys) True where a query may look: the last query sees every key, the one before it all but the last.

    With a cache there are more keys than queries, so the diagonal ends in the lower right corner. Built in notebook 02.

    Raises:
        ValueError: fewer keys than queries, so that some query could see nothing.
    """
    if keys < queries:
        raise ValueError(f"{queries} queries need at least as many keys, not {keys}.")
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)


def repeat_heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """(..., groups, S, d) to (..., heads, S, d): each key or value head serves heads / groups query heads in a row.

    Source: Ainslie et al., "GQA" (2023, arXiv 2305.13245).
    """
    groups = x.shape[-3]
    return x if heads == groups else x.repeat_interleave(heads // groups, dim=-3)


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool = True) -> torch.Tensor:
    """softmax(q k^T / sqrt(d)) v, with the whole square of scores in memory. Built by hand in notebook 02.

    Args:
        q: (..., heads, T, d). k, v: (..., groups, S, d), where groups divides heads.
        causal: whether a query may look only at keys up to its own place (counted from the end).

    Returns:
        (..., heads, T, d). Equal to torch's scaled_dot_product_attention up to rounding.

    Source: Vaswani et al., "Attention Is All You Need" (2017, arXiv 1706.03762).

    Raises:
        ValueError: shapes that don't fit each other.
    """
    _check_shapes(q, k, v)
    k, v = repeat_heads(k, q.shape[-3]), repeat_heads(v, q.shape[-3])
    scores = q @ k.mT / math.sqrt(q.shape[-1])  # (..., heads, T, S): this is what grows with the square
    if causal:
        scores = scores.masked_fill(~causal_mask(q.shape[-2], k.shape[-2], q.device), -math.inf)
    return scores.softmax(-1) @ v


def tiled_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool = True, tile: tuple[int, int] = (QUERY_TILE, KEY_TILE)
) -> torch.Tensor:
    """The same result, tile by tile: scores of `tile` rows and columns exist at a time. Built by hand in notebook 02.

    Each row keeps the largest score so far, the sum of exponentials below it and the weighted sum of values; when a
    tile brings a larger score, both sums are scaled down (the online softmax). Tiles that the mask hides are skipped.

    Args and returns: as for `attention`; exact up to rounding.

    Source: Dao et al., "FlashAttention" (2022, arXiv 2205.14135); Milakov and Gimelshein, "Online normalizer
    calculation for softmax" (2018, arXiv 1805.02867).

    Raises:
        ValueError: shapes that don't fit each other, or a tile without a row or column.
    """
    if min(tile) < 1:
        raise ValueError(f"A tile needs at least one row and one column, not {tile}.")
    _check_shapes(q, k, v)
    out = torch.empty(*q.shape[:-1], v.shape[-1], dtype=q.dtype, device=q.device)
    offset = k.shape[-2] - q.shape[-2]
    if causal and offset < 0:
        causal_mask(q.shape[-2], k.shape[-2])  # says what is wrong
    for start in range(0, q.shape[-2], tile[0]):
        rows = q[..., start : start + tile[0], :]
        out[..., start : start + tile[0], :] = _rows(rows, k, v, start + offset if causal else None, tile[1])
    return out


def tiled_bytes(heads: int, head_dim: int, tile: tuple[int, int] = (QUERY_TILE, KEY_TILE), itemsize: int = 4) -> int:
    """Bytes that `tiled_attention` holds beside its inputs and its output, whatever the length: the tile and its sums.

    For each head and each row of the tile: the scores, three vectors (scaled query, weighted values, their increment)
    and four numbers; for the tile a mask and its two axes.
    """
    rows, columns = tile
    return heads * rows * (columns + 3 * head_dim + 4) * itemsize + rows * columns


def _rows(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, first: int | None, width: int) -> torch.Tensor:
    """Attention of one tile of queries; the first of them sees keys 0..first (all, where first is None)."""
    groups, (heads, n, d) = k.shape[-3], q.shape[-3:]
    # Heads that share a key head become further rows of one product, so that keys and values are never copied.
    q = (q * d**-0.5).reshape(*q.shape[:-3], groups, heads // groups * n, d)
    highest = q.new_full((*q.shape[:-1], 1), -math.inf)
    total, weighted = torch.zeros_like(highest), q.new_zeros(*q.shape[:-1], v.shape[-1])
    seen = k.shape[-2] if first is None else first + n  # what the last of these queries sees
    for start in range(0, seen, width):
        end = min(start + width, seen)
        scores = q @ k[..., start:end, :].mT
        if first is not None and end > first + 1:  # part of this tile lies in the future
            ahead = torch.arange(start, end, device=q.device) > torch.arange(first, seen, device=q.device)[:, None]
            scores.unflatten(-2, (-1, n)).masked_fill_(ahead, -math.inf)
        higher = torch.maximum(highest, scores.amax(-1, keepdim=True))
        weights = scores.sub_(higher).exp_()
        shrink = highest.sub_(higher).exp_()
        total.mul_(shrink).add_(weights.sum(-1, keepdim=True))
        weighted.mul_(shrink).add_(weights @ v[..., start:end, :])
        highest = higher
        del scores, weights  # so that no two tiles exist at once
    return weighted.div_(total).reshape(*q.shape[:-3], heads, n, v.shape[-1])


def _check_shapes(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> None:
    if min(q.ndim, k.ndim, v.ndim) < 3 or q.shape[-1] != k.shape[-1] or k.shape[:-1] != v.shape[:-1]:
        raise ValueError(
            "q must be (..., heads, T, d), k (..., groups, S, d), v (..., groups, S, any); "
            f"not {tuple(q.shape)}, {tuple(k.shape)}, {tuple(v.shape)}."
        )
    if q.shape[-3] % k.shape[-3]:
        raise ValueError(f"{q.shape[-3]} query heads can't share {k.shape[-3]} key heads equally.")
