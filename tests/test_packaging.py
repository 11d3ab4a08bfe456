"""One list of dependencies, and every other file agrees with it; nothing of one machine stands in the repository."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import memcourse
from memcourse.course.guards import REPOSITORY
from memcourse.model.catalog import PACKAGED

from .conftest import NOTEBOOKS, ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CORE = [Requirement(line) for line in PROJECT["dependencies"]]
EXTRAS = {name: [Requirement(line) for line in lines] for name, lines in PROJECT["optional-dependencies"].items()}
GIVEN = {"jupyterlab", "torch", "transformers", "peft", "faiss-cpu", "matplotlib", "nbval", "papermill"}
MODULE_OF = {"faiss-cpu": "faiss", "pyyaml": "yaml", "ipython": "IPython", "huggingface-hub": "huggingface_hub",
             "sentence-transformers": "sentence_transformers", "pytest-timeout": "pytest_timeout",
             "scikit-learn": "sklearn"}  # fmt: skip


def tracked(*endings: str) -> list[Path]:
    """Every file that git knows or would add, with one of these endings (all for none); without git, every file."""
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    names = [ROOT / name for name in done.stdout.splitlines()] if done.returncode == 0 else list(ROOT.rglob("*"))
    inside = (path for path in names if path.is_file() and not {".venv", ".git", "__pycache__"} & set(path.parts))
    return sorted(path for path in inside if path.name.endswith(endings or ("",)))


def imports(source: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"memcourse", "google"}


def modules(requirements: list[Requirement]) -> set[str]:
    return {MODULE_OF.get(r.name, r.name.replace("-", "_")) for r in requirements}


def test_the_given_packages_are_declared():
    names = {r.name for r in CORE} | {r.name for extra in EXTRAS.values() for r in extra}
    assert names >= GIVEN


def test_environment_yml_repeats_no_package():
    wanted = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    python, pip, inner = wanted
    assert pip == "pip" and inner == {"pip": ["-e .[lab]"]}
    version = python.removeprefix("python=")
    assert PROJECT["requires-python"] == ">=3.11,<3.14" and version in ("3.11", "3.12", "3.13")


@pytest.mark.parametrize("path", tracked(".py"), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_third_party_import_is_declared(path):
    inside = path.relative_to(ROOT).parts[0]
    allowed = modules(CORE)
    if inside == "tests":
        allowed |= modules(EXTRAS["lab"]) | modules(EXTRAS["search"]) | modules(EXTRAS["test"])
        allowed |= {"start_support", "rag_rivals"}  # of our own, found beside the file that imports them
    elif path.name == "store.py":  # the database, which notebooks 05 and later add on Colab
        allowed |= modules(EXTRAS["search"])
    elif path.name in ("run.py", "explorer.py"):  # papermill, which Colab does not get; sliders, only where they are there
        allowed |= modules(EXTRAS["lab"])
    assert imports(path.read_text(encoding="utf-8")) <= allowed


def test_notebooks_import_core_packages_only():
    for path in NOTEBOOKS:
        book = yaml.safe_load(path.read_text(encoding="utf-8"))
        cells = ["".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "code"]
        code = "\n".join(re.sub(r"^(\s*)[%!].*", r"\1pass", cell, flags=re.M) for cell in cells)
        searching = modules(EXTRAS["search"]) if "memcourse[search]" in "".join(cells) else set()
        assert imports(code) <= modules(CORE) | searching, path.name


def test_o05_no_exact_pin_outside_the_constraints():
    for requirement in [*CORE, *(r for extra in EXTRAS.values() for r in extra)]:
        assert "==" not in str(requirement.specifier), requirement


def test_constraints_pin_every_dependency_inside_its_range():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {r.name.lower().replace("_", "-"): r for r in (Requirement(x) for x in lines if x and not x.startswith("#"))}
    every = [*CORE, *EXTRAS["lab"], *EXTRAS["search"], *EXTRAS["test"]]
    for requirement in (r for r in every if r.name != "memcourse"):
        version = str(pins[requirement.name.lower()].specifier).removeprefix("==")
        assert requirement.specifier.contains(version), requirement
    assert not any("@" in line or "+" in line for line in lines if not line.startswith("#"))


def test_o04_installing_on_colab_replaces_nothing():
    lines = (ROOT / "tests" / "colab_versions.txt").read_text(encoding="utf-8").splitlines()
    there = dict(line.split() for line in lines if line and not line.startswith("#"))
    assert {r.name for r in CORE} == set(there)
    missing = {name for name, version in there.items() if version == "-"}
    assert missing == {"faiss-cpu", "gguf"}
    for requirement in CORE:
        assert requirement.name in missing or requirement.specifier.contains(there[requirement.name]), requirement


def test_versions_and_addresses_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert PROJECT["version"] == memcourse.__version__ == citation["version"]
    assert PROJECT["urls"]["Repository"] == citation["repository-code"] == f"https://github.com/{REPOSITORY}"
    assert {"cff-version", "message", "title", "authors", "date-released", "license"} <= set(citation)


def test_models_txt_is_the_catalog():
    lines = (ROOT / "models.txt").read_text(encoding="utf-8").splitlines()
    assert {line for line in lines if not line.startswith("#")} == {model.requirement for model in PACKAGED.values()}


def test_o01_faiss_is_imported_in_one_room_and_no_switch_is_set():
    for path in tracked(".py", ".ipynb"):
        if path.parts[-2] != "tests" and path.name != "guards.py":
            text = path.read_text(encoding="utf-8")
            assert "KMP_DUPLICATE_LIB_OK" not in text, path
            if re.search(r"^\s*(import|from) faiss", text, re.M):
                assert path.parent.name == "retrieval", path


def test_nothing_of_this_machine_is_committed():
    pattern = re.compile(r"/work/|/opt/|find-links *=|index-url|" + str(Path.home()).replace("/root", "/root/\\.|/root/\\w"))
    for path in tracked(".py", ".toml", ".txt", ".yml", ".md", ".cff", ".cfg", ".ipynb", "run"):
        if path.parent.name != "tests" and not path.name.startswith("LICENSE"):
            for line in path.read_text(encoding="utf-8").splitlines():
                assert path.name == "start.py" or not pattern.search(line), f"{path.name}: {line[:120]}"


@pytest.mark.parametrize("path", tracked(".py"), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_files_and_functions_can_be_read_in_one_sitting(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, node.name


@pytest.mark.parametrize("path", tracked(".py"), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_public_things_are_documented(path):
    if path.parent.name == "tests" or "memcourse" not in path.parts:
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{path.name}: {node.name}"


def test_arrows_point_one_way():
    """Nothing under course imports it, and the lower rooms don't import the upper ones."""
    order = ["model", "activations", "weights", "retrieval", "synthesis", "personal", "compare", "course"]
    same = [{"activations", "weights", "retrieval"}, {"synthesis", "personal"}]
    for path in (ROOT / "memcourse").rglob("*.py"):
        room = path.relative_to(ROOT / "memcourse").parts[0]
        for other in re.findall(r"(?:from|import) memcourse\.(\w+)", path.read_text(encoding="utf-8")):
            if room in order and other in order and room != other:
                assert order.index(other) < order.index(room), f"{path} imports {other}"
                assert not any({room, other} <= peers for peers in same), f"{path} imports its neighbour {other}"
            elif room not in order and path.parent.name == "memcourse" and path.name != "__main__.py":
                assert other != "course", f"{path} imports course"


@pytest.mark.parametrize("tool", [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]], ids=" ".join)
def test_ruff_and_mypy_are_content(tool):
    done = subprocess.run([sys.executable, "-m", *tool], cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
