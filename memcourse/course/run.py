"""memcourse run: execute notebooks with papermill, one line of progress each, and say plainly what went wrong."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nbformat
import papermill
import psutil
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError

from memcourse.course.notebooks import normal_form, parameter_names, read
from memcourse.errors import CourseError
from memcourse.files import home, models_home, written_whole


@dataclass(frozen=True)
class Outcome:
    """How a notebook's run ended. status: "ok", "failed cell", "past limit" or "dead kernel"; message: what happened."""

    notebook: str
    status: str
    seconds: float
    peak_mb: int
    message: str = ""


class _Line:
    """One line of progress in a terminal; papermill calls `update` after each cell, as it would a bar."""

    def __init__(self, name: str, cells: int, expected: float | None, live: bool) -> None:
        self.name, self.cells, self.expected, self.live = name, cells, expected, live
        self.done, self.started = 0, time.perf_counter()

    def update(self, n: int = 1) -> None:
        self.done += n
        self.show()

    def show(self) -> None:
        if self.live:
            spent = time.perf_counter() - self.started
            whole = max(self.expected, spent) if self.expected else spent / max(self.done, 1) * self.cells
            text = f"{self.name}: cell {self.done} of {self.cells}, {spent:.0f} s, about {whole - spent:.0f} s left"
            print(f"\r{text:<78}", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.live:
            print(f"\r{'':<78}\r", end="", file=sys.stderr, flush=True)


class _Engine(NBClientEngine):
    """Papermill's own engine, with our line in place of its bar."""

    line: _Line | None = None

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **options: Any) -> Any:
        nb_man.pbar = cls.line
        return super().execute_managed_notebook(nb_man, kernel_name, kernel_manager_class=_ThisPython, **options)


class _ThisPython(AsyncKernelManager):
    """A kernel of the Python that runs this, whatever else is registered under the name python3 (case O06)."""

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(**get_kernel_dict())


papermill_engines.register("memcourse", _Engine)


def run_notebook(
    path: Path, output: Path, parameters: dict[str, Any] | None = None, cell_limit: int = 600, live: bool = False,
    fresh: bool = False,
) -> Outcome:  # fmt: skip
    """Execute one notebook into `output`, in a fresh kernel of this Python, in the notebook's own folder.

    Args:
        parameters: values for names in its parameters cell.
        cell_limit: seconds that one cell may take.
        live: show a line of progress on stderr.
        fresh: let the notebook find no artifacts of earlier runs.

    Raises:
        CourseError: a parameter that the notebook doesn't have, a file that is no notebook, or nowhere to write.
    """
    book = _checked(path, output, parameters or {})
    expected = book.get("metadata", {}).get("memcourse", {}).get("seconds")
    smaller = (parameters or {}).get("PROFILE", "laptop") != "laptop"
    _Engine.line = _Line(path.stem, len(book["cells"]), None if smaller else expected, live)
    started = time.perf_counter()
    status, message = "ok", ""
    with _child_environment(fresh), _peak_memory() as peak:
        try:
            papermill.execute_notebook(
                _literal(path), _literal(output), parameters=parameters or {}, kernel_name="python3", language="python",
                engine_name="memcourse", progress_bar=False, cwd=str(path.parent), execution_timeout=cell_limit,
                log_output=False, extra_arguments=["--IPKernelApp.log_level=ERROR"],
            )  # fmt: skip
        except PapermillExecutionError as error:
            status, message = "failed cell", _failed(error)
        except CellTimeoutError:
            status = "past limit"
            message = f"a cell took longer than {cell_limit} s. Raise --cell-limit, or close what else is running."
        except DeadKernelError:
            status = "dead kernel"
            message = "the kernel died, most likely for lack of memory. Close other programs, or use --profile smoke."
        except RuntimeError as error:
            status, message = "dead kernel", f"the kernel did not start ({error}). Run `memcourse doctor`."
    _Engine.line.close()
    return Outcome(path.stem, status, round(time.perf_counter() - started, 1), peak[0], message)


