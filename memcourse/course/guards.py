"""memcourse check: the rules that every committed notebook keeps. Each rule returns one sentence a breach."""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from memcourse.course.ledger import MIME
from memcourse.course.notebooks import KERNEL, normal_form, read, source, tags

REPOSITORY = "memcourse/memcourse"
MAX_BYTES, MAX_SECONDS, MAX_PEAK_MB = 1_000_000, 240, 4_000
TRAINING = ("03", "07", "08")  # these train, and may take 300 seconds
SECTIONS = ("Misconceptions", "The paper found / we measured", "Quiz", "Recap", "References")
Book = dict[str, Any]


def badge(name: str) -> str:
    """The Colab badge that a notebook of that file name carries."""
    return (
        "[![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
        f"(https://colab.research.google.com/github/{REPOSITORY}/blob/main/notebooks/{name})"
    )


def problems(path: Path) -> list[str]:
    """Every breach of every rule in one notebook."""
    book = read(path)
    found = [f"{path.name}: {text}" for rule in RULES for text in _breaches(rule, path, book)]
    if path.read_text(encoding="utf-8") != normal_form(book):
        found.append(f"{path.name}: not in normal form; run `memcourse check --fix`.")
    return found


def _breaches(rule: Callable[[Path, Book], Iterator[str]], path: Path, book: Book) -> list[str]:
    """A rule's sentences; one of them where the notebook is so odd that the rule can't judge it."""
    try:
        return list(rule(path, book))
    except Exception as error:
        return [f"the rule '{rule.__name__}' can't judge it ({type(error).__name__}: {error}); mend the notebook by hand."]


def _code(book: Book) -> list[dict[str, Any]]:
    return [cell for cell in book["cells"] if cell["cell_type"] == "code"]


def _prose(book: Book) -> str:
    return "\n\n".join(source(cell) for cell in book["cells"] if cell["cell_type"] == "markdown")


def executed_in_order(path: Path, book: Book) -> Iterator[str]:
    """The code cells were run once each, from top to bottom, and none ended in an error."""
    counts = [cell.get("execution_count") for cell in _code(book)]
    if counts != list(range(1, len(counts) + 1)):
        yield "its code cells were not run once each from top to bottom; run `memcourse run --inplace`."
    for number, cell in enumerate(_code(book), 1):
        for output in cell.get("outputs", []):
            if output["output_type"] == "error":
                yield f"code cell {number} ended in an error ({output.get('ename')})."


def plain_metadata(path: Path, book: Book) -> Iterator[str]:
    """The kernel is python3 and there is no widget state."""
    metadata = book.get("metadata", {})
    if metadata.get("kernelspec") != KERNEL:
        yield f"its kernel is {metadata.get('kernelspec')}, not python3."
    if metadata.get("language_info", {}).get("name") != "python":
        yield "its language_info does not say python."
    if "widgets" in metadata or "widget-view" in str([cell.get("outputs") for cell in _code(book)]):
        yield "it holds widget state, which GitHub can't show."


def nothing_of_this_machine(path: Path, book: Book) -> Iterator[str]:
    """No source or output shows a path or an address that holds on one machine only."""
    pattern = re.compile(r"(/home/|/root/|/Users/|/tmp/|[A-Z]:\\\\?Users|0x[0-9a-f]{6,})")
    for number, cell in enumerate(_code(book), 1):
        outputs = cell.get("outputs", [])
        shown = [value for o in outputs for kind, value in o.get("data", {}).items() if kind.startswith("text/")]
        for text in [source(cell), *(str(o.get("text", "")) for o in outputs), *map(str, shown)]:
            if match := pattern.search(text):
                yield f"code cell {number} shows {match.group()!r}, which holds on one machine only."


def alt_texts(path: Path, book: Book) -> Iterator[str]:
    """Every figure has an alt text, in its metadata and as its plain text."""
    for number, cell in enumerate(_code(book), 1):
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if any(kind.startswith("image/") for kind in data):
                alt = output.get("metadata", {}).get("image/png", {}).get("alt", "")
                if len(alt) < 20 or "".join(data.get("text/plain", "")) != alt:
                    yield f"the figure of code cell {number} has no alt text; show it with plots.show(fig, alt=...)."


