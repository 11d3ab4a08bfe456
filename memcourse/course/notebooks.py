"""The committed notebooks: finding them, reading them, and bringing them into one normal form."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

from memcourse.errors import CourseError, UsageError

KEPT_METADATA = ("kernelspec", "language_info", "memcourse", "accelerator")
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def notebooks_folder() -> Path:
    """notebooks/ of this checkout, or of the working folder.

    Raises:
        CourseError: neither holds a notebook.
    """
    for folder in (Path(__file__).resolve().parents[2] / "notebooks", Path.cwd() / "notebooks", Path.cwd()):
        if list_notebooks(folder):
            return folder
    raise CourseError("No notebooks found. Run this in a clone of the course, or in the folder that holds them.")


def list_notebooks(folder: Path) -> list[Path]:
    """Every numbered notebook of a folder, in order. A new notebook counts because it exists."""
    return sorted(folder.glob("[0-9][0-9]_*.ipynb"))


def choose_notebooks(folder: Path, wanted: list[str]) -> list[Path]:
    """The notebooks meant by numbers ("01"), names or paths; all of them for an empty list.

    Raises:
        UsageError: a name that fits none.
    """
    everything = list_notebooks(folder)
    if not wanted:
        return everything
    chosen = []
    for name in wanted:
        if name.endswith(".ipynb") and Path(name).is_file():
            chosen.append(Path(name))
            continue
        fitting = [p for p in everything if name in (p.stem, p.name) or (name and p.stem[:2] == name.zfill(2))]
        if not fitting:
            known = ", ".join(path.stem for path in everything)
            raise UsageError(f"There is no notebook {name!r}; there are {known}. A path to an .ipynb works as well.")
        chosen += fitting
    return chosen


def read(path: Path) -> dict[str, Any]:
    """A notebook as plain JSON.

    Raises:
        CourseError: the file is no notebook.
    """
    try:
        book = json.loads(path.read_text(encoding="utf-8"))
        if not _is_notebook(book):
            raise ValueError("its cells, outputs or metadata are not of the notebook format, version 4")
    except (OSError, ValueError, RecursionError) as error:
        raise CourseError(
            f"{path} can't be read as a notebook ({error}). Restore it (git checkout) or copy it here again."
        ) from error
    return book


def _is_notebook(book: Any) -> bool:
    """Whether everything that the course looks at has the type that the notebook format gives it."""
    metadata = book.get("metadata", {}) if isinstance(book, dict) else None
    return (
        isinstance(metadata, dict)
        and all(isinstance(metadata.get(key, {}), dict) for key in ("kernelspec", "language_info", "memcourse"))
        and isinstance(book.get("cells"), list)
        and all(isinstance(cell, dict) and _is_cell(cell) for cell in book["cells"])
    )


def _is_cell(cell: dict[str, Any]) -> bool:
    text, outputs, metadata = cell.get("source", ""), cell.get("outputs", []), cell.get("metadata", {})
    return (
        cell.get("cell_type") in ("markdown", "code", "raw")
        and isinstance(text, str | list)
        and all(isinstance(line, str) for line in text)
        and isinstance(metadata, dict)
        and isinstance(metadata.get("tags", []), list)
        and isinstance(outputs, list)
        and all(isinstance(output, dict) and isinstance(output.get("output_type"), str) for output in outputs)
        and all(isinstance(output.get(key, {}), dict) for output in outputs for key in ("data", "metadata"))
    )


def source(cell: dict[str, Any]) -> str:
    """A cell's text."""
    return "".join(cell.get("source", []))


def tags(cell: dict[str, Any]) -> list[str]:
    """A cell's tags."""
    return cell.get("metadata", {}).get("tags", [])


def parameter_names(book: dict[str, Any]) -> list[str]:
    """The names that the cell tagged 'parameters' sets, read as Python reads them (papermill trips over some values).

    Raises:
        SyntaxError: the cell is no Python.
    """
    tagged = [cell for cell in book["cells"] if cell["cell_type"] == "code" and "parameters" in tags(cell)]
    statements = ast.parse(source(tagged[0])).body if tagged else []
    targets = [target for s in statements if isinstance(s, ast.Assign | ast.AnnAssign) for target in _targets(s)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _targets(statement: ast.Assign | ast.AnnAssign) -> list[ast.expr]:
    return statement.targets if isinstance(statement, ast.Assign) else [statement.target]


def normal_form(book: dict[str, Any]) -> str:
    """The text that a committed notebook has: no run times, no tool's traces, no widget state, the kernel python3.

    Running, papermill and Colab write such traces; without them a diff shows what a person changed.
    """
    metadata = {key: value for key, value in book.get("metadata", {}).items() if key in KEPT_METADATA}
    metadata |= {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    cells = [_normal_cell(cell, i) for i, cell in enumerate(book["cells"])]
    whole = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _normal_cell(cell: dict[str, Any], number: int) -> dict[str, Any]:
    kept = {"tags": tags(cell)} if tags(cell) else {}
    text = source(cell).rstrip("\n")
    new = {"id": cell.get("id", f"cell-{number:02}"), "cell_type": cell["cell_type"], "metadata": kept,
           "source": text.splitlines(keepends=True)}  # fmt: skip
    if "attachments" in cell:  # pictures in Markdown
        new["attachments"] = cell["attachments"]
    if cell["cell_type"] == "code":
        new["execution_count"] = cell.get("execution_count")
        new["outputs"] = [_normal_output(output) for output in cell.get("outputs", [])]
    return new


def _normal_output(output: dict[str, Any]) -> dict[str, Any]:
    new = {key: _lines(value) if key == "text" else value for key, value in output.items() if key != "transient"}
    if "data" in new:
        kept = {k: v for k, v in new["data"].items() if not k.startswith("application/vnd.jupyter.widget")}
        new["data"] = {k: _lines(v) if k.startswith("text/") else v for k, v in kept.items()}
    return new


def _lines(text: Any) -> Any:
    """Text as a list of lines, the form in which Jupyter stores it."""
    return text.splitlines(keepends=True) if isinstance(text, str) else text
