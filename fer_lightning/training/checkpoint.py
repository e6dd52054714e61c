"""From a checkpoint file back to a working classifier, without the code or config of the run that wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_class
from torch import nn

from fer_lightning.errors import UserError

_DESCRIBED = {"model", "classes", "protocol", "preprocessing", "data"}


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
    try:
        net = _rebuild(description["model"], len(classes))
        net.load_state_dict(weights)
    except (TypeError, RuntimeError) as error:
        name = description["model"]["_target_"].rpartition(".")[2]
        raise UserError(f"checkpoint={path} was written by another version of {name}.") from error
    return TrainedNet(net.eval(), classes, checkpoint["epoch"] + 1, description)


def _rebuild(model: Mapping[str, Any], num_classes: int) -> nn.Module:
    """The network that a description names, without its weights; its members are networks of the same kind."""
    arguments = {name: value for name, value in model.items() if name != "_target_"}
    # A checkpoint holds every weight already; fetching pretrained ones first would need a network connection.
    if "pretrained" in arguments:
        arguments["pretrained"] = "none"
    if "members" in arguments:
        arguments["members"] = [_rebuild(member, num_classes) for member in arguments["members"]]
    return named_class(model["_target_"], nn.Module)(num_classes=num_classes, **arguments)


def _read(path: Path) -> dict[str, Any]:
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # whatever the unpickler meets in a file that is no checkpoint
        checkpoint = None
    description = checkpoint.get("description") if isinstance(checkpoint, dict) else None
    if not isinstance(description, dict) or not _DESCRIBED <= description.keys():
        raise UserError(f"checkpoint={path} is not a checkpoint written by fer train.")
    return checkpoint


def named_class(name: str, base: type) -> type:
    """Finds a class that a checkpoint names, and nothing but a class of the expected kind.

    Args:
        name: Dotted path of the class.
        base: What it must be.

    Raises:
        UserError: No such class is installed.
    """
    try:
        found = get_class(name)
    except (ImportError, ValueError):
        found = object
    if not issubclass(found, base):
        raise UserError(f"The checkpoint wants {name}, which is no {base.__name__} that is installed here.")
    return found
