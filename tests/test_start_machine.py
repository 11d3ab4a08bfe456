"""start.py as a file, and what it makes of the machine: its Python, its folders, an older .venv, its console."""

from __future__ import annotations

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from .start_support import SCRIPT, SOURCE, ends, fresh_start  # noqa: F401 - fixtures among them

# ---- The file itself -------------------------------------------------------------------------------------------


def test_imports_the_standard_library_only():
    imports = [node for node in ast.walk(ast.parse(SOURCE)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {name.name for node in imports if isinstance(node, ast.Import) for name in node.names}
    names |= {node.module for node in imports if isinstance(node, ast.ImportFrom)}
    assert len(names) > 10
    assert {name.split(".")[0] for name in names} <= set(sys.stdlib_module_names)


def test_is_ascii_and_can_be_read_by_python_3_8():
    assert SOURCE.isascii()
    ast.parse(SOURCE, feature_version=(3, 8))


def test_names_an_encoding_wherever_it_handles_text():
    """O08: Windows would take its own code page."""
    for call in (node for node in ast.walk(ast.parse(SOURCE)) if isinstance(node, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if name in ("open", "read_text", "write_text", "check_output") or ast.unparse(call.func) == "subprocess.run":
            assert "encoding" in {keyword.arg for keyword in call.keywords}, ast.unparse(call)


def test_every_sentence_is_ascii(start):
    """O09: a console of another code page can't show more."""
    sentences = [text for _, text in start.CAUSES]
    assert len(sentences) >= 9
    assert all(text.isascii() and text.endswith(".") for text in sentences)


# ---- The machine -----------------------------------------------------------------------------------------------


def test_this_machine_passes(start):
    start.check_machine()


@pytest.mark.parametrize("version", [(3, 8, 18), (3, 10, 0), (3, 14, 0), (4, 0, 0)])
def test_another_python_is_refused(start, monkeypatch, version):
    monkeypatch.setattr(start.shutil, "which", lambda name: None)
    sentence = ends(start.check_machine, version)
    assert ".".join(map(str, version)) in sentence and sys.executable in sentence
    assert "3.11 to 3.13" in sentence and "https://www.python.org/downloads/" in sentence


def test_a_fitting_python_that_is_there_is_named(start, monkeypatch):
    monkeypatch.setattr(start.shutil, "which", lambda name: name == "python3.12")
    assert "`python3.12 start.py`" in ends(start.check_machine, (3, 10, 0))


@pytest.mark.parametrize("missing", ["venv", "ensurepip"])
def test_a_python_without_venv_is_refused(start, monkeypatch, missing):
    find = importlib.util.find_spec
    monkeypatch.setattr(start.importlib.util, "find_spec", lambda name: None if name == missing else find(name))
    assert "apt install python3-venv" in ends(start.check_machine)


def test_a_full_disk_is_refused_the_first_time_only(start, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(start.shutil, "disk_usage", lambda folder: usage(10**11, 10**11, 1_200_000_000))
    sentence = ends(start.check_machine)
    assert "1.2 GB free" in sentence and "needs 4.0 GB" in sentence and str(start.ROOT) in sentence
    start.STAMP.write_text("{}", encoding="utf-8")
    start.check_machine()


@pytest.mark.parametrize("place", ["ROOT", "home"])
def test_a_folder_that_cannot_be_written_is_named(start, monkeypatch, place):
    folder = start.ROOT if place == "ROOT" else Path.home()
    monkeypatch.delenv("MEMCOURSE_HOME", raising=False)
    monkeypatch.setattr(start.os, "access", lambda path, mode: Path(path) != folder)
    assert str(folder) in ends(start.check_machine)


def test_the_home_does_not_matter_when_models_lie_elsewhere(start, monkeypatch):
    monkeypatch.setenv("MEMCOURSE_HOME", "/somewhere")
    monkeypatch.setattr(start.os, "access", lambda path, mode: Path(path) != Path.home())
    start.check_machine()


def test_children_see_none_of_the_settings_that_mislead_them(start, monkeypatch):
    """O06: a foreign PYTHONPATH, a --target in the environment, a kernel of the user's own."""
    for name in ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_FIND_LINKS", "PIP_INDEX_URL"):
        monkeypatch.setenv(name, "/foreign")
    env = start.child_env()
    assert not {"PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX"} & env.keys()
    assert (env["PYTHONUTF8"], env["PIP_DISABLE_PIP_VERSION_CHECK"], env["JUPYTER_PREFER_ENV_PATH"]) == ("1", "1", "1")
    assert (env["PIP_RETRIES"], env["PIP_TIMEOUT"]) == ("2", "20")  # for the pip that pip starts
    assert env["PATH"].split(os.pathsep)[0] == str(start.PYTHON.parent)
    assert env["PIP_INDEX_URL"] == env["PIP_FIND_LINKS"] == "/foreign" and env["PIP_USER"] == "0"


# ---- .venv -----------------------------------------------------------------------------------------------------


def test_a_broken_venv_is_recognised_and_made_again(start):
    start.PYTHON.parent.mkdir(parents=True)
    start.PYTHON.write_text("half a file", encoding="utf-8")
    start.STAMP.write_text("{}", encoding="utf-8")
    with start.Step("[2/5] environment") as step:
        start.make_venv(step)
    assert "broken or half made" in step.remark
    assert start.venv_problem() == ""
    assert not start.STAMP.exists()
    start.make_venv(step)
    assert step.remark == ""


def test_a_venv_without_pip_is_half_made(start):
    command = [sys.executable, "-m", "venv", "--without-pip", str(start.VENV)]
    subprocess.run(command, check=True, timeout=60)
    assert "half made" in start.venv_problem()


@pytest.mark.parametrize(
    ("version", "prefix", "wanted"),
    [("3.10", ".", "of Python 3.10"), ("this", "..", "not a .venv"), ("this", ".", "")],
)
def test_a_venv_of_another_python_is_recognised(start, monkeypatch, version, prefix, wanted):
    said = f"{start.VERSION if version == 'this' else version}\n{start.VENV / prefix}\n"
    monkeypatch.setattr(start.subprocess, "run", lambda *_, **__: namedtuple("done", "stdout")(said))
    assert wanted in start.venv_problem() and bool(start.venv_problem()) == bool(wanted)


def test_a_venv_that_cannot_be_made_is_explained(start, monkeypatch):
    done = namedtuple("done", "returncode stdout stderr")
    failed = done(1, "", "Error: [Errno 28] No space left on device: '/x/.venv/lib'")
    monkeypatch.setattr(start.subprocess, "run", lambda *_, **__: failed)
    monkeypatch.setattr(start.sys, "_base_executable", "/base/python", raising=False)
    sentence = ends(start.make_venv, start.Step("[2/5] environment"))
    assert "disk is full" in sentence
    assert sentence.startswith("`/base/python -m venv")  # .venv's own Python would delete itself


# ---- Consoles and interpreters ---------------------------------------------------------------------------------


def test_a_terminal_sees_one_living_line(start, monkeypatch, capsys):
    monkeypatch.setattr(start.sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(start.shutil, "get_terminal_size", lambda: os.terminal_size((40, 20)))
    with start.Step("[3/5] packages") as step:
        step.note("downloading a-package-with-a-very-long-name (890.1 MB)")
        step.note("")
    shown = capsys.readouterr().out
    assert shown.count("\n") == 1 and shown.endswith("\n")
    lines = shown.strip("\r\n").split("\r")
    assert {len(line) for line in lines} == {39} and lines[-2].endswith("  downloading a-p")
    assert lines[-1].strip() == "[3/5] packages ... 0 s"


def test_a_failed_step_says_so(start, capsys):
    with pytest.raises(SystemExit), start.Step("[3/5] packages"):
        sys.exit("no")
    assert capsys.readouterr().out == "[3/5] packages ... failed after 0 s\n"


def test_a_cp1252_console_can_show_every_path():
    """O09: a folder's name may have letters that the console lacks."""
    code = (
        "import importlib.util, sys; spec = importlib.util.spec_from_file_location('start', sys.argv[1]); "
        "start = importlib.util.module_from_spec(spec); spec.loader.exec_module(start); "
        "start.set_up = lambda *_: print('in \\u8bfe\\u7a0b ok'); sys.exit(start.main(['setup']))"
    )
    env = {**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-c", code, str(SCRIPT)], env=env, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout.split()) == (0, [b"in", b"??", b"ok"]), done.stderr
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "setup", "--from", "\u8bfe\u7a0b"], env=env, capture_output=True, timeout=60
    )
    assert done.returncode == 2 and b"is no folder with .whl files" in done.stderr


def test_an_old_python_says_what_is_missing(tmp_path):
    """With a real one, where the machine has it."""
    names = [shutil.which(f"python3.{minor}") for minor in (8, 9, 10)]
    names += [str(path) for path in Path("~/.pyenv/versions").expanduser().glob("3.[89].*/bin/python")]
    script = shutil.copy(SCRIPT, tmp_path)
    for name in filter(None, names):
        done = subprocess.run([name, script], capture_output=True, encoding="utf-8", timeout=60)
        if "pyenv:" not in done.stderr:  # a shim without its Python
            assert done.returncode == 1 and "needs Python 3.11 to 3.13" in done.stderr, done.stderr
            assert not (tmp_path / ".venv").exists()
            return
    pytest.skip("no Python from 3.8 to 3.10 on this machine")
