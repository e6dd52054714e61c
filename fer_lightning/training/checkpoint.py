"""From a checkpoint file back to a working classifier, without the code or config of the run that wrote it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_class
from torch import nn

from fer_lightning.errors import UserError


@dataclass(frozen=True)
class TrainedNet:
    """A network with what is needed to use it.

    Attributes:
        net: In evaluation mode, on the CPU.
        classes: Class names in the order of the logits.
        epoch: After which epoch, counted from 1, the weights were saved.
        description: What the run wrote: `model`, `classes`, `protocol`, `preprocessing` and `data`, all plain values.
    """

    net: nn.Module
    classes: tuple[str, ...]
    epoch: int
    description: dict[str, Any]


def load_net(path: Path) -> TrainedNet:
    """Loads a checkpoint of `fer train`, executing no code from the file: all it can name is the class of a network.

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
    checkpoint = _read(path)
    description = checkpoint["description"]
    classes = tuple(description["classes"])
    weights = {name[4:]: value for name, value in checkpoint["state_dict"].items() if name.startswith("net.")}
    net_class, arguments = _net_of(path, description["model"])
    try:
        net = net_class(num_classes=len(classes), **arguments)
        net.load_state_dict(weights)
    except (TypeError, RuntimeError) as error:
        raise UserError(f"checkpoint={path} was written by another version of {net_class.__name__}.") from error
    return TrainedNet(net.eval(), classes, checkpoint["epoch"] + 1, description)


def _read(path: Path) -> dict[str, Any]:
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # whatever the unpickler meets in a file that is no checkpoint
        checkpoint = None
    if not isinstance(checkpoint, dict) or "description" not in checkpoint:
        raise UserError(f"checkpoint={path} is not a checkpoint written by fer train.")
    return checkpoint


def _net_of(path: Path, config: dict[str, Any]) -> tuple[type[nn.Module], dict[str, Any]]:
    """The class of the network and its arguments."""
    arguments = {name: value for name, value in config.items() if name != "_target_"}
    try:
        net_class = get_class(config["_target_"])
    except (ImportError, ValueError):
        net_class = object
    if not issubclass(net_class, nn.Module):
        raise UserError(f"checkpoint={path} wants {config['_target_']}, which is no network that is installed here.")
    # A checkpoint holds every weight already; fetching pretrained ones first would need a network connection.
    if "pretrained" in arguments:
        arguments["pretrained"] = False
    return net_class, arguments