def run_course(
    paths: list[Path], profile: str, *, folder: Path | None = None, inplace: bool = False, cell_limit: int = 600,
    as_json: bool = False,
) -> int:  # fmt: skip
    """Run notebooks one after the other and print a table; returns the exit code.

    Executed copies go to `folder` (default: `runs` in the user's cache). `inplace` writes the outputs back into the
    notebooks themselves, in normal form, if the run succeeded.
    """
    folder = folder or home() / "runs" / profile
    parameters = {} if inplace else {"PROFILE": profile}
    for path in paths:  # all of them before any of them runs
        _checked(path, folder / path.name, parameters)
    outcomes = []
    live = not as_json and sys.stderr.isatty()
    for path in paths:
        if not as_json and not live:
            print(f"{path.stem} ...", flush=True)
        outcome = run_notebook(path, folder / path.name, parameters, cell_limit, live, inplace)
        outcomes.append(outcome)
        if inplace and outcome.status == "ok":
            _write_back(path, folder / path.name, outcome)
        if not as_json:
            print(f"{outcome.notebook:32} {outcome.status:12} {outcome.seconds:6.0f} s {outcome.peak_mb:6,} MB", flush=True)
            if outcome.message:
                print(f"  {outcome.message}")
    _summary(outcomes, folder, as_json)
    return 0 if all(outcome.status == "ok" for outcome in outcomes) else 1


def _summary(outcomes: list[Outcome], folder: Path, as_json: bool) -> None:
    if as_json:
        print(json.dumps([asdict(outcome) for outcome in outcomes], indent=1))
        return
    good = sum(outcome.status == "ok" for outcome in outcomes)
    total = sum(outcome.seconds for outcome in outcomes)
    print(f"{good} of {len(outcomes)} notebooks ran through, in {total:.0f} s. Executed copies: {folder}")


def _literal(path: Path) -> str:
    """A path as papermill takes it: braces would stand for parameters."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _checked(path: Path, output: Path, parameters: dict[str, Any]) -> dict[str, Any]:
    """The notebook, unless it can't go well. (Papermill only warns about an unknown parameter and runs with the default.)"""
    book = read(path)
    if output.resolve() == path.resolve():
        raise CourseError(f"The executed copy would replace {path}. Give another folder to --out, or use --inplace.")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        known = parameter_names(book)
    except OSError as error:
        raise CourseError(f"{output.parent} can't be made ({error.strerror}). Name another folder: --out DIR.") from error
    except SyntaxError as error:
        raise CourseError(f"The parameters cell of {path.name} is no Python ({error.msg}). Write NAME = value.") from error
    for name in parameters:
        if name not in known:
            raise CourseError(f"{path.name} has no parameter {name!r}; it has {', '.join(known) or 'none'}.")
    return book


def _failed(error: PapermillExecutionError) -> str:
    lines = [line for line in str(error.evalue).splitlines() if line.strip()]
    text = textwrap.shorten(lines[0], 300, placeholder=" ...") if lines else ""
    return f"code cell {error.exec_count} raised {error.ename}: {text}".rstrip(": ")


def _write_back(path: Path, executed: Path, outcome: Outcome) -> None:
    """Put the outputs of a run into the committed notebook; ids and sources stay as they were."""
    book = json.loads(nbformat.writes(nbformat.read(executed, as_version=4)))
    book["metadata"]["memcourse"] = {"seconds": round(outcome.seconds), "peak_mb": outcome.peak_mb}
    with written_whole(path) as temporary:
        temporary.write_text(normal_form(book), encoding="utf-8", newline="\n")


@contextmanager
def _child_environment(fresh: bool) -> Iterator[None]:
    """Kernels started inside show no live progress; `fresh` ones also find no artifacts and no learner's notes.

    So stored outputs hold results only, and their minutes are those of a first run.
    """
    wanted = {"MEMCOURSE_QUIET": "1"}
    with tempfile.TemporaryDirectory(prefix="memcourse-") as folder:
        if fresh:
            wanted |= {"MEMCOURSE_MODELS": str(models_home().resolve()), "MEMCOURSE_HOME": folder}
        before = {name: os.environ.get(name) for name in wanted}
        os.environ.update(wanted)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


@contextmanager
def _peak_memory(every: float = 0.2) -> Iterator[list[int]]:
    """A list whose one number becomes the highest memory (MB, resident) that this process's children took together."""
    peak, stop = [0], threading.Event()

    def watch() -> None:
        me = psutil.Process()
        while not stop.wait(every):
            total = 0
            for child in me.children(recursive=True):
                try:
                    total += child.memory_info().rss
                except psutil.Error:
                    continue
            peak[0] = max(peak[0], total // 2**20)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()
