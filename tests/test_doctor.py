"""memcourse doctor: whatever is broken becomes a line with advice, never a traceback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple

import pytest

from memcourse.course import cli, doctor
from memcourse.course.doctor import FAIL, OK, WARN, Check, judge_version
from memcourse.model.catalog import MINILM, SMOLLM2

HEAVY = ("torch", "transformers", "peft", "faiss", "sentence_transformers")


@pytest.fixture
def light(monkeypatch, fresh_home):
    """A doctor whose imports cost nothing and work, in an empty home without models."""
    real = doctor.importlib.import_module
    monkeypatch.setattr(doctor.importlib, "import_module", lambda name: None if name in HEAVY else real(name))
    return fresh_home


def line(name):
    """The one check of that name."""
    (found,) = [check for check in doctor.examine() if check.name == name]
    return found


def breaks(monkeypatch, module, error):
    """Importing that module raises."""

    def fake(name):
        if name == module:
            raise error

    monkeypatch.setattr(doctor.importlib, "import_module", fake)


# ---- What a healthy machine says -------------------------------------------------------------------------------


def test_every_check_is_one_line_and_bad_ones_bring_advice(light):
    checks = doctor.examine()
    assert {"python", "torch", "peft", "device", "memory", "disk", "offline"} <= {check.name for check in checks}
    for check in checks:
        assert check.status in (OK, WARN, FAIL) and check.found and "\n" not in check.found + check.advice
        assert bool(check.advice) == (check.status != OK), check


def test_the_exit_code_follows_the_failures(light, monkeypatch, capsys):
    assert doctor.report() == 1
    assert "checks failed; see the lines with ->." in capsys.readouterr().out
    monkeypatch.setattr(doctor, "examine", lambda: [Check("a", OK, "x"), Check("long name", WARN, "y", "Do z.")])
    assert doctor.report() == 0
    assert capsys.readouterr().out.splitlines() == [
        "[ok  ] a          x", "[warn] long name  y", "                  -> Do z.", "Everything is ready.",
    ]  # fmt: skip


def test_json_is_a_list_of_checks(light, capsys):
    assert cli.main(["doctor", "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)
    assert all(set(row) == {"name", "status", "found", "advice"} for row in rows) and len(rows) > 20


# ---- Packages --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "found", "wanted", "status"),
    [
        ("peft", "0.17.1", ">=0.20,<1", FAIL), ("peft", "0.20.0", ">=0.20,<1", OK), ("peft", "1.0.0", ">=0.20,<1", FAIL),
        ("transformers", "4.57.0", ">=5.15,<6", FAIL), ("transformers", "5.24.0", ">=5.15,<6", OK),
        ("transformers", "6.0.0", ">=5.15,<6", FAIL), ("transformers", "5.16.0.dev0", ">=5.15,<6", OK),
        ("torch", "2.11.0+cu128", ">=2.11", OK),
        ("torch", None, ">=2.11", FAIL), ("torch", "built by hand", ">=2.11", FAIL), ("torch", "", ">=2.11", FAIL),
    ],
)  # fmt: skip
def test_o03_versions_are_judged_before_anything_is_imported(name, found, wanted, status):
    check = judge_version(name, found, wanted)
    assert (check.name, check.status) == (name, status)
    if status == FAIL:
        assert f'pip install --upgrade "{name}{wanted}"' in check.advice and "restart the kernel" in check.advice


def test_o03_a_stale_package_is_named_whatever_its_import_says(light, monkeypatch):
    """An old peft under a new transformers fails with words about another package."""
    versions = {"peft": "0.17.0", "transformers": "4.40.0"}
    monkeypatch.setattr(doctor, "version", lambda name: versions.get(name, "99"))
    breaks(monkeypatch, "peft", ImportError("cannot import name 'HybridCache' from 'transformers'"))
    checks = doctor.examine()
    names = [check.name for check in checks]
    assert names.index("peft") < names.index("import torch")
    stale = {check.name: check.found for check in checks if check.status == FAIL}
    assert stale["peft"] == "0.17.0, but the course needs <1,>=0.20"
    assert stale["transformers"].startswith("4.40.0") and "HybridCache" in stale["import peft"]


def test_a_missing_package_is_named(light, monkeypatch):
    def missing(name):
        raise doctor.PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "version", missing)
    assert {line(name).found for name in ("torch", "faiss-cpu", "numpy")} == {"not installed"}
    monkeypatch.setattr(doctor, "requires", missing)
    assert "pip install -e ." in line("memcourse").advice


@pytest.mark.parametrize(
    ("module", "error", "found", "advice"),
    [
        ("faiss", ImportError("libgomp.so.1: no such file\nmore"), "Error: libgomp.so.1: no such file more", "faiss-cpu`"),
        ("faiss", ModuleNotFoundError("No module named 'faiss'"), "No module named 'faiss'", "--force-reinstall --no-deps"),
        ("sentence_transformers", ImportError(), "ImportError", "sentence-transformers`"),
        ("peft", RuntimeError("x" * 10_000), "RuntimeError", "peft`"), ("transformers", SystemExit(1), ": 1", "formers`"),
        ("torch", OSError("\n"), "OSError", "Visual C++ Redistributable"), ("torch", ImportError("no"), ": no", "torch`"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)  # fmt: skip
def test_a_broken_import_is_one_line(light, monkeypatch, module, error, found, advice):
    monkeypatch.setitem(sys.modules, "torch", sys)  # so that torch itself counts as there
    breaks(monkeypatch, module, error)
    check = line(f"import {module}")
    assert check.status == FAIL and check.found.startswith(type(error).__name__) and found in check.found
    assert advice in check.advice and len(check.found) <= 200


# ---- The machine -----------------------------------------------------------------------------------------------


def test_too_little_memory_is_a_warning(light, monkeypatch):
    import psutil

    memory = namedtuple("memory", "available total")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory(1e9, 8e9))
    assert line("memory") == Check(
        "memory", WARN, "1.0 of 8.0 GB free", "The notebooks need up to 4 GB: close other programs."
    )
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert line("memory").status == WARN and "4 GB should be free" in line("memory").advice


def test_a_home_that_cannot_be_made_or_written_is_named(light, monkeypatch):
    light.write_text("a file in its place", encoding="utf-8")
    assert line("disk").found.startswith(f"{light} can't be made (") and "MEMCOURSE_HOME" in line("disk").advice
    light.unlink()
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
    assert line("disk").found == f"{light} can't be written"


def test_a_full_disk_is_a_warning(light, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: usage(10**11, 10**11, 400_000_000))
    assert line("disk").status == WARN and "0.4 GB free" in line("disk").found


@pytest.mark.parametrize("version", [(3, 10, 0), (3, 14, 0)])
def test_another_python_is_named(light, monkeypatch, version):
    monkeypatch.setattr(doctor.sys, "version_info", version)
    assert line("python").status == FAIL and "3.11 to 3.13" in line("python").advice


def test_a_torch_that_cannot_be_asked_is_one_line(light, monkeypatch):
    def fails():
        raise RuntimeError("CUDA driver initialization failed")

    monkeypatch.setattr("memcourse.model.choose_device", fails, raising=False)
    assert line("device").status == FAIL and "import torch" in line("device").advice


def test_a_check_that_dies_itself_is_one_line(light, monkeypatch):
    for name in ("_python", "_packages", "_memory", "_models"):
        monkeypatch.setattr(doctor, name, lambda: {}["no"])
    for name in ("python", "packages", "memory", "models"):
        assert line(name).status == FAIL and line(name).found.startswith("can't be looked at (KeyError")
        assert "start.py" in line(name).advice
    assert line("offline").status == FAIL


# ---- Models ----------------------------------------------------------------------------------------------------


def pretend(model, text="weights"):
    """Put a folder there that looks as `memcourse fetch` leaves it, but for its size."""
    model.folder.mkdir(parents=True, exist_ok=True)
    weights = model.folder / "model.safetensors"
    weights.write_text(text, encoding="utf-8")
    stat = weights.stat()
    facts = {"sha256": doctor_sha(weights), "bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    record = {"wheel_sha256": model.wheel_sha256, "files": {weights.name: facts}}
    (model.folder / "memcourse.json").write_text(json.dumps(record), encoding="utf-8")
    return weights


def doctor_sha(path):
    from memcourse.files import sha256_file

    return sha256_file(path)


def test_models_that_are_there_are_ok_and_the_course_is_offline(light):
    pretend(SMOLLM2)
    pretend(MINILM)
    for model in (SMOLLM2, MINILM):
        assert line(f"model {model.name}").status == OK
    assert line("offline").status == OK and str(light.parent / "models") in line("offline").found


def test_a_missing_or_altered_model_is_named_with_what_to_do(light):
    weights = pretend(SMOLLM2)
    assert line("model minilm") == Check(
        "model minilm", FAIL, "it is not fetched yet", "Run `memcourse fetch` (or `memcourse fetch --from DIR`)."
    )
    assert line("offline").status == FAIL
    for spoil, said in (
        (lambda: weights.write_text("weighty", encoding="utf-8"), "was altered (another SHA-256)"),
        (lambda: weights.write_text("more than before", encoding="utf-8"), "has 16 bytes instead of 7"),
        (weights.unlink, "model.safetensors is missing"),
        (lambda: shutil.rmtree(SMOLLM2.folder), "not fetched"),
    ):
        spoil()
        assert line("model smollm2-135m").status == FAIL and said in line("model smollm2-135m").found


@pytest.mark.parametrize("record", ['{"files": []}', '{"files": {"x": {}}}', "[]", '{"files": {"x": 3}, "wheel_sha256": 1}'])
def test_a_damaged_record_is_no_traceback(light, record):
    pretend(MINILM)
    (SMOLLM2.folder).mkdir(parents=True)
    (SMOLLM2.folder / "memcourse.json").write_text(
        record.replace('"files"', f'"wheel_sha256": "{SMOLLM2.wheel_sha256}", "files"', 1), encoding="utf-8"
    )
    assert [check for check in doctor.examine() if check.name.startswith("model") and check.status == FAIL]


# ---- For real: a torch that can't be loaded, on a console that lacks the letters ---------------------------------


def test_o09_o10_a_torch_without_its_dll_ends_in_advice_on_any_console(tmp_path):
    said = (
        "[WinError 126] \u041c\u043e\u0434\u0443\u043b\u044c \u043d\u0435 \u043d\u0430\u0439\u0434\u0435\u043d: fbgemm.dll"
    )
    for name in HEAVY:
        (tmp_path / name).mkdir()
        body = f"raise OSError({said!r})" if name == "torch" else "import torch"
        (tmp_path / name / "__init__.py").write_text(body, encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0",
           "MEMCOURSE_HOME": str(tmp_path / "\u8ab2"), "MEMCOURSE_MODELS": str(tmp_path)}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "memcourse", "doctor"], env=env, capture_output=True, timeout=120, check=False
    )
    shown = done.stdout.decode("cp1252")
    assert done.returncode == 1 and done.stderr == b"" and "Traceback" not in shown
    assert "[fail] import torch" in shown and "WinError 126] ?????? ?? ??????: fbgemm.dll" in shown
    assert "microsoft.com" in shown and "do not download single DLL files" in shown
    assert shown.count("See the line 'import torch': this package needs it.") == 3
