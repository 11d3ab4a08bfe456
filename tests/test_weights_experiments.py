"""The experiments of notebook 03 in miniature: their shapes, and the direction of what they find."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from memcourse import weights


def test_what_fits_is_kept_and_junk_takes_its_room():
    parts = []
    found = weights.capacity_by_width((8,), (0.9, 3.6), 60, (0, 1), progress=lambda label: parts.append(label))
    assert found["parameters"].tolist() == [1832] and found["offered"].tolist() == [[1620, 6570]]
    assert found["kept"].shape == found["first"].shape == (1, 2, 2) and found["rounded"].shape == (1, 2, 5, 2)
    assert np.array_equal(found["first"][:, 0], found["kept"][:, 0]), "alone, the first strings are all there are"
    assert (found["kept"][0, 0] > 0.8 * 1620).all() and (found["kept"] < found["offered"][..., None]).all()
    assert (found["first"][0, 1] < 0.8 * found["first"][0, 0]).all()
    assert np.array_equal(found["rounded"][0, 1, 0], found["kept"][0, 1])
    assert (np.diff(found["rounded"][0, 1, [0, 2, 3, 4]], axis=0) < 0).all(), "fewer bits, less kept"
    assert parts == ["width 8, 0.9 bits/parameter, 60 steps", "width 8, 3.6 bits/parameter, 60 steps"]


def test_the_same_seed_gives_the_same_bits_and_more_time_more_of_them():
    found = weights.capacity_by_time((20, 60, 20), 8, 3.6, (0, 1))["kept"]
    assert found.shape == (3, 2) and np.array_equal(found[0], found[2]) and (found[1] > found[0]).all()


def test_the_texts_of_extraction_differ_in_wording_alone():
    found = weights.extraction(12, (1, 8), 40, (0, 1, 2))
    assert found["known"].shape == (3, 2, 3) and found["chance"] == pytest.approx(1 / 24)
    assert (found["known"][1] > 0.9).all(), "a few questions are soon answered"
    assert found["known"][0, 0].mean() > found["known"][0, 1].mean(), "the same sentence again is learned sooner"


def test_a_name_comes_only_where_it_was_told_reversed():
    found = weights.reversal(18, 120, (0, 1))
    assert found["known"].shape == (3, 3, 2) and found["n"] == 12
    forward, backward, before = found["known"]
    assert forward.min() > 0.8 and backward[:2].max() < 0.3 and backward[2].min() > 0.6
    assert before[2].min() > before[:2].mean()


def test_every_arm_learns_at_each_of_its_rates():
    found = weights.learn_and_forget(40, 8, 16, 50, (60, 40), (0, 1))
    assert found["start"].shape == (2, 2) and found["after"].shape == (len(weights.ARMS), 2, 4, 2)
    assert (found["start"][0] == 1).all() and found["start"][1].max() < 0.5
    learned, kept = found["after"].transpose(1, 0, 2, 3).mean(-1)
    # full training and the slots; LoRA of rank 1 needs more steps than these
    assert (learned[[0, 3, 4], -1] > 0.9).all() and learned[5, -1] > 0.5 and (learned[:, -1] >= learned[:, 0]).all()
    assert (kept[:, -1] <= kept[:, 0]).all()


def test_the_more_often_seen_the_better_read_back():
    found = weights.reading_back((1, 4, 64), 8, (0, 1))
    assert found["given"].shape == found["auc"].shape == (3, 2)
    assert (found["given"][0] == 0).all() and (found["given"][2] > 0.8).all()
    assert (weights.reading_back((1,), 8, (0, 1), prompt=1)["given"] == 0).all(), "all but the prompt is asked"
    assert (found["auc"][2] == 1).all() and (found["auc"][0] < found["auc"][2]).all()


def test_only_the_values_of_a_memory_are_trained():
    model = weights.only_values(weights.add_memory(weights.TinyGPT(weights.GPTShape(vocab=9, d=8)), 1, keys=4, top=2))
    assert [name for name, w in model.named_parameters() if w.requires_grad] == ["blocks.1.mlp.values"]
    assert isinstance(weights.constant(weights.Batch(torch.ones(1), torch.ones(1)))(5), weights.Batch)
