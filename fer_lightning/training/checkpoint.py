"""From a checkpoint file back to a working classifier, without the code or config of the run that wrote it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_class
from torch import nn

from fer_lightning.errors import UserError
from fer_lightning.training.safetensors_file import DESCRIBED, StoredNet, read_safetensors, write_safetensors

WEIGHTS = Path(__file__).parents[1] / "weights"  # of the networks that ship with the package


@dataclass(frozen=True)
class TrainedNet:
    """A network with what is needed to use it.

    Attributes:
        net: In evaluation mode, on the CPU.
        classes: Class names in the order of the logits.
        epoch: After which epoch, counted from 1, the weights were saved.
        description: What the run wrote: `model`, `classes`, `protocol`, `preprocessing` and `data`, all plain values.
        record: The `metrics.json` of the run, where it lies beside the checkpoint or in the file; else empty.
    """

    net: nn.Module
    classes: tuple[str, ...]
    epoch: int
    description: dict[str, Any]
    record: dict[str, Any] = field(default_factory=dict)


def load_net(path: Path) -> TrainedNet:
    """Loads a trained network, executing no code from the file: all it can name is the class of a network.

    Args:
        path: A `.ckpt` file of `fer train`, a run folder (its `checkpoints/best.ckpt` is taken), a `.safetensors` file
            of `fer export`, or the name of a network that ships with the package (see `shipped_nets`).

    Raises:
        UserError: There is no such file, or it is not a checkpoint of this project.
    """
    path = _located(path.expanduser())
    stored = read_safetensors(path) if path.suffix == ".safetensors" else _read(path)
    # Runs from before there were these options did without them.
    preprocessing = {"align": False, "side": "none", **stored.description["preprocessing"]}
    description = {**stored.description, "preprocessing": preprocessing}
    classes = tuple(description["classes"])
    try:
        net = _rebuild(description["model"], len(classes))
        net.load_state_dict(stored.weights)
    except (TypeError, RuntimeError) as error:
        name = description["model"]["_target_"].rpartition(".")[2]
        raise UserError(f"checkpoint={path} was written by another version of {name}.") from error
    return TrainedNet(net.eval(), classes, stored.epoch, description, stored.record)


def save_net(trained: TrainedNet, path: Path, half: bool) -> None:
    """Writes a trained network as safetensors, from which `load_net` brings it back.

    Args:
        trained: The network.
        path: The file to fill.
        half: See `write_safetensors`.

    Raises:
        UserError: A weight is too large for float16.
    """
    stored = StoredNet(trained.net.state_dict(), trained.description, trained.epoch, trained.record)
    write_safetensors(stored, path, half)


def shipped_nets() -> tuple[str, ...]:
    """Names of the trained networks that the package carries."""
    return tuple(sorted(path.stem for path in WEIGHTS.glob("*.safetensors")))


def _located(path: Path) -> Path:
    """The file that a user means; a run folder that bears the name of a shipped network comes before it."""
    file = path / "checkpoints" / "best.ckpt" if path.is_dir() else path
    if not file.is_file() and str(path) in shipped_nets():
        return WEIGHTS / f"{path}.safetensors"
    if not file.is_file():
        raise UserError(
            f"checkpoint={file} does not exist: give the folder of a finished run, a .ckpt or .safetensors file, or "
            f"one of the networks that ship: {', '.join(shipped_nets())}."
        )
    return file


def _rebuild(model: Mapping[str, Any], num_classes: int) -> nn.Module:
    """The network that a description names, without its weights; its members are networks of the same kind."""
    arguments = {name: value for name, value in model.items() if name != "_target_"}
    # A checkpoint holds every weight already; fetching pretrained ones first would need a network connection.
    if "pretrained" in arguments:
        arguments["pretrained"] = "none"
    if "members" in arguments:
        arguments["members"] = [_rebuild(member, num_classes) for member in arguments["members"]]
    return named_class(model["_target_"], nn.Module)(num_classes=num_classes, **arguments)


def _read(path: Path) -> StoredNet:
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # whatever the unpickler meets in a file that is no checkpoint
        checkpoint = None
    description = checkpoint.get("description") if isinstance(checkpoint, dict) else None
    if not isinstance(description, dict) or not DESCRIBED <= description.keys():
        raise UserError(f"checkpoint={path} is not a checkpoint written by fer train.")
    weights = {name[4:]: value for name, value in checkpoint["state_dict"].items() if name.startswith("net.")}
    return StoredNet(weights, description, checkpoint["epoch"] + 1, _record_of(path))


def _record_of(path: Path) -> dict[str, Any]:
    """The record of the run that a checkpoint lies in, which is about its best one."""
    record = path.resolve().parents[1] / "metrics.json"
    return json.loads(record.read_text()) if path.name == "best.ckpt" and record.is_file() else {}


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
