"""Whether what a command reads is there, seen before anything that takes seconds to import."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from fer_lightning.data.layouts import require_root
from fer_lightning.errors import UserError
from fer_lightning.training.checkpoint_files import find_checkpoint


def require_inputs(cfg: DictConfig, command: str) -> None:
    """Refuses a command whose source, picture, checkpoint or data is missing.

    What is there but damaged is left to the code that opens it.

    Args:
        cfg: Composed for one run, which is not a resumed one.
        command: Name of the command.

    Raises:
        UserError: Names the option, and what can be given.
    """
    if "source" in cfg:
        from fer_lightning.inference.video import ACCEPTED, find_source

        if cfg.source is None:
            raise UserError(f"source=... is missing: {ACCEPTED}.")
        find_source(str(cfg.source))
    if cfg.get("image") is not None:
        from fer_lightning.inference.images import require_file

        require_file(Path(os.path.expanduser(cfg.image)))  # noqa: PTH111 (a name such as ~x is no mistake)
    if "checkpoint" in cfg:
        if cfg.checkpoint is None:
            raise UserError(
                "checkpoint=... is missing: give the folder of a finished run, a file, or a net that ships, such as "
                "fer2013."
            )
        find_checkpoint(Path(cfg.checkpoint))
    # A run that goes on needs its first weights no more.
    if cfg.get("init") is not None and not Path(cfg.output_dir, "checkpoints", "last.ckpt").is_file():
        find_checkpoint(Path(cfg.init), "init")
    _require_data(cfg, command)


def _require_data(cfg: DictConfig, command: str) -> None:
    data: Any = cfg.get("data") or {}
    if data.get("_target_"):
        _require_root(data["_target_"], data.get("root"))
        return
    int8 = command == "export" and "int8" in ([cfg.format] if isinstance(cfg.format, str) else cfg.format)
    given = data.get("root") if command in ("evaluate", "explain", "export") else None
    needed = command == "evaluate" or (command == "explain" and cfg.image is None) or int8
    if not needed and given is None:
        return
    from fer_lightning.commands.stored_config import data_of

    dataset, root = data_of(find_checkpoint(Path(cfg.checkpoint)))
    try:
        _require_root(dataset, given if given is not None else root)
    except UserError as error:
        if int8:
            reason = "format=int8 finds its ranges on training images, and they are out of reach."
            raise UserError(reason, *error.args) from None
        raise


def _require_root(target: str, root: Any) -> None:
    """Refuses a place where nothing lies, by the name of the class that reads it."""
    if isinstance(root, str):
        require_root(target.rpartition(".")[0].rpartition(".")[2], root)
