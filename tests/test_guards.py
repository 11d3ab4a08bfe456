"""memcourse check: every rule catches the notebook that breaks just this rule, and none of them dies of an odd one."""

from __future__ import annotations

import json
import random

import pytest

from memcourse.course.guards import RULES, SECTIONS, SETUP, SETUP_SEARCH, badge, problems
from memcourse.course.ledger import ledger_rows
from memcourse.course.notebooks import normal_form, read, source, tags
from memcourse.course.readme import notebook_table
from memcourse.errors import CourseError

from .course_support import ALT, book_of, code, good_book, markdown, printed, shown, store

NAME = "02_example.ipynb"


@pytest.fixture
def path(tmp_path):
    """Where the notebook lies in a checkout that has a bibliography and one more notebook."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "references.bib").write_text("@misc{key2024,\n title={x}}\n", encoding="utf-8")
    (tmp_path / "notebooks").mkdir()
    return tmp_path / "notebooks" / NAME


def cell(book, tag=None, holding=""):
    """The first cell with that tag, or with that text in its source."""
    return next(c for c in book["cells"] if (tag in tags(c) if tag else holding in source(c)))


def becomes(wanted, old, new):
    assert old in source(wanted)
    wanted["source"] = source(wanted).replace(old, new, 1)


def prose(book, old, new):
    becomes(next(c for c in book["cells"] if old in source(c)), old, new)


def output_text(book, text):
    cell(book, holding="course.quiz(")["outputs"][0]["text"] = text


def add(book, *cells):
    book["cells"][-5:-5] = book_of(*cells)["cells"]
    number(book)


def number(book):
    for count, one in enumerate((c for c in book["cells"] if c["cell_type"] == "code"), 1):
        one["execution_count"] = count


def alt(book, meta, plain):
    figure = cell(book, holding="plots.show")["outputs"][0]
    figure["metadata"]["image/png"]["alt"], figure["data"]["text/plain"] = meta, plain


def without(book, *unwanted):
    book["cells"] = [c for c in book["cells"] if c not in unwanted]
    number(book)


def error_output(book):
    error = {"output_type": "error", "ename": "KeyError", "evalue": "x", "traceback": []}
    cell(book, holding="print(seconds)")["outputs"] = [error]


WIDGET = {"application/vnd.jupyter.widget-view+json": {"model_id": "a"}, "text/plain": "bar"}
# For each rule: what breaks it, and words of the sentence that says so.
BREACHES = {
    "executed_in_order": [
        (lambda b: cell(b, "exercise").update(execution_count=None), "not run once each"),
        (lambda b: cell(b, "exercise").update(execution_count=1), "not run once each"),
        (error_output, "ended in an error (KeyError)"),
    ],
    "plain_metadata": [
        (lambda b: b["metadata"]["kernelspec"].update(name="conda-env-ada"), "not python3"),
        (lambda b: b["metadata"].pop("kernelspec"), "not python3"),
        (lambda b: b["metadata"].pop("language_info"), "language_info"),
        (lambda b: b["metadata"].update(widgets={}), "widget state"),
        (lambda b: cell(b, holding="print(seconds)")["outputs"].append(shown(WIDGET)), "widget state"),
    ],
    "nothing_of_this_machine": [
        (lambda b: becomes(cell(b, holding="print(seconds)"), "seconds", "'/home/ada'"), "'/home/'"),
        (lambda b: output_text(b, ["in\n", "/tmp/x\n"]), "'/tmp/'"),
        (lambda b: output_text(b, "<Layer at 0x7f3a5c0d>"), "0x7f3a5c0d"),
        (lambda b: output_text(b, "C:\\Users\\ada"), "Users"),
        (lambda b: add(b, code("show()", shown({"text/markdown": ["/Users/ada"], "text/plain": "x"}))), "/Users/"),
    ],
    "alt_texts": [
        (lambda b: alt(b, "", ""), "no alt text"),
        (lambda b: alt(b, "a plot", "a plot"), "no alt text"),
        (lambda b: alt(b, ALT, "<Figure size 700x360 with 1 Axes>"), "no alt text"),
    ],
    "headings": [
        (lambda b: prose(b, "## To do", "# To do"), "2 top headings"),
        (lambda b: prose(b, "# Example", "## Example"), "0 top headings"),
        (lambda b: prose(b, "### The third", "##### The third"), "from level 3 to 5"),
        *[(lambda b, s=s: prose(b, f"## {s}", "## Else"), f"'## {s}' is missing") for s in SECTIONS],
    ],
    "links": [
        (lambda b: prose(b, badge(NAME), badge("03_other.ipynb")), "badge"),
        (lambda b: prose(b, f"({NAME}#quiz)", "(09_nowhere.ipynb)"), "leads nowhere"),
        (lambda b: prose(b, "[Read on]", "[ ]"), "has no text"),
        (lambda b: prose(b, "[@key2024]", "[@nobody1999]"), "cites [@nobody1999]"),
    ],
    "size": [
        (lambda b: output_text(b, "x" * 1_000_000), "1,000,000 is the most"),
        (lambda b: b["metadata"].pop("memcourse"), "how long it took"),
        (lambda b: b["metadata"]["memcourse"].update(seconds=241), "it took 241 s"),
        (lambda b: b["metadata"]["memcourse"].update(peak_mb=4001), "4,001 MB"),
    ],
    "readable": [
        (lambda b: add(b, *[markdown("More.") for _ in range(30)]), "cells; 25 to 45"),
        (lambda b: add(b, code("x = 1\n" * 31)), "a maximum of 31"),
        (lambda b: [add(b, code("x = 1\n" * 6)) for _ in range(15)], "a median of 6"),
        (lambda b: prose(b, "We measure", "We measure " * 900), "words; 1,000 to 2,000"),
    ],
    "parameters": [
        (lambda b: cell(b, "parameters").update(metadata={}), "0 cells tagged"),
        (lambda b: cell(b, holding="print(seconds)")["metadata"]["tags"].append("parameters"), "2 cells tagged"),
        (lambda b: becomes(cell(b, "parameters"), "0", "int('0')"), "plain literals"),
        (lambda b: becomes(cell(b, "parameters"), "SEED = 0", "SEED: int = 0"), "plain literals"),
        (lambda b: becomes(cell(b, "parameters"), "SEED = 0", "print('hello')"), "plain literals"),
        (lambda b: becomes(cell(b, "parameters"), "PROFILE", "PROFIL"), "must hold PROFILE"),
        (lambda b: becomes(cell(b, "parameters"), "SEED = 0", "SEED = "), "is no Python"),
        (lambda b: becomes(cell(b, "parameters"), "SEED", "SEEDS"), "SEEDS is never read"),
        (lambda b: becomes(cell(b, holding="print(seconds)"), "print", "SEED = 1\nprint"), "SEED is set again"),
        (lambda b: becomes(cell(b, holding="print(seconds)"), "print", "SEED += 1\nprint"), "SEED is set again"),
    ],
    "exercises": [
        (lambda b: becomes(cell(b, "exercise"), "raise NotImplementedError", "return x"), "does not raise"),
        (lambda b: becomes(cell(b, holding="course.check("), "02.first", "01.first"), "not followed by its check"),
        (lambda b: without(b, cell(b, "puzzle"), cell(b, holding="02.puzzle")), "exactly one puzzle"),
        (lambda b: without(b, cell(b, "exercise"), cell(b, holding="02.first")), "2 exercises"),
        (lambda b: becomes(cell(b, holding="course.quiz("), ', "02.3"', ""), "three to five quiz questions"),
    ],
    "compared": [
        (lambda b: [c["metadata"].update(tags=["nbval-ignore-output"]) for c in b["cells"] if "check" in source(c)],
         "are not compared"),
        (lambda b: cell(b, holding="course.record(").update(outputs=[]), "nothing into the ledger"),
    ],
    "setup_cell": [
        (lambda b: becomes(cell(b, holding="find_spec"), "import importlib.util", "import importlib"), "the guard"),
        (lambda b: becomes(cell(b, holding="find_spec"), "import importlib.util", "x = 1\nimport importlib.util"), "begin"),
        *[(lambda b, line=line: becomes(cell(b, holding="print(seconds)"), "print", f"{line}\nprint"), "installs something")
          for line in ("!pip install x", "%pip install x", "!{sys.executable} -m pip install x", "sys.path.append('..')",
                       "  !conda install x")],
    ],
}  # fmt: skip
CASES = [(rule, *case) for rule, cases in BREACHES.items() for case in cases]


def broken_rules(path, book):
    return {rule.__name__: list(rule(path, book)) for rule in RULES if list(rule(path, book))}


def test_a_good_notebook_passes(path):
    path.write_text(normal_form(good_book()), encoding="utf-8")
    assert problems(path) == []


def test_every_rule_has_its_breaches():
    assert list(BREACHES) == [rule.__name__ for rule in RULES]


@pytest.mark.parametrize(("rule", "spoil", "words"), CASES, ids=[f"{c[0]}: {c[2]}" for c in CASES])
def test_each_rule_catches_its_own_breach_alone(path, rule, spoil, words):
    book = good_book()
    spoil(book)
    store(path, book)
    found = broken_rules(path, book)
    assert list(found) == [rule]
    assert any(words in sentence for sentence in found[rule]), found
    assert all(sentence.strip() and "\n" not in sentence for sentence in found[rule])


def test_notebooks_that_train_may_take_five_minutes(path):
    book = good_book()
    book["metadata"]["memcourse"]["seconds"] = 290
    store(path, book)
    assert list(broken_rules(path, book)) == ["size"]
    assert "size" not in broken_rules(store(path.with_name("03_train.ipynb"), book), book)


def test_negative_numbers_are_literals(path):
    book = good_book()
    becomes(cell(book, "parameters"), "0", "-1")
    assert broken_rules(store(path, book), book) == {}


def test_a_notebook_with_a_database_adds_it_on_colab(path):
    book = good_book()
    assert "memcourse[search]" in SETUP_SEARCH and "memcourse[search]" not in SETUP
    becomes(cell(book, holding=SETUP), SETUP, SETUP_SEARCH)
    assert broken_rules(store(path, book), book) == {}


def test_another_form_is_a_problem_of_its_own(path):
    store(path, good_book())
    assert problems(path) == [f"{NAME}: not in normal form; run `memcourse check --fix`."]


@pytest.mark.parametrize("guard", [SETUP, SETUP_SEARCH])
def test_trap_9_the_guard_installs_nothing_outside_colab_and_no_notebook_server(guard):
    lines = guard.splitlines()
    stop = next(i for i, line in enumerate(lines) if "raise SystemExit" in line)
    assert "google.colab" in lines[stop - 1] and lines[stop - 1].lstrip().startswith("if ")
    installing = [i for i, line in enumerate(lines) if line.lstrip().startswith(("%", "!"))]
    assert installing and min(installing) > stop
    assert all(lines[i].startswith("    ") for i in installing)
    assert not any(name in guard for name in ("jupyter", "ipykernel", "[lab]", "[test]", "papermill", "nbval"))


ODD_BOOKS = {
    "no cells": book_of(),
    "no code cells": book_of(markdown("# Only words")),
    "no words": book_of(code("x = 1")),
    "empty cells": book_of(markdown(""), code("", tags=("parameters", "exercise", "puzzle"))),
    "no outputs": book_of(code("PROFILE = 1", tags=("parameters",)), counted=False),
    "a very long line": book_of(code("x = 1", printed("x" * 200_000)), markdown("#" * 5_000)),
    "bare": {"cells": [{"cell_type": "code"}, {"cell_type": "markdown"}, {"cell_type": "raw", "source": []}]},
}


@pytest.mark.parametrize("name", ODD_BOOKS)
def test_an_odd_notebook_gives_sentences(path, name):
    found = problems(store(path, ODD_BOOKS[name]))
    assert len(found) > 5
    assert all(sentence.startswith(f"{NAME}: ") and len(sentence) < 400 for sentence in found)
    assert not any("can't judge it" in sentence for sentence in found)
    assert len(notebook_table([path]).splitlines()) == 3 and ledger_rows([path]) == []


def test_a_rule_that_dies_becomes_a_sentence(path):
    book = good_book()
    book["metadata"]["memcourse"]["seconds"] = "an hour"
    assert any("the rule 'size' can't judge it (TypeError" in text for text in problems(store(path, book)))


def spoil_somewhere(value, draw):
    """Replace one part of nested JSON, chosen by chance, by something odd; or take it away."""
    while isinstance(value, dict | list) and value:
        key = draw.choice(list(value)) if isinstance(value, dict) else draw.randrange(len(value))
        if draw.random() < 0.3 or not isinstance(value[key], dict | list) or not value[key]:
            if draw.random() < 0.3:
                del value[key]
            else:
                value[key] = draw.choice([None, 3, True, "text", [], {}, [None], {"a": [1]}])
            return
        value = value[key]


def test_any_spoiled_notebook_gives_sentences(path):
    draw = random.Random(0)
    good, refused = json.dumps(good_book()), 0
    for _ in range(150):
        book = json.loads(good)
        for _ in range(draw.randint(1, 3)):
            spoil_somewhere(book, draw)
        store(path, book)
        try:
            assert all(isinstance(text, str) for text in problems(path))
            assert normal_form(json.loads(normal_form(read(path)))) == normal_form(read(path))
        except CourseError as error:
            assert "can't be read as a notebook" in str(error)
            refused += 1
    assert 10 < refused < 140
