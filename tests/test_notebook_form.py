"""The committed form of a notebook: what normal_form drops and keeps; finding, choosing and reading notebooks."""

from __future__ import annotations

import copy
import json

import nbformat
import pytest

from memcourse.course import notebooks, readme
from memcourse.course.notebooks import KERNEL, choose_notebooks, list_notebooks, normal_form, notebooks_folder, read, source
from memcourse.course.readme import notebook_table, with_tables
from memcourse.errors import CourseError

from .course_support import ALT, book_of, code, good_book, markdown, notebook, printed, shown, store

TIMES = {"iopub.execute_input": "2026-11-25T20:00:00Z", "shell.execute_reply": "2026-11-25T20:00:01Z"}


def normal(book) -> dict:
    return json.loads(normal_form(book))


def traced(book):
    """The same notebook after papermill, JupyterLab, Colab and a widget have left their traces."""
    book = copy.deepcopy(book)
    book["metadata"] |= {
        "papermill": {"duration": 3.2}, "widgets": {"application/vnd.jupyter.widget-state+json": {}}, "toc": {},
        "colab": {"provenance": []}, "kernelspec": {"name": "conda-env-ada", "display_name": "ada", "language": "python"},
        "language_info": {"name": "python", "version": "3.13.1", "codemirror_mode": {"name": "ipython"}},
    }  # fmt: skip
    for cell in book["cells"]:
        cell["metadata"] |= {"execution": TIMES, "papermill": {"status": "completed"}, "colab": {"base_uri": "x"},
                             "collapsed": True, "id": "aB3", "outputId": "c4d"}  # fmt: skip
        for output in cell.get("outputs", []):
            output["transient"] = {"display_id": "1"}
    return book


def test_normal_form_is_idempotent_and_valid():
    for book in (good_book(), traced(good_book()), book_of(), book_of(markdown("# x"), counted=False)):
        once = normal_form(book)
        assert normal_form(json.loads(once)) == once
        nbformat.validate(nbformat.reads(once, as_version=4))
        assert once.endswith("}\n") and "\r" not in once


def test_o18_o21_it_drops_the_traces_of_every_tool():
    good = good_book()
    assert normal_form(traced(good)) == normal_form(good)
    text = normal_form(traced(good))
    for trace in ("papermill", "widgets", "colab:", "2026", "outputId", "collapsed", "conda", "3.13.1", "transient"):
        assert f'"{trace}' not in text, trace
    assert normal(traced(good))["metadata"]["kernelspec"] == KERNEL


def test_it_drops_widget_views_and_keeps_their_text():
    data = {"application/vnd.jupyter.widget-view+json": {"model_id": "a"}, "text/plain": "bar"}
    (output,) = normal(book_of(code("x", shown(data))))["cells"][0]["outputs"]
    assert output["data"] == {"text/plain": ["bar"]}


def test_it_keeps_what_a_person_made():
    book = book_of(
        code(
            "x = 1\ny = 2\n", shown({"image/png": "aGk=", "text/plain": ALT}, {"image/png": {"alt": ALT}}), tags=("a", "b")
        ),
        markdown("\u201cquoted\u201d \u8a18\u61b6\n\nmore"),
        nbformat.v4.new_raw_cell("raw"),
    )
    book["metadata"]["memcourse"] = {"seconds": 3, "peak_mb": 5}
    book["cells"][1]["attachments"] = {"a.png": {"image/png": "aGk="}}
    made = normal(traced(book))
    first, second, third = made["cells"]
    assert [cell["id"] for cell in made["cells"]] == [cell["id"] for cell in book["cells"]]
    assert first["metadata"] == {"tags": ["a", "b"]} and first["execution_count"] == 1
    assert first["outputs"][0]["metadata"]["image/png"]["alt"] == "".join(first["outputs"][0]["data"]["text/plain"])
    assert source(first) == "x = 1\ny = 2" and source(second) == source(book["cells"][1]) and source(third) == "raw"
    assert second["attachments"] == book["cells"][1]["attachments"]
    assert made["metadata"]["memcourse"] == {"seconds": 3, "peak_mb": 5}
    assert "\u8a18\u61b6" in normal_form(book)


def test_texts_have_one_form_however_they_were_stored():
    whole = book_of(code("a\nb", printed("1\n2\n"), shown({"text/plain": "x\ny"})))
    split = copy.deepcopy(whole)
    cell = split["cells"][0]
    cell["source"], cell["outputs"][0]["text"] = ["a\n", "b"], ["1\n", "2\n"]
    cell["outputs"][1]["data"]["text/plain"] = ["x\n", "y"]
    assert normal_form(whole) == normal_form(split)


def test_cells_without_ids_get_some():
    book = book_of(code("x"), markdown("y"))
    for cell in book["cells"]:
        del cell["id"]
    assert [cell["id"] for cell in normal(book)["cells"]] == ["cell-00", "cell-01"]


