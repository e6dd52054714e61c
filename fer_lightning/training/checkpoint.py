"""From a checkpoint file back to a working classifier, without the code or config of the run that wrote it."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from torch import nn

from fer_lightning.errors import UserError


@dataclass(frozen=True)
class TrainedNet:
    """A network with what is needed to use it.

    Attributes:
        net: In evaluation mode, on the CPU.
        classes: Class names in the order of the logits.
        description: What the run wrote: `model`, `classes`, `protocol`, `preprocessing` and `data`, all plain values.
    """

    net: nn.Module
    classes: tuple[str, ...]
    description: dict[str, Any]


def load_net(path: Path) -> TrainedNet:
    """Loads a checkpoint of `fer train`, executing no code from the file.

    Args:
        path: A `.ckpt` file, or a run folder (its `checkpoints/best.ckpt` is taken).

    Raises:
        UserError: There is no such file, or it is not a checkpoint of this project.
    """
    path = path.expanduser()
    if path.is_dir():
        path = path / "checkpoints" / "best.ckpt"
    if not path.is_file():
        raise UserError(f"checkpoint={path} does not exist: give a .ckpt file or the folder of a finished run.")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        description = checkpoint["description"]
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError):
        raise UserError(f"checkpoint={path} is not a checkpoint written by fer train.") from None
    classes = tuple(description["classes"])
    # A checkpoint holds every weight already; fetching pretrained ones first would need a network connection.
    config = {**description["model"], **({"pretrained": False} if "pretrained" in description["model"] else {})}
    net = instantiate(config, num_classes=len(classes), _convert_="all")
    weights = {name[4:]: value for name, value in checkpoint["state_dict"].items() if name.startswith("net.")}
    net.load_state_dict(weights)
    return TrainedNet(net.eval(), classes, description)
