"""Which device and which number format: chosen once, with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch


class Choice(NamedTuple):
    """A choice and the reason for it, so that the reader sees both."""

    value: str
    why: str


def choose_device() -> Choice:
    """ "cuda" where a GPU is usable, "mps" on Apple silicon, else "cpu"; with the reason."""
    import torch

    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        return Choice("cuda", f"{torch.cuda.get_device_name(0)} with {memory:.0f} GiB is usable")
    if torch.backends.mps.is_available():
        return Choice("mps", "Apple's GPU is usable; its last digits differ from a CPU's")
    return Choice("cpu", "torch sees no GPU")


def usable_device(name: str | None) -> str:
    """The name itself, or the chosen device for None; raises ValueError for a device that can't be used here."""
    import torch

    if name is None:
        return choose_device().value
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA raises AssertionError
        first = str(error).splitlines()[0]
        raise ValueError(f"The device {name!r} can't be used here ({first}). Use 'cpu', or None to choose.") from error
    return name


def choose_dtype(device: str) -> Choice:
    """ "bfloat16" on GPUs that compute in it, "float32" elsewhere; with the reason."""
    import torch

    if not str(device).startswith("cuda"):
        return Choice("float32", "exact enough to compare runs, and faster than bf16 on most CPUs")
    major, minor = torch.cuda.get_device_capability()
    if major >= 8:
        return Choice("bfloat16", f"the card (compute capability {major}.{minor}) computes in bf16")
    return Choice("float32", f"the card (compute capability {major}.{minor}) has no bf16 arithmetic")


def as_dtype(name: str | torch.dtype) -> torch.dtype:
    """The torch dtype of that name; raises ValueError for a name that is none."""
    import torch

    found = name if isinstance(name, torch.dtype) else getattr(torch, str(name), None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ValueError(f"Unknown dtype {name!r}; use 'float32', 'bfloat16' or 'float16'.")
    return found
