"""Where checkpoints lie: the files of runs, and the networks that ship with the package."""

from __future__ import annotations

import os
from pathlib import Path

from fer_lightning.data.locate import is_file, is_folder
from fer_lightning.errors import UserError

WEIGHTS = Path(__file__).parents[1] / "weights"  # of the networks that ship with the package


def shipped_nets() -> tuple[str, ...]:
    """Names of the trained networks that the package carries."""
    return tuple(sorted(path.stem for path in WEIGHTS.glob("*.safetensors")))


def find_checkpoint(path: Path, option: str = "checkpoint") -> Path:
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
