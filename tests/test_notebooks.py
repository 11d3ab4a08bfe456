"""Every notebook in notebooks/: the course's rules, a smoke run from another folder, its exercises, README's tables.

(That the stored outputs are still true is nbval's part: it collects the notebooks themselves.)
"""

from __future__ import annotations

import shutil
from itertools import pairwise

import nbformat
import pytest

from memcourse.course.exercises import EXERCISES, judge
from memcourse.course.guards import problems
from memcourse.course.notebooks import read, source, tags
from memcourse.course.quizzes import load_questions
from memcourse.course.readme import with_tables
from memcourse.course.run import run_notebook

from .conftest import NOTEBOOKS, ROOT

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@each_notebook
def test_keeps_the_rules(path):
    assert problems(path) == []


@each_notebook
def test_is_a_valid_notebook(path):
    nbformat.validate(nbformat.read(path, as_version=4))


@each_notebook
def test_o07_runs_in_profile_smoke_from_any_folder(path, tmp_path):
    copy = tmp_path / path.name
    shutil.copy(path, copy)
    outcome = run_notebook(copy, tmp_path / "out.ipynb", {"PROFILE": "smoke", "SEED": 1})
    assert outcome.status == "ok", outcome.message
    texts = [str(output) for cell in read(tmp_path / "out.ipynb")["cells"] for output in cell.get("outputs", [])]
    assert any("profile smoke, seed 1" in text for text in texts)
    assert any("figures mean nothing" in text for text in texts)


@each_notebook
def test_o25_its_exercises_are_those_of_the_package(path):
    cells = [cell for cell in read(path)["cells"] if cell["cell_type"] == "code"]
    asked = {key for cell in cells for key in EXERCISES if f'check("{key}"' in source(cell)}
    assert asked == {key for key in EXERCISES if key.startswith(path.stem[:2])}
    questions = {key for cell in cells for key in load_questions() if f'"{key}"' in source(cell)}
    assert questions == {key for key in load_questions() if key.startswith(path.stem[:2])}


@each_notebook
def test_stubs_are_not_attempted_and_the_puzzle_is_still_broken(path):
    cells = [cell for cell in read(path)["cells"] if cell["cell_type"] == "code"]
    for cell, after in pairwise(cells):
        wanted = {"exercise": "not attempted yet", "puzzle": "still broken as given"}.get("".join(tags(cell)))
        if wanted:
            key, name = source(after).split('check("')[1].split(")")[0].split('", ')
            space: dict = {}
            exec(source(cell), space)
            status, text = judge(EXERCISES[key], space[name])
            assert status == "not attempted" and text.startswith(wanted), text
            assert judge(EXERCISES[key], EXERCISES[key].reference)[0] == "passed"


def test_the_readme_shows_what_the_notebooks_say():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text == with_tables(text, ROOT / "notebooks"), "run `memcourse check --fix`"
    assert text.count("colab-badge.svg") == len(NOTEBOOKS)
