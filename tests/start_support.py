"""What the tests of start.py share: the script as a module in a folder of its own, and what it would have run."""

from __future__ import annotations

import importlib.util
import signal
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "start.py"
SOURCE = SCRIPT.read_text(encoding="utf-8")


@pytest.fixture(name="start")
def fresh_start(tmp_path, monkeypatch):
    """A fresh start.py that believes it lies in an empty folder with the three files it reads."""
    spec = importlib.util.spec_from_file_location("start_under_test", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    root = tmp_path / "course"
    (root / ".venv").mkdir(parents=True)
    for name in ("pyproject.toml", "constraints.txt", "models.txt"):
        (root / name).write_text(f"# {name}\n", encoding="utf-8")
    venv = root / ".venv"
    places = {"ROOT": root, "VENV": venv, "LOG": venv / "setup.log", "STAMP": venv / "memcourse-setup.json"}
    for name, path in {**places, "PYTHON": venv / module.PYTHON.relative_to(module.VENV)}.items():
        monkeypatch.setattr(module, name, path)
    before = signal.getsignal(signal.SIGINT)
    yield module
    signal.signal(signal.SIGINT, before)


@pytest.fixture(name="calls")
def recorded_calls(start, monkeypatch):
    """Every program that start.py would run inside .venv, as its list of arguments; each of them succeeds."""
    seen = []

    def run_logged(step, arguments, from_dir=None):
        seen.append(arguments)
        return 0, f"{arguments[1]} says hello\n"

    monkeypatch.setattr(start, "run_logged", run_logged)
    monkeypatch.setattr(start, "make_venv", lambda step: None)
    monkeypatch.setattr(start, "hand_over", lambda arguments: seen.append(arguments) or 0)
    return seen


def pip_runs(calls):
    return [call for call in calls if call[:2] == ["-m", "pip"]]


def ends(action, *arguments):
    """The sentence, or the code, with which a call ends the program."""
    with pytest.raises(SystemExit) as end:
        action(*arguments)
    return end.value.code
