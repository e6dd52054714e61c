"""From a checkpoint file back to a working classifier, without the code or config of the run that wrote it.

The weights of another run may be what a training starts from.
"""

from __future__ import annotations

import json
import logging
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fer_lightning.data.auxiliary import SIDE_SIZES
from fer_lightning.errors import UserError, printable
from fer_lightning.files import write_whole
from fer_lightning.results.metrics_file import NAME, check_metrics, read_metrics
from fer_lightning.training.checkpoint_files import StoredNet, find_checkpoint, read_safetensors, write_safetensors
from fer_lightning.training.description import check_description
from fer_lightning.training.registry import check_arguments, look_up

_STATE = {"state_dict", "optimizer_states", "lr_schedulers", "loops", "callbacks", "epoch", "global_step"}
RECORD = "record"  # key of the run record in best.ckpt
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedNet:
    """A network with what is needed to use it.

    Attributes:
        net: In evaluation mode, on the CPU.
        classes: Class names in the order of the logits.
        epoch: After which epoch, counted from 1, the weights were saved.
        description: What the run wrote: `model`, `classes`, `protocol`, `preprocessing` and `data`, all plain values.
        record: The `metrics.json` of the run, from the file or, of earlier versions, beside it; else empty.
    """

    net: nn.Module
    classes: tuple[str, ...]
    epoch: int
    description: dict[str, Any]
    record: dict[str, Any] = field(default_factory=dict)


def load_net(path: Path | str) -> TrainedNet:
    """Loads a trained network, executing no code from the file: all it can name is the class of a network.

    Args:
        path: A `.ckpt` file of `fer train`, a run folder (its `checkpoints/best.ckpt` is taken), a `.safetensors` file
            of `fer export`, or the name of a network that ships with the package (see `shipped_nets`).

    Raises:
        UserError: There is no such file, or it is not a checkpoint of this project.
    """
    path = find_checkpoint(path)
    where = printable(f"checkpoint={path}")
    stored = read_safetensors(path) if path.suffix == ".safetensors" else _read(path)
    description = check_description(stored.description, where)
    if not isinstance(stored.epoch, int) or not 0 < stored.epoch < 2**31:
        raise UserError(f"{where}: its epoch must be a positive integer; got {str(stored.epoch)[:40]!r}.")
    record = check_metrics(stored.record, where) if stored.record else {}
    classes = tuple(description["classes"])
    name = str(description["model"].get("_target_")).rpartition(".")[2]
    try:
        # Without memory first: what is described must be as large as the weights that the file holds.
        with torch.device("meta"):
            sketch = _rebuild(description["model"], len(classes), where)
        _check_weights(stored.weights, sketch, path)
        net = _rebuild(description["model"], len(classes), where).eval()
        net.load_state_dict(stored.weights)
        _check_logits(net, description["preprocessing"], len(classes))
    except UserError as error:
        raise error if str(error).startswith(where) else UserError(f"{where}: {error}") from None
    except Exception as error:  # options and weights are a stranger's: a constructor may raise whatever it likes
        raise UserError(
            f"{where} was written by another version of {name}, or is damaged: its options and weights do not fit."
        ) from error
    if broken := [part for part, value in net.state_dict().items() if not value.isfinite().all()]:
        raise UserError(
            f"{where}: weights must be finite numbers, and {broken[0]} holds NaN or infinity: its training diverged; "
            "train it again with a lower optimizer.lr."
        )
    return TrainedNet(net, classes, stored.epoch, description, record)


def add_record(path: Path, record: Mapping[str, Any]) -> None:
    """Puts the record of a run into its `best.ckpt`, so that the temperature and the scores go where the file goes.

    Args:
        path: The checkpoint; it is replaced as a whole.
        record: Content of `metrics.json`.
    """
    checkpoint = read_checkpoint(path)
    assert checkpoint is not None
    checkpoint[RECORD] = json.loads(json.dumps(record))  # plain values, which any later torch.load accepts
    write_whole(path, lambda unfinished: torch.save(checkpoint, unfinished))


def check_last(folder: Path, classifier: nn.Module) -> None:
    """Refuses to continue a run whose checkpoints are damaged, or lack the best epoch, before anything is trained.

    Args:
        folder: `checkpoints/` of the run; it holds `last.ckpt`.
        classifier: What is continued.

    Raises:
        UserError: It names the file.
    """
    path, best = folder / "last.ckpt", folder / "best.ckpt"
    last = read_checkpoint(path) or {}
    again = f"remove {folder} to start this run again from its beginning."
    state, callbacks = last.get("state_dict"), last.get("callbacks")
    if not _STATE <= last.keys() or not isinstance(state, dict) or not isinstance(callbacks, dict):
        raise UserError(f"{path} is damaged, so the run cannot go on from there: {again}")
    own = {name: value.shape for name, value in classifier.state_dict().items()}
    if {name: getattr(value, "shape", None) for name, value in state.items()} != own:
        raise UserError(f"{path} does not fit the config of its run, so it cannot go on from there: {again}")
    states = (value for name, value in callbacks.items() if str(name).startswith("BestCheckpoint"))
    chosen = any(isinstance(value, dict) and value.get("best_model_score") is not None for value in states)
    if chosen and read_checkpoint(best) is None:
        raise UserError(
            f"{best} is {'damaged' if best.is_file() else 'missing'}: it holds the weights of the best epoch so far, "
            f"without which the run cannot be finished; put it back, or {again}"
        )


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


