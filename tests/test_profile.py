"""The one dial: what begin derives from PROFILE, what it prints, and what it refuses."""

from __future__ import annotations

import dataclasses
import random
from importlib.metadata import version

import numpy as np
import pytest
import torch

from memcourse.course import profile
from memcourse.course.profile import PROFILES, SIZES, begin, current
from memcourse.model.device import Choice

LINES = [(notebook, name) for notebook in SIZES for name in PROFILES]


@pytest.fixture(autouse=True)
def before_begin(monkeypatch):
    """No notebook has begun, and there is no GPU."""
    monkeypatch.setattr(profile, "_current", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.parametrize(("notebook", "name"), LINES, ids=str)
def test_every_size_follows_from_the_dial(notebook, name):
    nb = begin(notebook, name, seed=3)
    assert (nb.notebook, nb.profile, nb.seed, nb.device, nb.dtype) == (notebook, name, 3, "cpu", "float32")
    assert nb.sizes == {size: values[PROFILES.index(name)] for size, values in SIZES[notebook].items()}
    assert all(getattr(nb, size) == value for size, value in nb.sizes.items())
    assert current() is nb


def test_sizes_grow_with_the_dial():
    for sizes in SIZES.values():
        for name, values in sizes.items():
            assert len(values) == len(PROFILES)
            if all(isinstance(value, int) for value in values):
                assert list(values) in (sorted(values), sorted(values, reverse=True)), name


def test_laptop_is_the_default():
    assert (begin("00").profile, begin("00").seed) == ("laptop", 0)


def test_it_says_what_was_chosen_and_why(capsys):
    begin("01", "laptop", seed=7)
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == f"notebook 01, profile laptop, seed 7; torch {version('torch')}, transformers {version('transformers')}"
    assert rest == [
        "device cpu: this profile uses the CPU, so that your figures can be compared with the stored ones",
        "dtype float32: exact enough to compare runs, and faster than bf16 on most CPUs",
    ]


def test_smoke_says_that_its_figures_mean_nothing(capsys):
    begin("00", "smoke")
    assert capsys.readouterr().out.splitlines()[-1].endswith("its figures mean nothing.")


def test_it_seeds_everything():
    draws = []
    for seed in (5, 5, 6):
        begin("00", seed=seed)
        draws.append((random.random(), float(np.random.rand()), float(torch.rand(1))))
    assert draws[0] == draws[1] and draws[0] != draws[2]


# ---- Which device ----------------------------------------------------------------------------------------------


@pytest.fixture
def card(monkeypatch):
    """A machine with a GPU that computes in bf16."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(profile, "choose_device", lambda: Choice("cuda", "a card"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))


@pytest.mark.parametrize("name", ["smoke", "laptop"])
def test_smoke_and_laptop_stay_on_the_cpu_and_say_that_there_is_more(card, capsys, name):
    nb = begin("00", name)
    assert (nb.device, nb.dtype) == ("cpu", "float32")
    assert "this machine has a GPU: PROFILE = 'gpu' uses it" in capsys.readouterr().out


def test_gpu_takes_the_card_in_its_own_format(card, capsys):
    nb = begin("00", "gpu")
    assert (nb.device, nb.dtype) == ("cuda", "bfloat16")
    assert "device cuda: a card" in capsys.readouterr().out


def test_gpu_without_one_says_so(capsys):
    assert begin("00", "gpu").device == "cpu"
    assert "device cpu: torch sees no GPU" in capsys.readouterr().out


# ---- What is refused -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Laptop", "", "fast", None, 1, True])
def test_an_unknown_profile_is_refused(name):
    with pytest.raises(ValueError, match=r"Unknown PROFILE .*; use one of smoke, laptop, gpu\."):
        begin("00", name)


@pytest.mark.parametrize("notebook", ["0", "99", "", 0, None, "00_start_here"])
def test_an_unknown_notebook_is_refused(notebook):
    with pytest.raises(ValueError, match=r"Unknown notebook .*; known are 00, 01"):
        begin(notebook)


@pytest.mark.parametrize("seed", [-1, 2**32, 1.0, "0", None, True])
def test_a_seed_is_a_whole_number(seed, capsys):
    with pytest.raises(ValueError, match="The seed must be a whole number from 0 to 4294967295, not "):
        begin("00", seed=seed)
    assert capsys.readouterr().out == ""
    with pytest.raises(RuntimeError, match=r"Run the set-up cell first: it calls course\.begin"):
        current()


def test_the_setup_is_frozen():
    nb = begin("00")
    with pytest.raises(dataclasses.FrozenInstanceError):
        nb.seed = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        nb.questions = 1
    with pytest.raises(TypeError):
        nb.sizes["questions"] = 1


def test_an_unknown_size_is_named_with_those_that_are():
    with pytest.raises(AttributeError, match="Notebook 00 has no size 'nothing'; it has lm, new_tokens, questions"):
        begin("00").nothing  # noqa: B018
