"""Trained networks from checkpoint files, without the code or config of the run that wrote them.

`load_net` and `save_net` read and write a network; `start_from` initialises a training with the weights of another run.
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
from fer_lightning.models.affect import add_affect_head
from fer_lightning.results.metrics_schema import NAME, check_metrics, read_metrics
from fer_lightning.training.description import check_description
from fer_lightning.training.registry import check_arguments, look_up
from fer_lightning.training.safetensors_weights import StoredNet, find_checkpoint, read_safetensors, write_safetensors

_STATE = {"state_dict", "optimizer_states", "lr_schedulers", "loops", "callbacks", "epoch", "global_step"}
RECORD = "record"  # key of the run record in best.ckpt
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedNet:
    """A trained network and what is needed to use it.

    Attributes:
        net: The network in evaluation mode, on the CPU.
        classes: Class names in the order of the logits.
        epoch: Epoch, counted from 1, after which the weights were saved.
        description: Description that the run wrote: `model`, `classes`, `protocol`, `preprocessing` and `data`, as
            plain values.
        record: The `metrics.json` of the run, from the file or, for earlier versions, from its run folder; or empty.
    """

    net: nn.Module
    classes: tuple[str, ...]
    epoch: int
    description: dict[str, Any]
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def temperature(self) -> float:
        """Temperature by which the logits are divided; 1 where none was fitted."""
        return float(self.record.get("calibration", {}).get("temperature", 1.0))


def load_net(path: Path | str) -> TrainedNet:
    """Loads a trained network. No code of the file is executed; it can only name a network class of this package.

    Args:
        path: A `.ckpt` file of `fer train`, a run folder (its `checkpoints/best.ckpt` is used), a `.safetensors` file
            of `fer export`, the name of a network that ships with the package (see `shipped_nets`), or `hf:user/name`
            (see `find_checkpoint`).

    Raises:
        UserError: There is no such file, or it is not a checkpoint of this project.
    """
    source, path = path, find_checkpoint(path, backend="torch")
    where = printable(f"checkpoint={path}")
    if path.suffix == ".onnx":
        raise UserError(
            f"checkpoint={source} is an ONNX file, which fer predict and Predictor read: for all else use the run or "
            "the .safetensors file that it was exported from."
        )
    if path.suffix == ".pte":
        raise UserError(
            f"checkpoint={source} is an ExecuTorch file, which only ExecuTorch's runtime reads: use the run that it "
            "was exported from, or export that as .onnx or .safetensors as well."
        )
    stored = read_safetensors(path) if path.suffix == ".safetensors" else _read(path)
    description = check_description(stored.description, where)
    if not isinstance(stored.epoch, int) or not 0 < stored.epoch < 2**31:
        raise UserError(f"{where}: its epoch must be a positive integer; got {str(stored.epoch)[:40]!r}.")
    record = check_metrics(stored.record, where) if stored.record else {}
    classes = tuple(description["classes"])
    name = str(description["model"].get("_target_")).rpartition(".")[2]
    try:
        # First without memory: the described network must be as large as the weights in the file.
        with torch.device("meta"):
            sketch = _rebuild(description["model"], len(classes), where)
        _check_weights(stored.weights, sketch, path)
        net = _rebuild(description["model"], len(classes), where).eval()
        net.load_state_dict(stored.weights)
        _check_logits(net, description["preprocessing"], len(classes))
    except UserError as error:
        raise error if str(error).startswith(where) else UserError(f"{where}: {error}") from None
    except Exception as error:  # with options and weights of unknown origin, a constructor may raise anything
        raise UserError(
            f"{where} is damaged, or was written by another version of {name}: its options and weights do not match."
        ) from error
    if broken := [part for part, value in net.state_dict().items() if not value.isfinite().all()]:
        raise UserError(
            f"{where}: weights must be finite numbers, and {broken[0]} holds NaN or infinity: its training diverged; "
            "train it again with a lower optimizer.lr."
        )
    return TrainedNet(net, classes, stored.epoch, description, record)


def load(path: Path | str) -> nn.Module:
    """Loads a trained network as a plain module.

    Args:
        path: Path or name, see `load_net`.

    Returns:
        The network from normalised images `(B, C, S, S)` to logits `(B, K)`, in evaluation mode on the CPU. It has the
        attributes `classes`, the K names in the order of the logits; `preprocessing`, a mapping with `image_size` S,
        `channels` C, `mean` and `std` of pixel values in 0..1, `align` and `side`; and `temperature`, by which logits
        are divided for calibrated probabilities.

    Raises:
        UserError: There is no such file, or it is not a checkpoint of this project.

    Example:
        >>> net = load("ferplus")
        >>> net.classes[:3], net.preprocessing["image_size"], net.preprocessing["channels"]
        (('angry', 'disgust', 'fear'), 64, 1)
        >>> net(torch.zeros(2, 1, 64, 64)).shape
        torch.Size([2, 8])
    """
    trained = load_net(path)
    net: Any = trained.net
    net.classes = trained.classes
    net.preprocessing = dict(trained.description["preprocessing"])
    net.temperature = trained.temperature
    return net


def add_record(path: Path, record: Mapping[str, Any]) -> None:
    """Stores the record of a run (`metrics.json`) in its `best.ckpt`, which then has the temperature and the scores."""
    checkpoint = read_checkpoint(path)
    assert checkpoint is not None
    checkpoint[RECORD] = json.loads(json.dumps(record))  # plain values, which any later torch.load accepts
    write_whole(path, lambda unfinished: torch.save(checkpoint, unfinished))


def check_last(folder: Path, classifier: nn.Module) -> None:
    """Checks that a classifier can be resumed from the checkpoints in a folder, among them `last.ckpt`.

    Raises:
        UserError: A file is damaged, missing or of another network.
    """
    path, best = folder / "last.ckpt", folder / "best.ckpt"
    last = read_checkpoint(path) or {}
    restart = f"remove {folder} to start this run from the beginning."
    state, callbacks = last.get("state_dict"), last.get("callbacks")
    if not _STATE <= last.keys() or not isinstance(state, dict) or not isinstance(callbacks, dict):
        raise UserError(f"{path} is damaged, so the run cannot be resumed: {restart}")
    shapes = {name: value.shape for name, value in classifier.state_dict().items()}
    if {name: getattr(value, "shape", None) for name, value in state.items()} != shapes:
        raise UserError(f"{path} does not match the config of its run, so the run cannot be resumed: {restart}")
    states = (value for name, value in callbacks.items() if str(name).startswith("BestCheckpoint"))
    chosen = any(isinstance(value, dict) and value.get("best_model_score") is not None for value in states)
    if chosen and read_checkpoint(best) is None:
        raise UserError(
            f"{best} is {'damaged' if best.is_file() else 'missing'}: it holds the weights of the best epoch so far, "
            f"without which the run cannot be finished: restore it, or {restart}"
        )


def save_net(trained: TrainedNet, path: Path, half: bool, self_test: dict[str, Any] | None = None) -> None:
    """Writes a trained network as a safetensors file, which `load_net` reads; see `write_safetensors`."""
    stored = StoredNet(trained.net.state_dict(), trained.description, trained.epoch, trained.record, self_test)
    write_safetensors(stored, path, half)


def _rebuild(model: Any, num_classes: int, where: str) -> nn.Module:
    """Network of a description, without its weights; the members of a vote are built in the same way."""
    if not isinstance(model, dict):
        raise UserError(f"{where}: the description of a net must have names and values; got {str(model)[:40]!r}.")
    net = look_up(model.get("_target_"), "model", nn.Module, where)
    arguments = {name: value for name, value in model.items() if name != "_target_"}
    # The checkpoint holds all weights; no pretrained ones need to be downloaded.
    if "pretrained" in arguments:
        arguments["pretrained"] = "none"
    if isinstance(members := arguments.get("members"), list):
        arguments["members"] = [_rebuild(member, num_classes, where) for member in members]
    has_affect = arguments.pop("affect", False) is True
    check_arguments(net, arguments, where)
    rebuilt: nn.Module = net(num_classes=num_classes, **arguments)
    if has_affect:
        add_affect_head(rebuilt)
    return rebuilt


def _check_weights(weights: Mapping[str, Any], net: nn.Module, path: Path) -> None:
    """Raises `ValueError` for weights of another network, or that need more memory than the file has bytes."""
    expected = net.state_dict()
    if expected.keys() != weights.keys():
        raise ValueError(f"{min(expected.keys() ^ weights.keys())} is missing or unexpected")
    for name, value in weights.items():
        if not isinstance(value, Tensor) or value.layout != torch.strided or value.device.type != "cpu":
            raise ValueError(f"{name} is not a tensor")
        if value.shape != expected[name].shape or _kind(value) != _kind(expected[name]):
            raise ValueError(f"{name} is {value.dtype} {tuple(value.shape)}")
    if sum(value.numel() * value.element_size() for value in weights.values()) > path.stat().st_size:
        raise ValueError("tensors overlap")


def _kind(value: Tensor) -> tuple[bool, bool]:
    """Whether a tensor is floating-point and whether it is complex; copying to another kind would lose information."""
    return value.is_floating_point(), value.is_complex()


def _check_logits(net: nn.Module, preprocessing: Mapping[str, Any], num_classes: int) -> None:
    """Raises `ValueError` unless a network returns one logit a class for a black image."""
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
    """Content of a `.ckpt` file, loaded without executing code; None if it is damaged or of another program."""
    try:
        with zipfile.ZipFile(path) as archive:  # PyTorch does not compress: refuse decompression bombs
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                return None
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # the unpickler may raise anything for a file that is not a checkpoint
        return None
    return content if isinstance(content, dict) else None


def _record_of(path: Path) -> Any:
    """Record in the run folder of a checkpoint; empty for `last.ckpt`, which it does not describe."""
    record = path.resolve().parents[1] / NAME
    return read_metrics(record) if path.name == "best.ckpt" and record.is_file() else {}


def start_from(net: nn.Module, path: Path, num_classes: int) -> list[str]:
    """Copies the weights of a trained network of the same architecture, whose classes may differ.

    Args:
        net: Network that is changed in place.
        path: Path or name, see `load_net`.
        num_classes: Number K of classes of `net`. Tensors that differ only in their first dimension, the number of
            classes, keep their initial values.

    Returns:
        Names of the tensors that keep their initial values; empty if both networks have equally many classes.

    Raises:
        UserError: There is no such checkpoint, or the architectures differ.
    """
    trained = load_net(path)
    source, initial = trained.net.state_dict(), net.state_dict()
    # Valence and arousal, which only one of the networks may predict, are not part of the architecture.
    for name in [name for name in initial.keys() ^ source.keys() if name.startswith("affect_head.")]:
        source.pop(name, None)
        source |= {name: initial[name]} if name in initial else {}
    resized = {name for name in initial if name in source and source[name].shape != initial[name].shape}
    head = [
        name
        for name in initial
        if name in resized
        and len(source[name]) == len(trained.classes)
        and initial[name].shape == (num_classes, *source[name].shape[1:])
    ]
    mismatched = sorted((initial.keys() ^ source.keys()) | (resized - set(head)))
    if mismatched:
        raise UserError(
            f"init={path} must have the architecture of this run; {len(mismatched)} tensors do not match, such as "
            f"{mismatched[0]}: use the model options of that run."
        )
    net.load_state_dict({name: initial[name] if name in head else value for name, value in source.items()})
    log.info("Initialised from %s; %s", path, f"not copied: {', '.join(head)}" if head else "all weights were copied")
    return head
