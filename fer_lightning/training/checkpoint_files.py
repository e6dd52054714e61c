"""Where checkpoints lie: the files of runs, and the networks that ship with the package; networks as safetensors.

A safetensors file holds weights and no code, with all that is needed to use them in its header.

Format: https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from fer_lightning.data.layouts import is_file, is_folder
from fer_lightning.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = Path(__file__).parents[1] / "weights"  # of the networks that ship with the package
_PARTS = ("description", "epoch", "record")


def shipped_nets() -> tuple[str, ...]:
    """Names of the trained networks that the package carries."""
    return tuple(sorted(path.stem for path in WEIGHTS.glob("*.safetensors")))


def find_checkpoint(path: Path | str, option: str = "checkpoint") -> Path:
    """The file that a user means; a run folder that bears the name of a shipped network comes before it.

    Args:
        path: See `load_net`.
        option: Name of the option that gave the path.

    Raises:
        UserError: There is no such file.
    """
    path = Path(os.path.expanduser(path))  # noqa: PTH111 (a name such as ~x is no mistake)
    file = path / "checkpoints" / "best.ckpt" if is_folder(path) else path
    if is_file(file):
        return file
    if str(path) in shipped_nets():
        return WEIGHTS / f"{path}.safetensors"
    raise UserError(
        f"{option}={file} does not exist: give the folder of a finished run, a .ckpt or .safetensors file, or "
        f"one of the networks that ship: {', '.join(shipped_nets())}."
    )


@dataclass(frozen=True)
class StoredNet:
    """What such a file holds.

    Attributes:
        weights: Tensors by their name in the network.
        description: As in `TrainedNet`.
        epoch: As in `TrainedNet`.
        record: As in `TrainedNet`.
    """

    weights: Mapping[str, Tensor]
    description: dict[str, Any]
    epoch: int
    record: dict[str, Any]


def write_safetensors(stored: StoredNet, path: Path, half: bool) -> None:
    """Writes a network to a file.

    Args:
        stored: What is written.
        path: The file; it is not renamed into place, that is the caller's.
        half: Store matrices and kernels as float16. Biases, statistics of batch normalisation and the weights of a
            vote, which have one dimension, stay as they are: they take little room and lose most by rounding.

    Raises:
        UserError: A value is too large for float16.
    """
    from safetensors.torch import save

    weights = {name: _halved(name, value) if half else value for name, value in stored.weights.items()}
    header = {part: json.dumps(getattr(stored, part)) for part in _PARTS}
    # Tensors that share memory or are strided are refused by the format.
    copies = {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}
    path.write_bytes(save(copies, {"format": "pt", **header}))  # save_file would leave a file that only its owner reads


def _halved(name: str, value: Tensor) -> Tensor:
    if not value.is_floating_point() or value.ndim < 2:
        return value
    rounded = value.half()
    if not rounded.isfinite().all():
        raise UserError(f"half=true: {name} holds {value.abs().max():.3g}, too large for 16 bits; leave half away.")
    return rounded


def read_safetensors(path: Path) -> StoredNet:
    """Reads a file that `write_safetensors` wrote.

    Raises:
        UserError: It is broken, or another program's. What it describes is not checked here.
    """
    try:
        with safe_open(path, "pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, ValueError, TypeError, OSError, RuntimeError) as error:
        raise _broken(path) from error
    return StoredNet(weights, **read_header(path))


def read_header(path: Path) -> dict[str, Any]:
    """What such a file says beside its weights: `description`, `epoch` and `record`, none of them checked.

    Raises:
        UserError: It is broken, or another program's.
    """
    try:
        with safe_open(path, "np") as file:  # NumPy's reader imports no torch
            header = file.metadata() or {}
        return {part: json.loads(header[part]) for part in _PARTS}
    except (SafetensorError, KeyError, ValueError, TypeError, RecursionError, OSError, RuntimeError) as error:
        raise _broken(path) from error


def _broken(path: Path) -> UserError:
    return UserError(f"checkpoint={path} is broken, or was not written by fer export.")
