"""Folders of the cache that are made once, whatever happens meanwhile."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from fer_lightning.errors import UserError


def make_once(folder: Path, make: Callable[[Path], None], *, resume: bool = False) -> None:
    """Makes a folder of the cache unless it is there; of several processes one makes it and the others wait.

    Args:
        folder: What is there is finished. It is looked at without a lock, so that a shared cache may be read-only.
        make: Fills the folder `<folder>.partial`, which is renamed when it returns.
        resume: Whether what an interrupted `make` left there is handed to the next one, which must tell whole files
            from begun ones. Otherwise every `make` starts with an empty folder.

    Raises:
        UserError: The cache cannot be written.
    """
    if folder.exists():
        return
    partial = folder.with_name(f"{folder.name}.partial")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if folder.exists():
                return
            # Nobody else is at work, so what lies here was left by a process that was killed.
            if not resume:
                shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(exist_ok=resume)
            try:
                make(partial)
                partial.rename(folder)
            finally:
                if not resume:
                    shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"data.cache_dir={folder.parent} could not be filled ({error}): free some room or name another folder."
        ) from error
