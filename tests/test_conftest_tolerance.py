"""nbval's tolerance (in conftest.py): ledger rows agree to 2 %, trained ones to their interval, the rest exactly.

One synthetic executed notebook is compared in a pytest of its own; each of its cells is one case.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest

from .conftest import ROOT
from .course_support import ROW, book_of, code, printed, shown, store

MIME = "application/vnd.memcourse.metric+json"


def ledger(run: dict, stored: dict, text: str = "ledger: right = 0.52"):
    """A cell that shows one row, and the row that is stored as its output."""
    source = f"display({{'{MIME}': {run!r}, 'text/plain': 'ledger: right = {run['value']}'}}, raw=True)"
    return code(source, shown({MIME: stored, "text/plain": text}))


def off(**changes):
    return ledger({**ROW, **changes}, ROW)


TRAINED = {**ROW, "seeds": 3, "interval": [0.45, 0.59]}

COUNT = {**ROW, "seeds": 1, "value": 8, "interval": None}


def retrained(**changes):
    return ledger({**TRAINED, **changes}, TRAINED)


BOTH = f"display({{'{MIME}': {ROW!r}, 'text/plain': 'a'}}, raw=True)"
CELLS = {
    "set-up": (code("from IPython.display import display"), True),
    "the same row": (off(), True),
    "1 % off": (off(value=0.52 * 1.01), True),
    "10 % off": (off(value=0.52 * 1.10), False),
    "another name": (off(name="wrong"), False),
    "another profile": (off(profile="smoke"), False),
    "another unit": (off(unit="s"), False),
    "an interval 1 % off": (off(interval=[0.303, 0.707]), True),
    "an interval 10 % off": (off(interval=[0.33, 0.7]), False),
    "an interval is missing": (off(interval=None), False),
    "another n": (off(n=30), False),
    "a field is missing": (ledger({k: v for k, v in ROW.items() if k != "seeds"}, ROW), False),
    "a text in place of the number": (ledger({**ROW, "value": "0.52"}, ROW), False),
    "another figure 10 % off": (ledger({**ROW, "value": 1100}, {**ROW, "value": 1000}), False),
    "another figure 1 % off": (ledger({**ROW, "value": 1010}, {**ROW, "value": 1000}), True),
    "trained, as far off as the interval is wide": (retrained(value=0.65, interval=[0.6, 0.7]), True),
    "trained, further off": (retrained(value=0.67), False),
    "trained, without an interval": (retrained(interval=None), False),
    "a trained count, one off": (ledger({**COUNT, "value": 9}, COUNT), True),
    "a trained count, two off": (ledger({**COUNT, "value": 10}, COUNT), False),
    "trained with fewer seeds": (retrained(seeds=2), False),
    "a row is missing": (code("pass", shown({MIME: ROW, "text/plain": "a"})), False),
    "a row too many": (code(f"{BOTH}\n{BOTH}", shown({MIME: ROW, "text/plain": "a"})), False),
    "the same text": (code("print('0.5200')", printed("0.5200\n")), True),
    "a text one digit off": (code("print('0.5201')", printed("0.5200\n")), False),
    "a text beside a row": (code(f"{BOTH}\nprint('x')", shown({MIME: ROW, "text/plain": "a"}), printed("y\n")), False),
    "a plain display 1 % off": (code("display({'text/plain': '101'}, raw=True)", shown({"text/plain": "100"})), False),
    "an artifact's time": (code("print('a: made in 7 s and stored')", printed("a: from cache, made in 83 s\n")), True),
    "another artifact": (code("print('b: made in 7 s and stored')", printed("a: from cache, made in 83 s\n")), False),
}


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """For each case whether its cell passed."""
    folder = tmp_path_factory.mktemp("tolerance")
    for name in ("conftest.py", "nbval_sanitize.cfg"):
        shutil.copy(ROOT / "tests" / name, folder)
    store(folder / "cells.ipynb", book_of(*[cell for cell, _ in CELLS.values()]))
    options = ["--nbval", "--nbval-current-env", "--nbval-sanitize-with", "nbval_sanitize.cfg", "-rA", "--tb=no", "-q"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", str(folder), *options, "cells.ipynb"],
        cwd=folder, capture_output=True, encoding="utf-8", timeout=120, check=False,
    )  # fmt: skip
    found = {int(n): word == "PASSED" for word, n in re.findall(r"^(PASSED|FAILED) .*::Cell (\d+)", done.stdout, re.M)}
    assert len(found) == len(CELLS), done.stdout + done.stderr
    return dict(zip(CELLS, (found[n] for n in sorted(found)), strict=True))


@pytest.mark.parametrize("case", CELLS)
def test_o16_the_tolerance_is_for_numbers_of_the_ledger_only(verdicts, case):
    assert verdicts[case] is CELLS[case][1]
