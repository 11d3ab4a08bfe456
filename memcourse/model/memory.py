"""How many bytes a function holds at its peak, read off the allocator rather than guessed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def peak_bytes(run: Callable[[], Any], device: str = "cpu") -> int:
    """The most bytes that `run` held at once beyond what was there before, its result included.

    On the CPU the profiler reports every allocation and release; on a GPU the allocator keeps the peak itself.
    """
    import torch

    if str(device).startswith("cuda"):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with torch.autograd.profiler.profile(profile_memory=True, use_kineto=True) as profile:
        run()
    events = [event for event in profile.kineto_results.events() if event.name() == "[memory]"]
    held = highest = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        highest = max(highest, held)
    return highest
