"""The folder of a run whose start failed: it is removed again, with the folders that were made above it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

# What Hydra and fer train write before a run begins.
_BEFORE_A_RUN = {".hydra", "config.yaml", "multirun.yaml"}


class FolderBefore(Callback):
    """Remembers, before Hydra makes the folder of a run or of a sweep, what of it was there already."""

    folder: Path | None = None
    used: Path | None = None  # the folder; None where it held something before
    made: Path | None = None  # the topmost folder that was made for it

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:  # the signatures are Hydra's
        self._look(config, "run")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        self._look(config, "sweep")

    def _look(self, config: DictConfig, kind: str) -> None:
        before = HydraConfig.instance().cfg
        HydraConfig.instance().set_config(config)  # which names of folders refer to
        try:
            folder = Path(str(config.hydra[kind].dir)).absolute()
        finally:
            HydraConfig.instance().cfg = before
        holds_something = folder.is_file() or (folder.is_dir() and any(folder.iterdir()))
        FolderBefore.folder = folder
        FolderBefore.used = None if holds_something else folder
        missing = [place for place in (folder, *folder.parents) if not place.exists()]
        FolderBefore.made = missing[-1] if missing else None


def remove_failed_start() -> None:
    """Removes the folder of this process's run or sweep, unless something was written there by the run itself."""
    folder, FolderBefore.used = FolderBefore.used, None
    if folder is None or not folder.is_dir():
        return
    # A run of a sweep has a folder of its own.
    for place in [*(child for child in folder.iterdir() if child.is_dir() and child.name != ".hydra"), folder]:
        entries = list(place.iterdir())
        if all(entry.name in _BEFORE_A_RUN or entry.suffix == ".log" for entry in entries):
            for entry in entries:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            if place != folder or FolderBefore.made is not None:
                place.rmdir()
    if FolderBefore.made is None or folder.exists():
        return
    for place in folder.parents:
        if not place.is_relative_to(FolderBefore.made) or any(place.iterdir()):
            break
        place.rmdir()
