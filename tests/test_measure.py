"""Costs of attention: every way and length is there, and bytes grow as they must."""

from __future__ import annotations

from memcourse import metrics
from memcourse.activations import attention_costs, measure
from memcourse.model import SHAPES, fastest, fits


def test_bytes_grow_with_the_square_only_where_the_square_is_held(monkeypatch):
    monkeypatch.setattr(measure, "NAIVE_UP_TO", 1024)
    lengths = [512, 1024, 2048, 4096]
    costs = attention_costs(SHAPES["SmolLM2 135M"], lengths, repeats=1)
    assert [c.tokens for c in costs if c.way == "tiled"] == [c.tokens for c in costs if c.way == "sdpa"] == lengths
    assert [c.tokens for c in costs if c.way == "naive"] == [512, 1024]
    assert all(c.seconds > 0 for c in costs)
    tiled = [c.nbytes for c in costs if c.way == "tiled"]
    assert 0.85 < metrics.log_slope(lengths[1:], tiled[1:]).value < 1.1
    naive = [c.nbytes for c in costs if c.way == "naive"]
    assert 3.4 < naive[1] / naive[0] < 4.1


def test_naive_attention_is_left_out_where_memory_lacks(monkeypatch):
    monkeypatch.setattr(measure, "fits", lambda nbytes: False)
    assert {c.way for c in attention_costs(SHAPES["SmolLM2 135M"], [64], repeats=1)} == {"tiled", "sdpa"}


def test_fits_and_fastest():
    assert fits(1e6) and not fits(1e18)
    calls = []
    assert 0 <= fastest(lambda a, b=0: calls.append((a, b)), 1, b=2, repeats=4) < 1
    assert calls == [(1, 2)] * 4
