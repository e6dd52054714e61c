"""Paths of checkpoints, of runs and of the networks that ship with the package, and networks as safetensors files.

A safetensors file holds the weights and no code; its header holds what is needed to use them.

Format: https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import difflib
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

WEIGHTS = Path(__file__).parents[1] / "weights"  # networks that ship with the package
_PARTS = ("description", "epoch", "record")


def shipped_nets() -> tuple[str, ...]:
    """Names of the trained networks that ship with the package."""
    return tuple(sorted(path.stem for path in WEIGHTS.glob("*.safetensors")))


def find_checkpoint(path: Path | str, option: str = "checkpoint") -> Path:
    """Checkpoint file of a path or name; a run folder takes precedence over a shipped network of the same name.

    Args:
        path: See `load_net`.
        option: Name of the option that holds the path, for messages.

    Raises:
        UserError: There is no such file.
    """
    path = Path(os.path.expanduser(path))  # noqa: PTH111 (pathlib fails on unknown users, such as ~x)
    file = path / "checkpoints" / "best.ckpt" if is_folder(path) else path
    if is_file(file):
        return file
    if str(path) in shipped_nets():
        return WEIGHTS / f"{path}.safetensors"
    close = difflib.get_close_matches(str(path), shipped_nets(), n=1)
    hint = f"did you mean {close[0]}? Otherwise " if close else ""
    raise UserError(
        f"{option}={file} does not exist: {hint}use the folder of a finished run, a .ckpt or .safetensors file, or the "
        f"name of a network that ships with the package: {', '.join(shipped_nets())}."
    )


@dataclass(frozen=True)
class StoredNet:
    """Content of a checkpoint or safetensors file: the state dict of a network, and the fields of `TrainedNet`."""

    weights: Mapping[str, Tensor]
    description: dict[str, Any]
    epoch: int
    record: dict[str, Any]


def write_safetensors(stored: StoredNet, path: Path, half: bool) -> None:
    """Writes a network to a safetensors file.

    Args:
        stored: The network.
        path: The file, written in place; the caller renames it if needed.
        half: Store matrices and kernels as float16. Tensors of one dimension (biases, statistics of batch
            normalisation, the weights of a vote) stay float32: they are small and most sensitive to rounding.

    Raises:
        UserError: A value is too large for float16.
    """
    from safetensors.torch import save

    weights = {name: _halved(name, value) if half else value for name, value in stored.weights.items()}
    header = {part: json.dumps(getattr(stored, part)) for part in _PARTS}
    # The format accepts no tensors that share memory or are strided.
    copies = {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}
    path.write_bytes(save(copies, {"format": "pt", **header}))  # save_file would make it readable by its owner only


def _halved(name: str, value: Tensor) -> Tensor:
    if not value.is_floating_point() or value.ndim < 2:
        return value
    rounded = value.half()
    if not rounded.isfinite().all():
        raise UserError(
            f"half=true needs weights within the range of float16; got {value.abs().max():.3g} in {name}: omit half."
        )
    return rounded


def read_safetensors(path: Path) -> StoredNet:
    """Reads a file that `write_safetensors` wrote.

    Raises:
        UserError: The file is damaged or of another program. The description is not checked here.
    """
    try:
        with safe_open(path, "pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, ValueError, TypeError, OSError, RuntimeError) as error:
        raise _broken(path) from error
    return StoredNet(weights, **read_header(path))


def read_header(path: Path) -> dict[str, Any]:
    """Header of such a file: `description`, `epoch` and `record`, none of them checked.

    Raises:
        UserError: The file is damaged or of another program.
    """
    try:
        with safe_open(path, "np") as file:  # NumPy's reader imports no torch
            header = file.metadata() or {}
        return {part: json.loads(header[part]) for part in _PARTS}
    except (SafetensorError, KeyError, ValueError, TypeError, RecursionError, OSError, RuntimeError) as error:
        raise _broken(path) from error


def _broken(path: Path) -> UserError:
    return UserError(f"checkpoint={path} is damaged, or was not written by fer export.")
