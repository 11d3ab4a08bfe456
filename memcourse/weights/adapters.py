"""Adapters on disk in PEFT's own format: a folder with a configuration and the tensors, tied to the base by its hash."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath
from typing import Any

import torch
from torch import Tensor

from memcourse.errors import CourseError
from memcourse.model.lm import LanguageModel
from memcourse.model.size import Shape
from memcourse.weights.lora import block_number, linear_layers, lora_layers, lora_weights, put_lora
from memcourse.weights.prefix import KVPrefix

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_BEFORE, _A, _B, _FLAT = "base_model.model.", ".lora_A.weight", ".lora_B.weight", "prompt_embeddings"
# Options of PEFT that we follow, or that decide nothing once the tensors are there; any other must have its default.
_COMMON = {"task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode"}
_FOLLOWED = {
    "LORA": {
        "r", "lora_alpha", "rank_pattern", "alpha_pattern", "target_modules", "exclude_modules", "layers_to_transform",
        "layers_pattern", "lora_dropout", "init_lora_weights", "loftq_config", "eva_config", "runtime_config",
    },
    "PREFIX_TUNING": {
        "num_virtual_tokens", "token_dim", "num_layers", "num_attention_heads", "encoder_hidden_size", "init_weights",
        "prefix_projection", "num_transformer_submodules",
    },
}  # fmt: skip
_FOLLOWED["CARTRIDGE"] = _FOLLOWED["PREFIX_TUNING"] | {"num_frozen_tokens"}
_STARTS = (None, True, False, "gaussian", "orthogonal", "eva")  # the others of PEFT change the base's own weights too


def base_sha256(lm: LanguageModel) -> str:
    """The SHA-256 over name, shape and value of the base's parameters, in order of name, as if no LoRA were there.

    Values count as float32, so a base loaded in the format it is stored in and one loaded in float32 are the same base.
    """
    adapted, own = lora_layers(lm.model), {}
    for name, weight in lm.model.named_parameters():
        layer, _, part = name.rpartition(".")
        outer = layer.removesuffix(".layer")
        if layer not in adapted:  # else it is an adapter's own
            own[f"{outer}.{part}" if outer in adapted else name] = weight
    digest = hashlib.sha256()
    for name, weight in sorted(own.items()):
        digest.update(f"{name} {tuple(weight.shape)}\n".encode())
        digest.update(weight.detach().to("cpu", torch.float32).contiguous().numpy().data)
    return digest.hexdigest()


def save_adapter(folder: Path | str, lm: LanguageModel, prefix: KVPrefix | None = None, dtype: str = "float32") -> Path:
    """Write the LoRA of lm.model, or a prefix, as PEFT would, whole or not at all; returns the folder.

    `peft.PeftModel.from_pretrained` reads it, and so does every server that reads PEFT's adapters. A prefix with frozen
    slots is PEFT's cartridge. The hash of the base goes with the tensors, so that no other base takes them.

    Args:
        folder: new or empty, or an adapter's folder, which is replaced once the new one is complete.
        prefix: written in place of LoRA.
        dtype: in which numbers are stored: "float32", "bfloat16" or "float16".

    Raises:
        ValueError: nothing to save, both LoRA and a prefix, a prefix of another model or one that begins above the first
            layer (PEFT's layout can't say so), or numbers that this dtype can't hold.
        CourseError: the folder holds something else, or can't be written.
    """
    if dtype not in DTYPES:
        raise ValueError(f"Unknown dtype {dtype!r}; use 'float32', 'bfloat16' or 'float16'.")
    if (prefix is None) == (not lora_layers(lm.model)):
        raise ValueError("An adapter folder holds one thing: the LoRA of lm.model (see add_lora), or a prefix without LoRA.")
    if prefix is None:
        config = _lora_config(lm)
        tensors = {_BEFORE + name: tensor for name, tensor in lora_weights(lm.model).items()}
    else:
        tensors = {_FLAT: prefix.flat().detach()}
        config = _prefix_config(lm, tensors[_FLAT], prefix.frozen)
    tensors = {name: tensor.to("cpu", DTYPES[dtype]).contiguous() for name, tensor in tensors.items()}
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise ValueError(f"The adapter has numbers that {dtype} can't hold (infinite, or not a number): it is not saved.")
    text = json.dumps(config, indent=2, sort_keys=True)
    folder = Path(folder).resolve()
    with _folder_written_whole(folder) as temporary:
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        try:
            save_file(tensors, temporary / WEIGHTS, metadata={"format": "pt", "base_sha256": base_sha256(lm)})
        except SafetensorError as error:  # a full disk, say
            raise OSError(str(error)) from error
        (temporary / CONFIG).write_text(text, encoding="utf-8")
    return folder


def load_adapter(folder: Path | str, lm: LanguageModel) -> KVPrefix | None:
    """Put the LoRA of a folder into lm.model, in place, as `add_lora` would; a prefix is returned instead.

    Reads what `save_adapter` or PEFT wrote. All is checked before the model is touched. PEFT itself doesn't write the
    base's hash; then names and shapes must fit.

    Raises:
        CourseError: no such folder, damaged or missing files, another kind of adapter or an option of PEFT that is not
            followed here, another base, or a model that has LoRA layers.
    """
    folder = Path(folder)
    config, tensors, sha256 = _read(folder)
    kind = _kind(folder, config)
    if lora_layers(lm.model):
        raise CourseError("This model has LoRA layers already: call remove_lora(lm.model) before loading an adapter.")
    try:
        strengths = _strengths(folder, config, tensors, lm) if kind == "LORA" else {}
        prefix = None if kind == "LORA" else _prefix(config, tensors, lm)
    except (KeyError, TypeError, ValueError, AttributeError, re.error) as error:
        raise CourseError(f"The adapter in {folder} is damaged, or not one for {lm.name} ({error}).") from error
    if sha256 not in (None, base_sha256(lm)):
        raise CourseError(f"The adapter in {folder} was made for another base than {lm.name}: its weights differ.")
    if prefix is not None:
        return prefix
    with torch.random.fork_rng():  # what starts at random is overwritten; the caller's dice stay as they are
        put_lora(lm.model, strengths)
    with torch.no_grad():
        for name, weight in lora_weights(lm.model).items():
            weight.copy_(tensors[_BEFORE + name])
    return None


def adapter_bytes(folder: Path | str) -> int:
    """Bytes of the two files of an adapter; raises CourseError where one is missing."""
    return sum(_existing(Path(folder), name).stat().st_size for name in (CONFIG, WEIGHTS))


def _lora_config(lm: LanguageModel) -> dict[str, Any]:
    """PEFT's configuration of the LoRA in lm.model; what most layers have stands for all, the others are listed."""
    from peft import LoraConfig
    from peft.tuners.tuners_utils import check_target_module_exists

    adapted = lora_layers(lm.model)
    rank = Counter(layer.rank for layer in adapted.values()).most_common(1)[0][0]
    alpha = Counter(layer.alpha for layer in adapted.values()).most_common(1)[0][0]
    options: dict[str, Any] = {
        "r": rank, "lora_alpha": _plain(alpha), "inference_mode": True,
        "rank_pattern": {name: layer.rank for name, layer in adapted.items() if layer.rank != rank},
        "alpha_pattern": {name: _plain(layer.alpha) for name, layer in adapted.items() if layer.alpha != alpha},
    }  # fmt: skip
    last = sorted({name.split(".")[-1] for name in adapted})
    blocks = sorted({number for name in adapted if (number := block_number(name)) is not None})
    whole: list[dict[str, Any]] = [{"target_modules": last}]
    if blocks:
        whole.append({"target_modules": last, "layers_to_transform": blocks})
    modules = [name for name, _ in lm.model.named_modules() if name.rpartition(".")[0] not in adapted]
    for where in [*whole, {"target_modules": sorted(adapted)}]:  # the shortest by which PEFT finds just these
        config = LoraConfig(**_about(lm), **options, **where)
        if {name for name in modules if check_target_module_exists(config, name)} == set(adapted):
            break
    return {**config.to_dict(), "target_modules": where["target_modules"]}


