"""Models from the hub: used as they lie in the hub's own cache, without any request, or else downloaded whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

SMALL = ["*.json", "*.txt", "*.model", "*.jinja"]
WEIGHTS = ["*.safetensors"]  # never pickles, never code
OTHER_FORMATS = ["onnx/*", "openvino/*", "original/*", "consolidated*"]  # the same weights once more


def hub_folder(name: str) -> str:
    """The local folder of a hub model "owner/name"; a second call, or one without a network, asks nobody.

    Raises what the hub's client raises (within seconds when there is no network and nothing in the cache).
    """
    from huggingface_hub import snapshot_download

    try:
        kept = snapshot_download(
            name, allow_patterns=[*SMALL, *WEIGHTS], ignore_patterns=OTHER_FORMATS, local_files_only=True
        )
        if _weights_are_whole(Path(kept)):
            return kept
    except (OSError, ValueError):  # not there, or only in part
        pass
    for patterns in (SMALL, WEIGHTS):  # weights last: where they are, nothing is missing
        folder = snapshot_download(name, allow_patterns=patterns, ignore_patterns=OTHER_FORMATS, max_workers=1)
    return folder


def _weights_are_whole(folder: Path) -> bool:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        files = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    else:
        files = {"model.safetensors"}
    return all((folder / file).is_file() for file in files)


def too_many_requests(error: BaseException) -> bool:
    """Whether the hub refused because too many requests came from this address (HTTP status 429)."""
    return any(getattr(getattr(e, "response", None), "status_code", None) == 429 for e in _chain(error))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
