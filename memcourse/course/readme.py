"""The parts of README.md that are made from the notebooks: their table with minutes, and the table of results."""

from __future__ import annotations

import re
from pathlib import Path

from memcourse.course.guards import REPOSITORY, badge
from memcourse.course.ledger import ledger_rows, table
from memcourse.course.notebooks import list_notebooks, notebooks_folder, read, source
from memcourse.errors import CourseError


def with_tables(text: str, folder: Path) -> str:
    """README's text with both tables made anew between their markers (<!-- notebooks --> and <!-- results -->)."""
    notebooks = list_notebooks(folder)
    for name, made in (("notebooks", notebook_table(notebooks)), ("results", table(ledger_rows(notebooks)))):
        pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        text = re.sub(pattern, lambda m, made=made: f"{m.group(1)}{made}\n{m.group(2)}", text, flags=re.S)  # type: ignore[misc]
    return text


def contents() -> None:
    """Show, inside a notebook, which notebooks there are and how long each takes."""
    from IPython.display import Markdown, display

    try:
        text = notebook_table(list_notebooks(notebooks_folder()), "")
    except CourseError:  # on Colab there is the one open notebook only
        text = f"All notebooks: https://github.com/{REPOSITORY}/tree/main/notebooks"
    display(Markdown(text))


def notebook_table(notebooks: list[Path], folder: str = "notebooks/") -> str:
    """A Markdown table of the notebooks: title, promise, minutes on two cores, peak memory, Colab."""
    lines = ["| Notebook | What it answers | Minutes | Memory | Colab |", "|---|---|---|---|---|"]
    for path in notebooks:
        book = read(path)
        title, promise = _title_and_promise(source(book["cells"][0]) if book["cells"] else "")
        facts = book.get("metadata", {}).get("memcourse", {})
        minutes = f"{facts['seconds'] / 60:.1f}" if "seconds" in facts else ""
        memory = f"{facts['peak_mb'] / 1000:.1f} GB" if "peak_mb" in facts else ""
        lines.append(
            f"| [{title or path.stem}]({folder}{path.name}) | {promise} | {minutes} | {memory} | {badge(path.name)} |"
        )
    return "\n".join(lines)


def _title_and_promise(text: str) -> tuple[str, str]:
    """The first heading, and the first paragraph after it that is neither badge nor table nor quotation."""
    blocks = [block.strip().replace("\n", " ") for block in text.split("\n\n")]
    title = blocks[0].lstrip("# ")
    promise = next((block for block in blocks[1:] if not block.startswith(("[!", "|", ">", "#"))), "")
    return title, promise
