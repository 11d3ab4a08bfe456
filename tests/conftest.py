"""What all tests share: no network, no trace in the user's own folders, fixed threads, one loaded model."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

# Set before anything of ours, torch or the hub's client is imported; kernels that the tests start inherit it.
from memcourse.files import models_home

os.environ["MEMCOURSE_MODELS"] = str(models_home().resolve())
os.environ["MEMCOURSE_HOME"] = tempfile.mkdtemp(prefix="memcourse-tests-")
os.environ["MEMCOURSE_QUIET"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["PYTHONHASHSEED"] = "0"
os.environ["OMP_NUM_THREADS"] = "2"
os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


@pytest.fixture(scope="session")
def lm():
    """SmolLM2-135M on the CPU, loaded once; tests must leave its weights as they are."""
    from memcourse.model import load_lm

    return load_lm(device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def embedder():
    """all-MiniLM-L6-v2 on the CPU."""
    from memcourse.model import load_embedder

    return load_embedder(device="cpu")


@pytest.fixture
def fresh_home(tmp_path, monkeypatch):
    """A home of its own: no artifacts, no progress, no models."""
    monkeypatch.setenv("MEMCOURSE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MEMCOURSE_MODELS", str(tmp_path / "models"))
    return tmp_path / "home"


MEASURED = ("value", "interval")


def _ledger_rows_alike(test: dict, stored: dict) -> bool:
    """Two rows of the ledger agree: what was measured to 2 % (other processors round differently), all else exactly.

    Training carries the smallest difference in rounding on to the end, so what was trained (a row with seeds) may lie as
    far from the stored figure as its interval is wide, or 0.03 where all seeds gave the same, and its interval may be
    another; without an interval, as far as a tenth of it, and by 1 if it is a count.
    """
    if test.keys() != stored.keys():
        return False
    if stored["seeds"] is not None and type(stored["interval"]) is type(test["interval"]):
        low, high = stored["interval"] or (0, max(abs(stored["value"]) / 10, isinstance(stored["value"], int)))
        if not isinstance(test["value"], float | int) or abs(test["value"] - stored["value"]) > max(high - low, 0.03):
            return False
        return all(test[key] == stored[key] for key in stored if key not in MEASURED)
    return all(_alike(test[key], stored[key]) if key in MEASURED else test[key] == stored[key] for key in stored)


def _alike(a: object, b: object) -> bool:
    if isinstance(b, list) and isinstance(a, list):
        return len(a) == len(b) and all(_alike(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(b, float | int) and isinstance(a, float | int):
        return a == pytest.approx(b, rel=0.02, abs=0.002)
    return a == b


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    """Give nbval what it lacks: a numeric tolerance, for the rows of the ledger only."""
    from nbval.plugin import IPyNbCell

    from memcourse.course.ledger import MIME

    compare = IPyNbCell.compare_outputs

    def with_tolerance(self, test, ref, skip_compare=None):
        rows = [output for output in ref if MIME in output.get("data", {})]
        again = [output for output in test if MIME in output.get("data", {})]
        for new, old in zip(again, rows, strict=False):
            if _ledger_rows_alike(new["data"][MIME], old["data"][MIME]):
                new["data"] = old["data"]
        return compare(self, test, ref, skip_compare)

    if not getattr(compare, "tolerant", False):
        with_tolerance.tolerant = True
        IPyNbCell.compare_outputs = with_tolerance
