"""memcourse run on notebooks of two or three cells: each way to end has its own message, and nothing is half written."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from memcourse.course import cli, run
from memcourse.course.notebooks import normal_form, parameter_names, read, source
from memcourse.course.run import run_course, run_notebook
from memcourse.errors import CourseError

from .conftest import NOTEBOOKS
from .course_support import book_of, code, markdown, notebook, store

PARAMETERS = code('PROFILE = "laptop"\nSEED = 0', tags=("parameters",))


def texts(path):
    """What each cell of an executed notebook printed."""
    cells = [cell for cell in read(path)["cells"] if cell["cell_type"] == "code"]
    return ["".join("".join(output.get("text", "")) for output in cell["outputs"]) for cell in cells]


def write(path, *lines, parameters=True):
    """A notebook with a cell for each text, after the parameters."""
    return notebook(path, markdown("# Title"), *[PARAMETERS] * parameters, *map(code, lines))


@pytest.fixture
def no_kernel(monkeypatch):
    """A test that starts a kernel all the same fails."""
    monkeypatch.setattr(run.papermill, "execute_notebook", lambda *_, **__: pytest.fail("a kernel was started"))


# ---- A run that goes well --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """One run of a notebook without metadata, in a folder with odd letters, from another folder, near a foreign kernel.

    Returns the outcome and what its cells printed.
    """
    base = tmp_path_factory.mktemp("run")
    spec = base / "jupyter" / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(
        json.dumps({"argv": ["/no/such/python", "-f", "{connection_file}"], "display_name": "x", "language": "python"}),
        encoding="utf-8",
    )
    path = write(
        base / "{lessons} \u8ab2 1" / "00_a.ipynb",
        "import os, sys; print(sys.executable)", "print(os.getcwd())", "print(PROFILE, SEED)",
        "print(os.environ['MEMCOURSE_QUIET'])", "import time; x = b'x' * 100_000_000; time.sleep(0.5)",
        "import memcourse; from memcourse.files import data_folder; print(data_folder())",
    )  # fmt: skip
    store(path, {**read(path), "metadata": {}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(base / "jupyter"))
        patch.delenv("MEMCOURSE_QUIET")
        patch.chdir(base)
        folder = Path("{lessons} \u8ab2 1")
        outcome = run_notebook(folder / "00_a.ipynb", Path("out") / "00_a.ipynb", {"PROFILE": "smoke", "SEED": 5})
        assert "MEMCOURSE_QUIET" not in run.os.environ
    return outcome, texts(base / "out" / "00_a.ipynb"), base / folder


def test_o18_a_run_that_goes_well_without_any_metadata(done):
    outcome, _, _ = done
    assert (outcome.notebook, outcome.status, outcome.message) == ("00_a", "ok", "")
    assert 0 < outcome.seconds < 120 and 100 < outcome.peak_mb < 2_000


def test_o06_the_kernel_is_this_python_whatever_is_registered(done):
    assert Path(done[1][2].strip()) == Path(sys.executable)


def test_o07_the_notebook_runs_in_its_own_folder_and_finds_the_course(done):
    assert Path(done[1][3].strip()).resolve() == done[2].resolve()
    assert (Path(done[1][7].strip()) / "MANIFEST.json").is_file()


def test_o19_parameters_change_what_runs(done):
    assert done[1][4] == "smoke 5\n"


def test_o15_live_progress_is_off_in_stored_outputs(done):
    assert done[1][5] == "1\n"


# ---- Runs that fail --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    """The exit code and the rows of a run of three notebooks that each end in another way."""
    base = tmp_path_factory.mktemp("failed")
    paths = [
        write(base / "01_raises.ipynb", "x = 1", "raise ValueError('first line ' + 'long ' * 1000 + '\\nsecond')"),
        write(base / "02_sleeps.ipynb", "import time; time.sleep(60)"),
        write(base / "03_dies.ipynb", "import os; os._exit(1)"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        said: list[str] = []
        patch.setattr("builtins.print", lambda *words, **_: said.append(" ".join(map(str, words))))
        code = run_course(paths, "smoke", folder=base / "out", cell_limit=4, as_json=True)
    return code, json.loads("\n".join(said)), base / "out"


def test_o22_each_failure_has_its_own_status_and_message(failed):
    code, rows, _ = failed
    assert code == 1
    assert [(row["notebook"], row["status"]) for row in rows] == [
        ("01_raises", "failed cell"), ("02_sleeps", "past limit"), ("03_dies", "dead kernel"),
    ]  # fmt: skip
    raised, slept, died = (row["message"] for row in rows)
    assert raised.startswith("code cell 4 raised ValueError: first line long") and len(raised) < 400
    assert "longer than 4 s" in slept and "--cell-limit" in slept
    assert "the kernel died" in died and "memory" in died and "--profile smoke" in died
    assert not any("\n" in row["message"] for row in rows)


def test_rows_have_notebook_status_seconds_and_memory(failed):
    for row in failed[1]:
        assert set(row) == {"notebook", "status", "seconds", "peak_mb", "message"}
        assert isinstance(row["seconds"], float) and isinstance(row["peak_mb"], int)
    assert failed[1][1]["seconds"] < 50


def test_o17_no_kernel_is_left_running(failed):
    commands = [" ".join(child.cmdline()) for child in run.psutil.Process().children(recursive=True)]
    assert not [command for command in commands if "ipykernel" in command]


def test_the_copy_shows_where_it_failed(failed):
    cells = read(failed[2] / "01_raises.ipynb")["cells"]
    assert any(output["output_type"] == "error" for cell in cells for output in cell.get("outputs", []))


def test_a_kernel_that_does_not_start_is_a_sentence(tmp_path, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("Kernel died before replying to kernel_info")

    monkeypatch.setattr(run.papermill, "execute_notebook", fails)
    outcome = run_notebook(write(tmp_path / "00_a.ipynb"), tmp_path / "out" / "00_a.ipynb")
    assert outcome.status == "dead kernel"
    assert outcome.message.startswith("the kernel did not start (Kernel died") and "memcourse doctor" in outcome.message


# ---- In place --------------------------------------------------------------------------------------------------


def test_inplace_stores_good_runs_only_and_changes_no_source(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(run, "home", lambda: tmp_path / "home")
    good = write(tmp_path / "01_good.ipynb", "print(PROFILE)", "6 * 7")
    bad = write(tmp_path / "02_bad.ipynb", "print('kept')", "1 / 0")
    before, untouched = read(good), bad.read_bytes()
    assert run_course([good, bad], "laptop", inplace=True) == 1
    after = read(good)
    assert bad.read_bytes() == untouched
    assert [(c["id"], source(c)) for c in after["cells"]] == [(c["id"], source(c)) for c in before["cells"]]
    assert good.read_bytes() == normal_form(after).encode("utf-8")
    assert texts(good)[1] == "laptop\n" and [c.get("execution_count") for c in after["cells"]] == [None, 1, 2, 3]
    facts = after["metadata"]["memcourse"]
    assert set(facts) == {"seconds", "peak_mb"} and facts["peak_mb"] > 10
    said = capsys.readouterr().out
    assert "code cell 3 raised ZeroDivisionError: division by zero" in said
    assert "1 of 2 notebooks ran through, in" in said and str(tmp_path / "home" / "runs" / "laptop") in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["01_good.ipynb", "02_bad.ipynb", "home"]


# ---- What is refused before anything runs ----------------------------------------------------------------------


def test_o19_an_unknown_parameter_is_refused_before_anything_runs(tmp_path, no_kernel):
    good = write(tmp_path / "00_a.ipynb")
    bare = write(tmp_path / "01_b.ipynb", "PROFILE = 3", parameters=False)
    with pytest.raises(CourseError, match=r"00_a\.ipynb has no parameter 'PROFIL'; it has PROFILE, SEED\."):
        run_notebook(good, tmp_path / "out.ipynb", {"PROFIL": "smoke"})
    with pytest.raises(CourseError, match=r"01_b\.ipynb has no parameter 'PROFILE'; it has none\."):
        run_course([good, bare], "smoke", folder=tmp_path / "out")


def test_a_file_that_is_no_notebook_is_refused_before_anything_runs(tmp_path, no_kernel):
    broken = tmp_path / "01_b.ipynb"
    broken.write_text("{", encoding="utf-8")
    with pytest.raises(CourseError, match="can't be read as a notebook"):
        run_course([write(tmp_path / "00_a.ipynb"), broken], "smoke", folder=tmp_path / "out")


def test_o20_a_parameters_cell_that_is_no_python_is_refused(tmp_path, no_kernel):
    path = notebook(tmp_path / "00_a.ipynb", code("PROFILE = ", tags=("parameters",)))
    with pytest.raises(CourseError, match=r"The parameters cell of 00_a\.ipynb is no Python .*Write NAME = value\."):
        run_notebook(path, tmp_path / "out.ipynb", {"PROFILE": "smoke"})


def test_o20_parameters_are_read_as_python_reads_them():
    text = 'PROFILE = "a = b"\nSEED: int | None = 3  # = 4\nRATE = {"x": 1}["x"]\nprint(SEED == 3)'
    assert parameter_names(book_of(code("x = 1"), code(text, tags=("parameters",)))) == ["PROFILE", "SEED", "RATE"]
    assert parameter_names(book_of(code("x = 1"))) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_o20_papermill_reads_the_same_parameters(path):
    assert list(run.papermill.inspect_notebook(str(path))) == parameter_names(read(path))


@pytest.mark.parametrize("where", ["a file", "a file/inside"])
def test_a_folder_that_cannot_be_made_is_refused(tmp_path, no_kernel, where):
    (tmp_path / "a file").touch()
    with pytest.raises(CourseError, match=r"can't be made .*--out DIR"):
        run_course([write(tmp_path / "00_a.ipynb")], "smoke", folder=tmp_path / where)


def test_a_notebook_is_never_replaced_by_its_executed_copy(tmp_path, no_kernel, monkeypatch):
    path = write(tmp_path / "00_a.ipynb")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CourseError, match=r"The executed copy would replace .*use --inplace"):
        run_course([path], "smoke", folder=Path())


def test_the_command_line_passes_everything_on(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(run, "run_course", lambda *args, **options: seen.append((args, options)) or 1)
    path = str(write(tmp_path / "00_a.ipynb"))
    argv = ["run", path, "--profile", "smoke", "--out", str(tmp_path), "--json", "--cell-limit", "7"]
    assert cli.main(argv) == 1
    assert seen == [(([Path(path)], "smoke"), {"folder": tmp_path, "inplace": False, "cell_limit": 7, "as_json": True})]


def test_the_line_of_progress_tells_cells_and_time(capsys):
    line = run._Line("01_weights", 4, expected=100.0, live=True)
    for _ in range(2):
        line.update()
    line.close()
    assert "01_weights: cell 2 of 4, 0 s, about 100 s left" in capsys.readouterr().err
    run._Line("x", 4, None, live=False).update()
    assert capsys.readouterr().err == ""
