"""A forward pass and a step of training while another program keeps a core busy: libgomp's own spin against the course's.

Run by hand on Linux: python tests/benchmarks/busy_machine.py
Each setting runs in its own process, since libgomp reads it once; they take turns, and medians are printed.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

FORWARD = """
import time
from memcourse.model import load_lm
lm = load_lm(device="cpu", dtype="float32")
prompts = ["The capital of Japan is"] * 24
lm.last_logits(prompts, 24)
start = time.perf_counter()
for _ in range(4):
    lm.last_logits(prompts, 24)
print((time.perf_counter() - start) / 4)
"""
TRAINING = """
import time
from memcourse import weights
weights.memorise(8, 3.6, 20, (0, 1, 2))
start = time.perf_counter()
weights.memorise(8, 3.6, 100, (0, 1, 2))
print((time.perf_counter() - start) / 100)
"""
WORK = {"forward pass": FORWARD, "step of training": TRAINING}
# the course sets its value only where the variable is unset, so libgomp's default has to be written out
SETTINGS = {"libgomp's default": "300000", "the course's": "5000"}


def measure(code: str, spin: str) -> float:
    """Seconds of one forward pass of 24 short prompts, or of one step of training three tiny models."""
    environment = {**os.environ, "GOMP_SPINCOUNT": spin}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, encoding="utf-8", check=True)
    return float(done.stdout)


def main(rounds: int = 3) -> None:
    """Measure both settings in turns, first on an idle and then on a busy machine."""
    for busy in (False, True):
        other = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
        try:
            seconds: dict[tuple[str, str], list[float]] = {(work, name): [] for work in WORK for name in SETTINGS}
            for _ in range(rounds):
                for work, name in seconds:
                    seconds[work, name].append(measure(WORK[work], SETTINGS[name]))
        finally:
            if other:
                other.kill()
        for (work, name), values in seconds.items():
            print(f"{'busy' if busy else 'idle'} machine, {work}, {name}: {statistics.median(values) * 1e3:.0f} ms")


if __name__ == "__main__":
    main()