def _rebuild(model: Any, num_classes: int, where: str) -> nn.Module:
    """The network that a description names, without its weights; its members are networks of the same kind."""
    if not isinstance(model, dict):
        raise UserError(f"{where}: the description of a net must have names and values; got {str(model)[:40]!r}.")
    net = look_up(model.get("_target_"), "model", nn.Module, where)
    arguments = {name: value for name, value in model.items() if name != "_target_"}
    # A checkpoint holds every weight already; fetching pretrained ones first would need a network connection.
    if "pretrained" in arguments:
        arguments["pretrained"] = "none"
    if isinstance(members := arguments.get("members"), list):
        arguments["members"] = [_rebuild(member, num_classes, where) for member in members]
    check_arguments(net, arguments, where)
    return net(num_classes=num_classes, **arguments)


def _check_weights(weights: Mapping[str, Any], net: nn.Module, path: Path) -> None:
    """Refuses weights that are not those of a network, and those that take more memory than the file has bytes.

    Raises:
        ValueError: It says which.
    """
    own = net.state_dict()
    if own.keys() != weights.keys():
        raise ValueError(f"{min(own.keys() ^ weights.keys())} is only on one side")
    for name, value in weights.items():
        if not isinstance(value, Tensor) or value.layout != torch.strided or value.device.type != "cpu":
            raise ValueError(f"{name} is not a tensor")
        if value.shape != own[name].shape or _kind(value) != _kind(own[name]):
            raise ValueError(f"{name} is {value.dtype} {tuple(value.shape)}")
    if sum(value.numel() * value.element_size() for value in weights.values()) > path.stat().st_size:
        raise ValueError("tensors overlap")


def _kind(value: Tensor) -> tuple[bool, bool]:
    """Whether numbers are floating-point and whether they are complex: another kind would lose a part when copied."""
    return value.is_floating_point(), value.is_complex()


def _check_logits(net: nn.Module, preprocessing: Mapping[str, Any], num_classes: int) -> None:
    """Lets a network compute one black image.

    Raises:
        ValueError: It does not return a logit for each class.
    """
    size = preprocessing["image_size"]
    inputs = [torch.zeros(1, preprocessing["channels"], size, size)]
    if preprocessing["side"] != "none":
        inputs.append(torch.zeros(1, SIDE_SIZES[preprocessing["side"]]))
    with torch.no_grad():
        logits = net(*inputs)
    if logits.shape != (1, num_classes):
        raise ValueError(f"the net returns {tuple(logits.shape)} for one image and {num_classes} classes")


def _read(path: Path) -> StoredNet:
    checkpoint = read_checkpoint(path) or {}
    description, state, epoch = (checkpoint.get(name) for name in ("description", "state_dict", "epoch"))
    if not isinstance(description, dict) or not isinstance(state, dict) or not isinstance(epoch, int):
        raise UserError(f"checkpoint={path} is not a checkpoint written by fer train.")
    weights = {name[4:]: value for name, value in state.items() if isinstance(name, str) and name.startswith("net.")}
    return StoredNet(weights, description, epoch + 1, checkpoint.get(RECORD) or _record_of(path))


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """The content of a `.ckpt` file, none of which is code; None where it is damaged or another program's."""
    try:
        with zipfile.ZipFile(path) as archive:  # uncompressed, as PyTorch writes it: not a bomb
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                return None
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # whatever the unpickler meets in a file that is no checkpoint
        return None
    return found if isinstance(found, dict) else None


def _record_of(path: Path) -> Any:
    """The record of the run that a checkpoint lies in, which is about its best one."""
    record = path.resolve().parents[1] / NAME
    return read_metrics(record) if path.name == "best.ckpt" and record.is_file() else {}


def start_from(net: nn.Module, path: Path, num_classes: int) -> list[str]:
    """Gives a network the weights of a trained one, of the same architecture and perhaps for other classes.

    Args:
        net: Changed in place.
        path: What `load_net` takes.
        num_classes: K of `net`. Tensors that differ in nothing but the number of classes, which is their first
            dimension, keep the values they were drawn with.

    Returns:
        Names of the tensors that were kept: none where both know equally many classes.

    Raises:
        UserError: There is no such checkpoint, or the architectures differ.
    """
    trained = load_net(path)
    given, own = trained.net.state_dict(), net.state_dict()
    other = {name for name in own if name in given and given[name].shape != own[name].shape}
    head = [
        name
        for name in own
        if name in other
        and len(given[name]) == len(trained.classes)
        and own[name].shape == (num_classes, *given[name].shape[1:])
    ]
    strange = sorted((own.keys() ^ given.keys()) | (other - set(head)))
    if strange:
        raise UserError(
            f"init={path} is another architecture ({len(strange)} tensors do not fit, such as {strange[0]}): use the "
            "model options of that run."
        )
    net.load_state_dict({name: own[name] if name in head else value for name, value in given.items()})
    log.info("Going on from %s; %s", path, f"drawn anew: {', '.join(head)}" if head else "its head fits too")
    return head
