"""The command memcourse: exit codes, help with examples, errors in one line, any console, and a start without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from memcourse import __version__
from memcourse.course import cli, notebooks
from memcourse.course.ledger import FIELDS
from memcourse.course.notebooks import normal_form, read
from memcourse.errors import CourseError

from .course_support import book_of, code, good_book, markdown, notebook, shown, store

COMMANDS = ("doctor", "fetch", "run", "check", "results")


def memcourse(*arguments, code=None, **env):
    """Run the command, or some code, in a process of its own; what comes back are bytes."""
    command = [sys.executable, *(("-c", code) if code else ("-m", "memcourse")), *arguments]
    return subprocess.run(command, env={**os.environ, **env}, capture_output=True, timeout=120, check=False)


def ends(*argv):
    """The exit code, also where argparse ends the program."""
    try:
        return cli.main(argv)
    except SystemExit as end:
        return end.code


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A course of one good notebook, in a working folder of its own."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "references.bib").write_text("@misc{key2024,\n}\n", encoding="utf-8")
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "02_example.ipynb").write_text(normal_form(good_book()), encoding="utf-8")
    monkeypatch.setattr(notebooks, "__file__", str(tmp_path / "site-packages" / "memcourse" / "course" / "x.py"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "notebooks"


# ---- Help and wrong use ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_shows_an_example(command, capsys):
    assert ends(command, "--help") == 0
    shown = capsys.readouterr().out
    assert f"Example: memcourse {command}" in shown and shown.isascii()


def test_help_lists_every_command(capsys):
    assert ends("--help") == 0
    shown = capsys.readouterr().out
    assert all(f"    {command} " in shown for command in COMMANDS) and "Example: memcourse run 01" in shown
    assert ends("--version") == 0 and capsys.readouterr().out == f"memcourse {__version__}\n"


@pytest.mark.parametrize(
    "argv",
    [
        [], ["instal"], ["run", "--profile", "fast"], ["run", "--cell-limit", "0"], ["run", "--cell-limit", "soon"],
        ["run", "--cell-limit", "\u00b2"], ["run", "--inplace", "--profile", "smoke"], ["results", "--nonsense"],
        ["doctor", "extra"], ["fetch", "--from"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_wrong_use_ends_with_two_and_one_line(argv, capsys):
    assert ends(*argv) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.splitlines()[-1].startswith("memcourse")
    assert "Traceback" not in said.err and "_seconds" not in said.err


def test_a_wrong_limit_says_what_is_right(capsys):
    assert ends("run", "--cell-limit", "soon") == 2
    assert "--cell-limit: takes a whole number of seconds, at least 1, not 'soon'" in capsys.readouterr().err


# ---- What fails ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (CourseError("The disk is full. Free some."), 1, "memcourse: The disk is full. Free some."),
        (PermissionError(13, "Permission denied", "/x"), 1, "Permission denied: '/x'. Check that the path"),
        (ModuleNotFoundError("No module", name="papermill"), 1, "the package 'papermill' is missing. Run `python start"),
        (KeyboardInterrupt(), 130, "memcourse: stopped."),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_an_error_is_one_line_on_stderr(monkeypatch, capsys, error, code, said):
    def fails(arguments):
        raise error

    monkeypatch.setattr(cli, "_results", fails)
    assert cli.main(["results"]) == code
    shown = capsys.readouterr()
    assert shown.out == "" and said in shown.err and len(shown.err.strip().splitlines()) == 1


def test_a_bug_stays_a_traceback(monkeypatch):
    def fails(arguments):
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "_results", fails)
    with pytest.raises(ZeroDivisionError):
        cli.main(["results"])


@pytest.mark.parametrize("argv", [["run", "7"], ["check", "nothing"], ["run", "x.ipynb"], ["fetch", "--from", "no/folder"]])
def test_what_is_not_there_is_wrong_use(folder, fresh_home, capsys, argv):
    assert cli.main(argv) == 2
    assert capsys.readouterr().err.startswith("memcourse: The" if argv[0] == "fetch" else "memcourse: There is no notebook")


def test_an_empty_folder_ends_with_one(folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    for command in ("run", "check", "results"):
        assert cli.main([command]) == 1
        assert capsys.readouterr().err.startswith("memcourse: No notebooks found.")


@pytest.mark.parametrize("command", ["check", "results", "run"])
def test_a_file_that_is_no_notebook_ends_with_one(folder, capsys, command):
    (folder / "03_broken.ipynb").write_bytes(b"\xff{")
    assert cli.main([command]) == 1
    said = capsys.readouterr().err
    assert "03_broken.ipynb can't be read as a notebook" in said and len(said.splitlines()) == 1


# ---- results and check -----------------------------------------------------------------------------------------


def test_results_prints_a_table_or_rows(folder, capsys):
    assert cli.main(["results"]) == 0
    assert "| 02 | right | 0.52 | 24 | 0.3 to 0.7 |" in capsys.readouterr().out
    assert cli.main(["results", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert tuple(row) == FIELDS and row["value"] == 0.52


def test_results_of_notebooks_without_outputs_are_empty(folder, capsys):
    notebook(folder / "02_example.ipynb", code("x = 1"))
    assert cli.main(["results", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_check_tells_problems_by_its_exit_code(folder, capsys):
    assert cli.main(["check", "2"]) == 0
    assert capsys.readouterr().out == "1 notebooks checked, 0 problems.\n"
    notebook(folder / "03_words.ipynb", markdown("# Only words"))
    assert cli.main(["check"]) == 1
    assert "03_words.ipynb: it has 1 cells; 25 to 45 make one sitting." in capsys.readouterr().out.splitlines()


def test_fix_makes_normal_form_tables_and_manifest_anew(folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "facts.csv").write_text("a,b\n", encoding="utf-8")
    monkeypatch.setattr("memcourse.files.data_folder", lambda: tmp_path / "data")
    (tmp_path / "README.md").write_text("<!-- results -->\nold\n<!-- /results -->\n", encoding="utf-8")
    store(folder / "02_example.ipynb", good_book())
    assert cli.main(["check"]) == 1
    assert cli.main(["check", "--fix"]) == 0
    path = folder / "02_example.ipynb"
    assert path.read_bytes() == normal_form(read(path)).encode("utf-8")
    assert "| 0.52 |" in (tmp_path / "README.md").read_text(encoding="utf-8")
    assert list(json.loads((tmp_path / "data" / "MANIFEST.json").read_text(encoding="utf-8"))) == ["facts.csv"]
    assert sorted(p.name for p in folder.iterdir()) == ["02_example.ipynb"]


# ---- Consoles and imports --------------------------------------------------------------------------------------


def test_o09_a_cp1252_console_gets_what_it_can_show(tmp_path):
    row = {"notebook": "00", "name": "\u8a18\u61b6 \u2713", "value": 1, "unit": "\u00b5s", "n": None, "seeds": None,
           "interval": None, "paper": None, "profile": "laptop"}  # fmt: skip
    cell = code("x", shown({"application/vnd.memcourse.metric+json": row}))
    store(tmp_path / "\u8ab2" / "00_a.ipynb", book_of(markdown("\u201cx\u201d \U0001f9e0"), cell))
    inside = (
        f"import os, sys; os.chdir({str(tmp_path / chr(0x8AB2))!r}); from memcourse.course import cli, notebooks; "
        "notebooks.__file__ = '/x/y/z/a.py'; sys.exit(cli.main(sys.argv[1:]))"
    )
    env = {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    for arguments, status in ((["results"], 0), (["check"], 1), (["run", "\u8ab2"], 2), (["--help"], 0)):
        done = memcourse(*arguments, code=inside, **env)
        assert done.returncode == status and b"Traceback" not in done.stderr, done.stderr
        if arguments == ["results"]:
            assert "| 00 | ?? ? | 1 \u00b5s |" in done.stdout.decode("cp1252")


def test_importing_the_command_line_is_cheap():
    code = (
        "import sys, memcourse, memcourse.course.cli; memcourse.course.cli._parser(); "
        "print(*sorted({'torch', 'transformers', 'papermill', 'numpy', 'IPython', 'psutil'} & set(sys.modules)))"
    )
    done = memcourse(code=code)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, b"", b"")


def test_python_m_memcourse_is_the_command():
    assert memcourse("--version").stdout.split() == [b"memcourse", __version__.encode()]
    assert memcourse("nothing").returncode == 2
