"""O08: whoever reads or writes text names its encoding, and the tools work where the system's own is another."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ROOT
from .course_support import book_of, code, good_book, markdown, printed, store

FILES = [ROOT / "start.py", *sorted((ROOT / "memcourse").rglob("*.py")), *sorted((ROOT / "tests").rglob("*.py"))]
READERS = {"open", "fdopen", "read_text", "write_text", "NamedTemporaryFile", "TemporaryFile", "SpooledTemporaryFile"}
PROGRAMS = {"run", "Popen", "check_output", "call", "check_call", "getoutput", "getstatusoutput"}


def unnamed(source: str) -> list[str]:
    """Every call that handles text without naming an encoding."""
    return [ast.unparse(node) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and careless(node)]


def careless(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    owner = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if "encoding" in given or None in given:  # None: **options, which other tests look at
        return False
    if name in READERS and owner not in ("zipfile", "tarfile", "os", "webbrowser", "Image"):
        return not binary(name, call, given)
    if owner == "subprocess" and name in PROGRAMS:
        return name.startswith("get") or any(truthy(given.get(key)) for key in ("text", "universal_newlines", "errors"))
    return False


def binary(name: str, call: ast.Call, given: dict) -> bool:
    """Whether the call's mode says bytes. Of the temporary files, that is the default."""
    if name.endswith("_text"):
        return False
    texts = [arg.value for arg in [*call.args, given.get("mode")] if isinstance(arg, ast.Constant)]
    modes = [text for text in texts if isinstance(text, str) and text and set(text) <= set("rwaxbt+")]
    return any("b" in mode for mode in modes) or (name.endswith("TemporaryFile") and not modes)


def truthy(node: ast.expr | None) -> bool:
    return node is not None and not (isinstance(node, ast.Constant) and not node.value)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_o08_every_text_names_its_encoding(path):
    assert unnamed(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "open('x')", "open('x', 'w')", "path.open()", "path.open('a')", "path.read_text()", "path.write_text('b')",
        "subprocess.run(x, text=True)", "subprocess.check_output(x, universal_newlines=True)", "subprocess.getoutput('x')",
        "subprocess.Popen(x, errors='replace')", "tempfile.NamedTemporaryFile('w')", "io.open(name, mode='r+')",
    ],
)  # fmt: skip
def test_the_scan_finds_what_it_looks_for(line):
    assert len(unnamed(line)) == 1


@pytest.mark.parametrize(
    "line",
    [
        "open('x', encoding='utf-8')", "open('x', 'rb')", "path.open('rb')", "path.read_bytes()", "path.open(mode='wb')",
        "path.write_text('x', encoding='utf-8')", "subprocess.run(x, capture_output=True)", "subprocess.run(x, text=False)",
        "subprocess.run(x, encoding='utf-8')", "tempfile.NamedTemporaryFile()", "run(x, text=True)",
    ],
)  # fmt: skip
def test_the_scan_lets_pass_what_is_well(line):
    assert unnamed(line) == []


def test_o08_the_tools_read_and_write_utf_8_whatever_the_system_says(tmp_path):
    """In the C locale, with Python's own warning about a missing encoding turned into an error."""
    texts = "\u201cx\u201d \u8a18\u61b6 \U0001f9e0"
    store(tmp_path / "notebooks" / "02_example.ipynb", good_book())
    store(tmp_path / "notebooks" / "03_other.ipynb", book_of(markdown(f"# {texts}"), code("x", printed(texts))))
    readme = tmp_path / "README.md"
    readme.write_text(f"{texts}\n<!-- notebooks -->\n<!-- /notebooks -->\n", encoding="utf-8")
    inside = (
        "import sys; from pathlib import Path; from memcourse import files; "
        "from memcourse.course import cli, notebooks, notes; "
        "notebooks.__file__ = '/x/y/z/a.py'; files.data_folder = lambda: Path('notebooks'); "
        f"notes.note('exercises', {texts!a}, 'passed'); assert {texts!a} in notes.load()['exercises']; "
        "sys.exit(cli.main(['check', '--fix']) + cli.main(['results']))"
    )
    env = {
        **os.environ,
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "LC_ALL": "C",
        "MEMCOURSE_HOME": str(tmp_path / "home"),
    }
    done = subprocess.run(
        [sys.executable, "-X", "warn_default_encoding", "-W", "error::EncodingWarning:memcourse", "-c", inside],
        cwd=tmp_path, env=env, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and b"problems." in done.stdout and b"Traceback" not in done.stderr, done.stderr
    assert texts in (tmp_path / "notebooks" / "03_other.ipynb").read_text(encoding="utf-8")
    text = readme.read_text(encoding="utf-8")
    assert text.count(texts) == 2 and b"\r" not in readme.read_bytes()  # README's own line, and the notebook's title
    assert Path(tmp_path / "home" / "progress.json").read_bytes().count(texts.encode("utf-8")) == 1