# ---- Reading and choosing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", '"text"', "{}", '{"cells": 3}', '{"cells": [3]}', '{"cells": [{}]}', "[" * 100_000,
        '{"cells": [{"cell_type": "code", "outputs": [{}]}]}', '{"cells": [{"cell_type": "code", "source": [3]}]}',
        '{"worksheets": [{"cells": []}], "nbformat": 3}', '{"cells": [], "metadata": {"memcourse": 3}}',
    ],
    ids=lambda text: text[:40] or "empty",
)  # fmt: skip
def test_what_is_no_notebook_is_named(tmp_path, text):
    path = tmp_path / "01_x.ipynb"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CourseError, match="can't be read as a notebook") as error:
        read(path)
    assert str(path) in str(error.value) and "Restore it" in str(error.value)
    assert len(str(error.value)) < 400 and "\n" not in str(error.value)


def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path):
    (tmp_path / "bytes.ipynb").write_bytes(b"\xff\xfe{")
    for name in ("nowhere.ipynb", "bytes.ipynb", "."):
        with pytest.raises(CourseError, match="can't be read as a notebook"):
            read(tmp_path / name)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three notebooks and some other files, in a working folder that is no checkout."""
    for name in ("00_start.ipynb", "01_weights.ipynb", "10_which.ipynb", "notes.ipynb", "1_x.ipynb", "02_x.py"):
        notebook(tmp_path / "notebooks" / name, markdown("# A title\n\nA promise."))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(notebooks, "__file__", str(tmp_path / "site-packages" / "memcourse" / "course" / "x.py"))
    return tmp_path / "notebooks"


def test_a_numbered_notebook_counts_because_it_exists(folder):
    assert [path.name for path in list_notebooks(folder)] == ["00_start.ipynb", "01_weights.ipynb", "10_which.ipynb"]


def test_o07_the_folder_is_found_from_it_and_from_its_parent(folder, monkeypatch):
    assert notebooks_folder() == folder
    monkeypatch.chdir(folder)
    assert notebooks_folder() == folder
    (folder.parent / "empty").mkdir()
    monkeypatch.chdir(folder.parent / "empty")
    with pytest.raises(CourseError, match=r"No notebooks found\. Run this in a clone"):
        notebooks_folder()


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ([], ["00", "01", "10"]), (["01"], ["01"]), (["1", "10"], ["01", "10"]), (["10_which", "0"], ["10", "00"]),
        (["01_weights.ipynb"], ["01"]), (["notebooks/notes.ipynb"], ["no"]),
    ],
)  # fmt: skip
def test_notebooks_are_chosen_by_number_name_or_path(folder, wanted, found):
    assert [path.name[:2] for path in choose_notebooks(folder, wanted)] == found


@pytest.mark.parametrize("wanted", ["2", "", "weights", "nowhere.ipynb", "..", "1" * 500])
def test_a_notebook_that_is_not_there_is_refused_with_those_that_are(folder, wanted):
    with pytest.raises(CourseError, match=r"There is no notebook .* there are 00_start, 01_weights, 10_which"):
        choose_notebooks(folder, ["01", wanted])


# ---- README's tables -------------------------------------------------------------------------------------------


def test_the_table_shows_title_promise_minutes_and_memory(folder):
    book = good_book("01_weights.ipynb")
    book["metadata"]["memcourse"] = {"seconds": 147, "peak_mb": 2017}
    table = notebook_table([store(folder / "01_weights.ipynb", book), folder / "00_start.ipynb"])
    row, bare = table.splitlines()[2:]
    assert row.startswith("| [Example](notebooks/01_weights.ipynb) | What does a rule see?")
    assert "| 2.5 | 2.0 GB |" in row and "colab-badge.svg" in row
    assert bare.startswith("| [A title](notebooks/00_start.ipynb) | A promise. |  |  |")


def test_only_what_stands_between_the_markers_is_made_anew(folder):
    store(folder / "00_start.ipynb", good_book())
    before = "# T\n<!-- notebooks -->\nold\n<!-- /notebooks -->\nkept\n<!-- results -->\nold\n<!-- /results -->\nend\n"
    made = with_tables(before, folder)
    assert made.startswith("# T\n<!-- notebooks -->\n| Notebook |") and "\nkept\n" in made and made.endswith("-->\nend\n")
    assert "| right | 0.52 | 24 | 0.3 to 0.7 |" in made and "old" not in made
    assert with_tables(made, folder) == made and with_tables("no markers", folder) == "no markers"


def test_contents_works_where_only_one_notebook_is_there(folder, monkeypatch, capsys):
    """On Colab there is no clone: the cell must not end in an error."""
    from IPython import display

    texts = []
    monkeypatch.setattr(display, "display", lambda shown: texts.append(shown.data))
    readme.contents()
    (folder.parent / "content").mkdir()
    monkeypatch.chdir(folder.parent / "content")
    readme.contents()
    assert "(01_weights.ipynb)" in texts[0]
    assert texts[1] == "All notebooks: https://github.com/memcourse/memcourse/tree/main/notebooks"
