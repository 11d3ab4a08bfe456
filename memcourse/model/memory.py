"""How many bytes a function holds at its peak, read off the allocator rather than guessed, and how long it takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def peak_bytes(run: Callable[..., Any], *arguments: Any, device: str = "cpu") -> int:
    """The most bytes that a call of `run` held at once beyond what was there before, its result included.

    On the CPU the profiler reports every allocation and release; on a GPU the allocator keeps the peak itself.
    """
    import torch

    if str(device).startswith("cuda"):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run(*arguments)
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with torch.autograd.profiler.profile(profile_memory=True, use_kineto=True) as profile:
        run(*arguments)
    events = [event for event in profile.kineto_results.events() if event.name() == "[memory]"]
    held = highest = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        highest = max(highest, held)
    return highest


def fits(nbytes: float, share: float = 0.5) -> bool:
    """Whether so many bytes fit into that share of the memory that is free now."""
    import psutil

    return nbytes <= share * psutil.virtual_memory().available


def fastest(run: Callable[..., Any], *arguments: Any, repeats: int = 3, **options: Any) -> float:
    """Seconds of the fastest of some calls of `run`: what the machine can do when nothing disturbs it."""
    import torch

    def now() -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()

    best = float("inf")
    for _ in range(repeats):
        start = now()
        run(*arguments, **options)
        best = min(best, now() - start)
    return best