def _prefix_config(lm: LanguageModel, flat: Tensor, frozen: int) -> dict[str, Any]:
    """PEFT's configuration of a prefix in its layout, (slots, layers * 2 * KV heads * head dim)."""
    from peft import CartridgeConfig, PrefixTuningConfig

    shape = Shape.of(lm.model.config)
    width, (slots, numbers) = shape.kv_heads * shape.head_dim, flat.shape
    if numbers != (own := shape.layers * 2 * width):
        raise ValueError(f"A slot of {lm.name} has {own:,} numbers; this prefix, with {numbers:,}, is of another model.")
    options: dict[str, Any] = {
        **_about(lm), "num_virtual_tokens": slots, "token_dim": width, "num_layers": shape.layers,
        "num_attention_heads": shape.kv_heads, "num_transformer_submodules": 1, "inference_mode": True,
    }  # fmt: skip
    if frozen:
        return CartridgeConfig(**options, num_frozen_tokens=frozen).to_dict()
    return PrefixTuningConfig(**options, encoder_hidden_size=width).to_dict()


def _about(lm: LanguageModel) -> dict[str, Any]:
    """What every configuration says; a folder's name stands without its path, which is nobody's business."""
    name = str(lm.name)
    if Path(name).is_absolute() or PureWindowsPath(name).is_absolute() or name[:1] in ("~", ".") or Path(name).is_dir():
        name = PureWindowsPath(name).name
    return {"task_type": "CAUSAL_LM", "base_model_name_or_path": name}


def _plain(number: float) -> float:
    return int(number) if float(number).is_integer() else float(number)


