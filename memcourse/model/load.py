"""Loading a language model or an embedder, from the course's cache, a local folder or the hub."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memcourse.errors import CourseError
from memcourse.model.catalog import PACKAGED, locate
from memcourse.model.device import as_dtype, choose_dtype, usable_device
from memcourse.model.embedder import Embedder
from memcourse.model.fetch import damage
from memcourse.model.hub import hub_folder, too_many_requests
from memcourse.model.lm import LanguageModel

if TYPE_CHECKING:
    import torch

OPTIONS: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}


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

    source = _source(name, "lm")
    device = usable_device(device)
    number_format = as_dtype(dtype or choose_dtype(device).value)
    try:
        folder = _local(source)
        tokenizer = AutoTokenizer.from_pretrained(folder, **OPTIONS)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=number_format, use_safetensors=True, **OPTIONS)
    except Exception as error:  # a broken file can raise anything in transformers
        raise _explained(os.fspath(name), error) from error
    return LanguageModel(model.to(device).eval(), tokenizer, os.fspath(name))


def load_embedder(name: str | os.PathLike[str] = "minilm", *, device: str | None = None) -> Embedder:
    """Load a sentence embedder (all-MiniLM-L6-v2 by default): text in, unit vectors of float32 out.

    Names, errors and devices as in `load_lm`.
    """
    from sentence_transformers import SentenceTransformer

    source = _source(name, "embedder")
    device = usable_device(device)
    try:
        model = SentenceTransformer(_local(source), device=device, **OPTIONS)
    except Exception as error:
        raise _explained(os.fspath(name), error) from error
    return Embedder(model, os.fspath(name))


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


def _source(name: str | os.PathLike[str], kind: str) -> str:
    """A local folder or a hub name; the folder of a course model is checked first."""
    source = locate(name, kind)
    if os.fspath(name) in PACKAGED:
        problem = damage(PACKAGED[os.fspath(name)], thorough=False)
        if problem:
            raise CourseError(f"The model {name!r} can't be used: {problem}. Run `memcourse fetch` to make it anew.")
    return source


def _local(source: str) -> str:
    return source if Path(source).is_dir() else hub_folder(source)


def _explained(name: str, error: Exception) -> CourseError:
    """Say why a hub model or a local folder could not be loaded, in one sentence."""
    if too_many_requests(error):
        advice = "The hub answers 'too many requests'. Wait some minutes, or copy its cache folder from a neighbour."
    elif Path(name).is_dir():
        advice = "The folder is incomplete or in another format; it needs config.json, *.safetensors and a tokenizer."
    elif os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        advice = "HF_HUB_OFFLINE is set and the hub's cache does not hold it. Unset it and load it once with a network."
    else:
        advice = "Check the spelling and the network; 'smollm2-135m' works without one."
    text = str(error).strip()
    first = text.splitlines()[0] if text else type(error).__name__
    return CourseError(f"The model {name!r} could not be loaded. {advice} ({first})")
