"""Loading a language model or an embedder, from the course's cache, a local folder or the hub."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memcourse.errors import CourseError
from memcourse.model.catalog import PACKAGED, locate
from memcourse.model.device import as_dtype, choose_device, choose_dtype
from memcourse.model.embedder import Embedder
from memcourse.model.fetch import damage
from memcourse.model.lm import LanguageModel

if TYPE_CHECKING:
    import torch


def load_lm(
    name: str | os.PathLike[str] = "smollm2-135m", *, device: str | None = None, dtype: str | torch.dtype | None = None
) -> LanguageModel:
    """Load a causal language model with its tokenizer, ready to generate and to score (evaluation mode).

    Args:
        name: "smollm2-135m" (fetched once by `memcourse fetch`), a local folder, or a hub name "owner/name".
        device: "cpu", "cuda" or "mps"; None chooses (see `choose_device`).
        dtype: "float32", "bfloat16" or "float16"; None chooses (see `choose_dtype`).

    Raises:
        ValueError: the name, device or dtype is unknown.
        CourseError: the model isn't on this machine and can't be fetched, or its files were altered.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = locate(name, "lm")
    _check_files(os.fspath(name))
    device = device or choose_device().value
    number_format = as_dtype(dtype or choose_dtype(device).value)
    options = {"trust_remote_code": False, "local_files_only": Path(source).is_dir()}
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        model = AutoModelForCausalLM.from_pretrained(source, dtype=number_format, use_safetensors=True, **options)
    except (OSError, ValueError) as error:
        raise _explained(os.fspath(name), error) from error
    return LanguageModel(_moved(model, device).eval(), tokenizer, os.fspath(name))


def load_embedder(name: str | os.PathLike[str] = "minilm", *, device: str | None = None) -> Embedder:
    """Load a sentence embedder (all-MiniLM-L6-v2 by default): text in, unit vectors of float32 out.

    Names, errors and devices as in `load_lm`.
    """
    from sentence_transformers import SentenceTransformer

    source = locate(name, "embedder")
    _check_files(os.fspath(name))
    device = device or choose_device().value
    try:
        model = SentenceTransformer(source, device="cpu", trust_remote_code=False, local_files_only=Path(source).is_dir())
    except (OSError, ValueError) as error:
        raise _explained(os.fspath(name), error) from error
    return Embedder(_moved(model, device), os.fspath(name))


def unload(lm: LanguageModel) -> None:
    """Give a model's memory back (also on a GPU), as far as nothing else holds on to its tensors.

    After an out-of-memory error the notebook still holds the error's tensors: restart the kernel then.
    """
    import gc

    import torch

    lm.model.to("meta")
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _check_files(name: str) -> None:
    if name in PACKAGED:
        problem = damage(PACKAGED[name], thorough=False)
        if problem:
            raise CourseError(f"The model {name!r} can't be used: {problem}. Run `memcourse fetch` to make it anew.")


def _moved(model: Any, device: str) -> Any:
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA raises AssertionError
        first = str(error).splitlines()[0]
        raise ValueError(f"The device {device!r} can't be used here ({first}). Use 'cpu', or None to choose.") from error


def _explained(name: str, error: Exception) -> CourseError:
    """Say why a hub model or a local folder could not be loaded, in one sentence."""
    text = str(error)
    if "429" in text:
        advice = "The hub answers 'too many requests'. Wait some minutes, or copy its cache folder from a neighbour."
    elif Path(name).is_dir():
        advice = "The folder is incomplete or in another format; it needs config.json, *.safetensors and a tokenizer."
    elif os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        advice = "HF_HUB_OFFLINE is set and the hub's cache does not hold it. Unset it and load it once with a network."
    else:
        advice = "Check the spelling and the network; 'smollm2-135m' works without one."
    first = text.strip().splitlines()[0] if text.strip() else type(error).__name__
    return CourseError(f"The model {name!r} could not be loaded. {advice} ({first})")