def headings(path: Path, book: Book) -> Iterator[str]:
    """One top heading at the beginning, no level skipped, and every section that the form asks for."""
    prose = re.sub(r"```.*?```", "", _prose(book), flags=re.S)
    levels = [len(marks) for marks in re.findall(r"^(#+) ", prose, re.M)]
    if levels.count(1) != 1 or levels[:1] != [1]:
        yield f"it has {levels.count(1)} top headings; one is needed, at its beginning."
    for before, after in pairwise(levels):
        if after > before + 1:
            yield f"a heading jumps from level {before} to {after}."
    for section in SECTIONS:
        if not re.search(rf"^## {re.escape(section)}", prose, re.M):
            yield f"the section '## {section}' is missing."


def links(path: Path, book: Book) -> Iterator[str]:
    """The Colab badge is right, local links lead somewhere, cited keys stand in docs/references.bib."""
    prose = _prose(book)
    if badge(path.name) not in prose:
        yield f"the Colab badge is missing or points elsewhere; it is {badge(path.name)}"
    for text, target in re.findall(r"\[([^\]]*)\]\(([^)\s]+)\)", prose):
        if target.startswith(("http://", "https://", "#")):
            continue
        if not text.strip():
            yield f"the link to {target} has no text."
        if not (path.parent / target.split("#")[0]).exists():
            yield f"the link to {target} leads nowhere."
    bibliography = path.resolve().parent.parent / "docs" / "references.bib"
    if bibliography.is_file():
        keys = set(re.findall(r"^@\w+\{([^,]+),", bibliography.read_text(encoding="utf-8"), re.M))
        for key in re.findall(r"\[@([\w-]+)\]", prose):
            if key not in keys:
                yield f"it cites [@{key}], which docs/references.bib does not hold."


def size(path: Path, book: Book) -> Iterator[str]:
    """Bytes, minutes and memory stay within the budget."""
    if path.stat().st_size > MAX_BYTES:
        yield f"it has {path.stat().st_size:,} bytes; {MAX_BYTES:,} is the most."
    facts = book.get("metadata", {}).get("memcourse", {})
    seconds, limit = facts.get("seconds"), 300 if path.name[:2] in TRAINING else MAX_SECONDS
    if seconds is None:
        yield "it does not say how long it took; run `memcourse run --inplace`."
    elif seconds > limit or facts.get("peak_mb", 0) > MAX_PEAK_MB:
        yield f"it took {seconds:.0f} s and {facts.get('peak_mb', 0):,} MB; {limit} s and {MAX_PEAK_MB:,} MB are the most."


def readable(path: Path, book: Book) -> Iterator[str]:
    """Cells, lines and words stay within what one sitting can take."""
    lengths = [len([line for line in source(cell).splitlines() if line.strip()]) for cell in _code(book)] or [0]
    words = len(_prose(book).split())
    if not 25 <= len(book["cells"]) <= 45:
        yield f"it has {len(book['cells'])} cells; 25 to 45 make one sitting."
    if statistics.median(lengths) > 5 or max(lengths) > 30:
        yield f"its code cells have a median of {statistics.median(lengths):g} lines and a maximum of {max(lengths)}."
    if not 1_000 <= words <= 2_000:
        yield f"it has {words:,} words; 1,000 to 2,000 are wanted."


def parameters(path: Path, book: Book) -> Iterator[str]:
    """One tagged cell of literals; every parameter is read later and never set again (papermill would be ignored)."""
    tagged = [cell for cell in _code(book) if "parameters" in tags(cell)]
    if len(tagged) != 1:
        yield f"it has {len(tagged)} cells tagged 'parameters'; one is needed."
        return
    try:
        names = [_parameter(statement) for statement in ast.parse(source(tagged[0])).body]
    except SyntaxError as error:
        yield f"its parameters cell is no Python ({error.msg}, line {error.lineno})."
        return
    if "PROFILE" not in names or None in names:
        yield "its parameters cell must hold PROFILE and plain literals only, each as NAME = value."
    for name in filter(None, names):
        rest = [source(cell) for cell in _code(book) if cell is not tagged[0]]
        if not any(re.search(rf"\b{name}\b", text) for text in rest):
            yield f"its parameter {name} is never read."
        if any(re.search(rf"^\s*{name}\s*(:[^=\n]+|[-+*/|&%]+)?=[^=]", text, re.M) for text in rest):
            yield f"its parameter {name} is set again in a later cell."


