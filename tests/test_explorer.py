"""The explorer of costs: a fixed table where nothing can be moved, sliders in a live notebook."""

from __future__ import annotations

import pytest

from memcourse.course import explorer


def test_the_table_has_a_row_for_each_model_and_says_what_does_not_fit():
    lines = explorer.table(80e9, 3.35e12, 16).splitlines()
    assert len(lines) == 2 + len(explorer.SHAPES) and all(line.count("|") == 7 for line in lines)
    small = next(line for line in lines if "SmolLM2 135M" in line)
    assert "0.27 GB" in small and "3,072" in small
    assert "does not fit" in next(line for line in lines if "Llama 3 70B" in line)
    assert explorer.line("Llama 3 8B", 131_072, 76.06e9, 3.35e12, 16).endswith("GB, 3, 149")


@pytest.mark.parametrize(("quiet", "widgets"), [("1", True), ("", True), ("", False)])
def test_sliders_appear_in_live_notebooks_only(monkeypatch, capsys, quiet, widgets):
    moved = []
    monkeypatch.setattr(explorer, "_sliders", lambda *arguments: moved.append(arguments))
    monkeypatch.setenv("MEMCOURSE_QUIET", quiet)
    monkeypatch.setattr(explorer, "find_spec", lambda name: widgets)
    explorer.explore_costs()
    assert bool(moved) == (widgets and not quiet) and "tokens/s = batch x bandwidth" in capsys.readouterr().out


def test_the_sliders_can_be_built(capsys):
    explorer._sliders(80e9, 3.35e12, 16)
    assert "batch, tokens/s" in capsys.readouterr().out
