"""One small forward pass while another program keeps one core busy: libgomp's own spin against the course's.

Run by hand on Linux: python tests/benchmarks/busy_machine.py
Each setting runs in its own process, since libgomp reads it once; they take turns, and medians are printed.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

MEASURE = """
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
# the course sets its value only where the variable is unset, so libgomp's default has to be written out
SETTINGS = {"libgomp's default": "300000", "the course's": "1000"}


def measure(spin: str) -> float:
    """Seconds of one forward pass of 24 short prompts."""
    environment = {**os.environ, "GOMP_SPINCOUNT": spin}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], env=environment, capture_output=True, encoding="utf-8", check=True
    )
    return float(done.stdout)


def main(rounds: int = 3) -> None:
    """Measure both settings in turns, first on an idle and then on a busy machine."""
    for busy in (False, True):
        other = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
        try:
            seconds = {name: [] for name in SETTINGS}
            for _ in range(rounds):
                for name, spin in SETTINGS.items():
                    seconds[name].append(measure(spin))
        finally:
            if other:
                other.kill()
        for name, values in seconds.items():
            print(f"{'busy' if busy else 'idle'} machine, {name}: {statistics.median(values):.2f} s")


if __name__ == "__main__":
    main()