def _parameter(statement: ast.stmt) -> str | None:
    """The name that `NAME = literal` sets; None for any other statement, which papermill would misread."""
    if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
        return None
    target, value = statement.targets[0], statement.value
    if isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub):
        value = value.operand
    return target.id if isinstance(target, ast.Name) and isinstance(value, ast.Constant) else None


def exercises(path: Path, book: Book) -> Iterator[str]:
    """Three exercises whose stub raises NotImplementedError and is checked by the very next code cell; one puzzle."""
    cells, stubs = _code(book), 0
    for cell, after in zip(cells, [*cells, {}][1:], strict=True):
        if "exercise" in tags(cell) or "puzzle" in tags(cell):
            stub = "exercise" in tags(cell)
            stubs += stub
            if stub and "raise NotImplementedError" not in source(cell):
                yield "a cell tagged 'exercise' does not raise NotImplementedError."
            if not re.search(rf'check\("{path.name[:2]}\.\w+", \w+\)', source(after)):
                yield "an exercise or puzzle is not followed by its check."
    if stubs < 3:
        yield f"it has {stubs} exercises; at least three are needed."
    if sum("puzzle" in tags(cell) for cell in cells) != 1:
        yield "it needs exactly one puzzle."
    asked = [source(cell) for cell in cells if "course.quiz(" in source(cell)]
    if len(set(re.findall(rf'"({path.name[:2]}\.\d+)"', "\n".join(asked)))) not in (3, 4, 5):
        yield "it needs three to five quiz questions."


def compared(path: Path, book: Book) -> Iterator[str]:
    """At least 70 % of the cells that print are compared by nbval."""
    printing = [cell for cell in _code(book) if cell.get("outputs")]
    ignored = [cell for cell in printing if "nbval-ignore-output" in tags(cell)]
    if printing and len(ignored) > 0.3 * len(printing):
        yield f"{len(ignored)} of its {len(printing)} printing cells are not compared; 30 % is the most."
    if not any(MIME in output.get("data", {}) for cell in printing for output in cell["outputs"]):
        yield "it puts nothing into the ledger."


def setup_cell(path: Path, book: Book) -> Iterator[str]:
    """The same guard in every notebook; pip only inside it, and no notebook server on Colab."""
    texts = [source(cell) for cell in _code(book)]
    if not any(text.startswith((SETUP, SETUP_SEARCH)) for text in texts):
        yield "its set-up cell does not begin with the guard that all notebooks share."
    outside = "\n".join(texts).replace(SETUP, "").replace(SETUP_SEARCH, "")
    if re.search(r"^\s*!.*\b(pip|conda)\b|%pip|%conda|%%bash|-m pip|\"pip\"|sys\.path", outside, re.M):
        yield "it installs something or changes sys.path outside the guard."


SETUP = f"""import importlib.util
import sys

if importlib.util.find_spec("memcourse") is None:
    if "google.colab" not in sys.modules:
        raise SystemExit(f"{{sys.executable}} has no memcourse: run `python start.py` in the clone first.")
    %pip install -q "memcourse @ git+https://github.com/{REPOSITORY}@main"
    !{{sys.executable}} -m memcourse fetch"""
# for notebooks with a vector database, which Colab gets only there
SETUP_SEARCH = (
    SETUP.replace('find_spec("memcourse")', 'find_spec("lancedb")')
    .replace("has no memcourse:", "lacks memcourse or LanceDB:")
    .replace('"memcourse @', '"memcourse[search] @')
)

RULES: tuple[Callable[[Path, Book], Iterator[str]], ...] = (
    executed_in_order, plain_metadata, nothing_of_this_machine, alt_texts, headings, links, size, readable,
    parameters, exercises, compared, setup_cell,
)  # fmt: skip