def _existing(folder: Path, name: str) -> Path:
    """A file of an adapter's folder, which must be there."""
    if not folder.is_dir():
        raise CourseError(f"There is no folder {folder}: save an adapter there first.")
    if not (folder / name).is_file():
        raise CourseError(f"The folder {folder} holds no complete adapter: {name} is missing (other formats are not read).")
    return folder / name


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor], str | None]:
    """Configuration, tensors and the hash of the base, if it is told."""
    from safetensors import SafetensorError, safe_open

    paths = _existing(folder, CONFIG), _existing(folder, WEIGHTS)
    try:
        config = json.loads(paths[0].read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError(f"{CONFIG} holds no options")
        with safe_open(paths[1], framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return config, tensors, (file.metadata() or {}).get("base_sha256")
    except (SafetensorError, OSError, ValueError) as error:
        raise CourseError(f"The adapter in {folder} is damaged ({error}): save it again.") from error


def _kind(folder: Path, config: Mapping[str, Any]) -> str:
    """The kind of an adapter, if it is one of ours and has no option that would change what the tensors mean."""
    from peft import CartridgeConfig, LoraConfig, PrefixTuningConfig

    known = {"LORA": LoraConfig, "PREFIX_TUNING": PrefixTuningConfig, "CARTRIDGE": CartridgeConfig}
    kind = config.get("peft_type")
    if not isinstance(kind, str) or kind not in known:
        raise CourseError(f"The adapter in {folder} is of the kind {kind!r}; only {', '.join(known)} can be loaded.")
    usual = known[kind]().to_dict()
    foreign = sorted(
        key for key, value in config.items()
        if key not in _COMMON | _FOLLOWED[kind] and value not in (None, False, "none", [], {}) and value != usual.get(key)
    )  # fmt: skip
    if kind == "LORA" and config.get("init_lora_weights") not in _STARTS:
        foreign.append("init_lora_weights")
    if foreign:
        raise CourseError(f"The adapter in {folder} uses options that can't be followed here: {', '.join(foreign)}.")
    return kind


def _strengths(
    folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor], lm: LanguageModel
) -> dict[str, tuple[int, float]]:
    """Rank and alpha of each layer that a LoRA file adapts, once every tensor is found to fit the model."""
    from peft.utils.other import get_pattern_key

    linear = linear_layers(lm.model)
    names = {key.removesuffix(_A).removesuffix(_B).removeprefix(_BEFORE) for key in tensors}
    if not names or set(tensors) != {_BEFORE + name + part for name in names for part in (_A, _B)}:
        raise ValueError("its tensors are not pairs of lora_A and lora_B")
    ranks: dict[str, Any] = config.get("rank_pattern") or {}
    alphas: dict[str, Any] = config.get("alpha_pattern") or {}
    found = {}
    for name in names:
        a, b = (tuple(tensors[_BEFORE + name + part].shape) for part in (_A, _B))
        rank = int(ranks.get(get_pattern_key(list(ranks), name), config["r"]))
        if (a[0], b[-1]) != (rank, rank) or rank < 1:
            raise ValueError(f"{name} has another rank than {CONFIG} says")
        layer = linear.get(name)
        if layer is None or (a, b) != ((rank, layer.in_features), (layer.out_features, rank)):
            raise CourseError(f"The adapter in {folder} was made for another base than {lm.name}: {name} doesn't fit.")
        found[name] = rank, float(alphas.get(get_pattern_key(list(alphas), name), config["lora_alpha"]))
    return {name: found[name] for name in linear if name in found}


def _prefix(config: Mapping[str, Any], tensors: Mapping[str, Tensor], lm: LanguageModel) -> KVPrefix:
    """The prefix of a file, if its tensor fits the configuration and the model."""
    slots = int(config["num_virtual_tokens"])
    if set(tensors) != {_FLAT} or len(tensors[_FLAT]) != slots:
        raise ValueError(f"its tensors are not the {slots} slots that {CONFIG} says")
    frozen = int(config["num_frozen_tokens"]) if config["peft_type"] == "CARTRIDGE" else 0
    return KVPrefix.from_flat(tensors[_FLAT], lm, frozen)


@contextmanager
def _folder_written_whole(folder: Path) -> Iterator[Path]:
    """Give an empty folder beside the target; it takes the target's place if the block succeeds, else it is deleted."""
    mark = uuid.uuid4().hex[:8]
    temporary, old = folder.with_name(f".{folder.name}.{mark}.part"), folder.with_name(f".{folder.name}.{mark}.old")
    try:
        if folder.exists() and not (folder.is_dir() and {path.name for path in folder.iterdir()} <= {CONFIG, WEIGHTS}):
            raise CourseError(f"{folder} holds other files than an adapter's: choose another folder, or empty it.")
        temporary.mkdir(parents=True)
        yield temporary
        if folder.exists():
            folder.rename(old)
        try:
            temporary.rename(folder)
        except BaseException:
            if old.exists():
                old.rename(folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise CourseError(f"Cannot write to {folder.parent} ({error.strerror or error}): choose another folder.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
