"""What a training needs to go on after an interruption, in one file that is either whole or not there."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from memcourse.errors import CourseError
from memcourse.files import written_whole


class Checkpoint:
    """The trained weights, the optimizer's moments, the losses so far and torch's random state, as safetensors."""

    def __init__(self, path: Path | None, model: nn.Module, optimizer: torch.optim.Optimizer, recipe: Any) -> None:
        self.path = path
        self.weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self.optimizer = optimizer
        layout = [(name, list(weight.shape)) for name, weight in self.weights.items()]
        plain = json.dumps([layout, recipe], default=lambda value: value.tolist())  # rates may be an array
        self.training = hashlib.sha256(plain.encode("utf-8")).hexdigest()

    def resume(self) -> list[Tensor]:
        """Put back what the file holds and return the losses so far; an empty list where there is no file.

        Raises:
            CourseError: the file is damaged, or of another model or recipe, or its folder can't be written.
        """
        if self.path is None:
            return []
        if not self.path.is_file():
            probe = self.path.with_name(f"{self.path.name}.{os.getpid()}.probe")  # several processes may look at once
            with written_whole(probe):
                pass  # an hour's training must not find out at its end that its folder can't be written
            probe.unlink()
            return []
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, framework="pt") as file:
                training = file.metadata()["training"]
                stored = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, KeyError, TypeError) as error:
            raise CourseError(f"The checkpoint {self.path} is damaged: delete it and train again.") from error
        if training != self.training:
            raise CourseError(
                f"The checkpoint {self.path} is of another model or recipe: delete it, or give this training another name."
            )
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(stored[f"weight/{name}"])
                self.optimizer.state[weight] = {
                    part: stored[f"{part}/{name}"].to(weight.device) for part in ("step", "exp_avg", "exp_avg_sq")
                }
        torch.set_rng_state(stored["random"])
        return list(stored["losses"].to(next(iter(self.weights.values())).device))

    def write(self, losses: list[Tensor]) -> None:
        """Write everything to a temporary name and rename it; without a path, do nothing.

        Raises:
            CourseError: the folder can't be written or the disk is full.
        """
        if self.path is None:
            return
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        tensors = {"losses": torch.stack(losses).cpu(), "random": torch.get_rng_state()}
        for name, weight in self.weights.items():
            tensors[f"weight/{name}"] = weight.detach().cpu().contiguous()
            tensors |= {f"{part}/{name}": value.cpu().contiguous() for part, value in self.optimizer.state[weight].items()}
        with written_whole(self.path) as temporary:
            try:
                save_file(tensors, temporary, metadata={"training": self.training})
            except SafetensorError as error:  # a full disk, say
                raise OSError(str(error)) from error
