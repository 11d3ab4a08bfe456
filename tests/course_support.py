"""What the tests of memcourse/course share: a dial that needs no torch, and synthetic notebooks of a few cells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nbformat import v4

from memcourse.course import profile
from memcourse.course.guards import SECTIONS, SETUP, badge
from memcourse.course.ledger import MIME
from memcourse.course.notebooks import KERNEL

ALT = "Two bars of the same height, side by side."
ROW = {"notebook": "02", "name": "right", "value": 0.52, "unit": "", "n": 24, "seeds": None, "interval": [0.3, 0.7],
       "paper": None, "profile": "laptop"}  # fmt: skip


def turn_dial(monkeypatch, name: str = "laptop", notebook: str = "00", **sizes: Any) -> None:
    """Set the current notebook's dial as `begin` would, without importing torch."""
    made = profile.Setup(notebook, name, 0, "cpu", "float32", sizes)
    monkeypatch.setattr(profile, "_current", made)


def markdown(text: str) -> dict[str, Any]:
    return v4.new_markdown_cell(text)


def code(text: str, *outputs: dict[str, Any], tags: tuple[str, ...] = ()) -> dict[str, Any]:
    return v4.new_code_cell(text, outputs=list(outputs), metadata={"tags": list(tags)} if tags else {})


def printed(text: str) -> dict[str, Any]:
    return v4.new_output("stream", name="stdout", text=text)


def shown(data: dict[str, Any], metadata: dict[str, Any] | None = None) -> dict[str, Any]:
    return v4.new_output("display_data", data=data, metadata=metadata or {})


def book_of(*cells: dict[str, Any], counted: bool = True) -> dict[str, Any]:
    """A notebook of these cells as plain JSON, its code cells numbered as after a run."""
    made = v4.new_notebook(cells=list(cells), metadata={"kernelspec": KERNEL, "language_info": {"name": "python"}})
    plain = json.loads(json.dumps(made))
    for number, cell in enumerate((c for c in plain["cells"] if c["cell_type"] == "code"), 1):
        cell["execution_count"] = number if counted else None
    return plain


def store(path: Path, book: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(book, ensure_ascii=False), encoding="utf-8")
    return path


def notebook(path: Path, *cells: dict[str, Any]) -> Path:
    """Store a notebook that has not been run."""
    return store(path, book_of(*cells, counted=False))


def good_book(name: str = "02_example.ipynb") -> dict[str, Any]:
    """A notebook that keeps every rule of memcourse.course.guards."""
    words = "We measure before we believe what is written about memory. " * 10
    head = markdown(f"# Example\n\n{badge(name)}\n\nWhat does a rule see? [Read on]({name}#quiz) [@key2024].")
    start = [
        code('PROFILE = "laptop"\nSEED = 0', tags=("parameters",)),
        code(f'{SETUP}\n\nfrom memcourse import course\n\nnb = course.begin("02", PROFILE, seed=SEED)', printed("go\n")),
    ]
    tasks = []
    for task in ("first", "second", "third", "puzzle"):
        body = "return x" if task == "puzzle" else "raise NotImplementedError"
        tag = "puzzle" if task == "puzzle" else "exercise"
        tasks += [markdown(f"### The {task}"), code(f"def {task}(x):\n    {body}", tags=(tag,))]
        tasks += [code(f'course.check("02.{task}", {task})', printed(f"[ ] 02.{task}: not attempted yet.\n"))]
    figure = code("plots.show(fig, alt=ALT)", shown({"image/png": "aGk=", "text/plain": ALT}, {"image/png": {"alt": ALT}}))
    ledger = code('course.record("right", 0.52)', shown({MIME: ROW, "text/plain": "ledger: right = 0.52"}))
    timed = code("print(seconds)", printed("3 s\n"), tags=("nbval-ignore-output",))
    asked = code('for question in ("02.1", "02.2", "02.3"):\n    course.quiz(question)', printed("Question\n"))
    remarks = [markdown("One more remark.") for _ in range(3)]
    sections = [markdown(f"## {section}\n\n{words}\n\n{words}") for section in SECTIONS]
    cells = [head, *start, markdown(f"## To do\n\n{words}"), *tasks, figure, ledger, timed, asked, *remarks, *sections]
    book = book_of(*cells)
    book["metadata"]["memcourse"] = {"seconds": 60, "peak_mb": 1500}
    return book
