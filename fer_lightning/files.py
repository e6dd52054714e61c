"""Atomic writes, cache folders, files that ship with the package, and short paths for the terminal."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from fer_lightning.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is exceeded",
    errno.EFBIG: "it exceeds the largest file size (see ulimit -f)",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission is denied",
    errno.EPERM: "permission is denied",
    errno.ENOENT: "its folder was removed",
    errno.ENOTDIR: "a part of its path is a file",
    errno.EEXIST: "a part of its path is a file",
    errno.EISDIR: "there is a folder of this name",
    errno.ENAMETOOLONG: "its name is too long",
}
_CURE = "Free disk space or correct the permissions of its folder, or use another hydra.run.dir=... or output option"
_number = count()


def write_whole(path: Path, write: Callable[[Path], object], cure: str = _CURE) -> Path:
    """Writes a file atomically: to a temporary file beside it, which is then renamed.

    Args:
        path: The file; its folder is created if needed.
        write: Function that writes to the path it is called with, which has the extension of `path`.
        cure: Sentence on what the user can do if it fails.

    Returns:
        `path`.

    Raises:
        UserError: The disk is full, or the file cannot be written there.
    """
    # Not derived from the name of `path`, which may be as long as the file system allows.
    unfinished = path.with_name(f".{os.getpid()}.{next(_number)}{path.suffix[-16:]}")
    with writing(path, cure):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(unfinished)
            unfinished.replace(path)
        finally:
            with suppress(OSError):
                unfinished.unlink()
    return path


def write_text(path: Path, text: str) -> Path:
    """Writes text atomically, see `write_whole`."""
    return write_whole(path, lambda unfinished: unfinished.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: object) -> Path:
    """Writes plain values as JSON atomically, see `write_whole`."""
    return write_text(path, json.dumps(value, indent=2) + "\n")


def write_csv(path: Path, table: pd.DataFrame, **options: Any) -> Path:
    """Writes a table as CSV atomically, see `write_whole`, with the options of `DataFrame.to_csv`."""
    return write_whole(path, lambda unfinished: table.to_csv(unfinished, **options))


@contextmanager
def writing(path: Path, cure: str = _CURE) -> Iterator[None]:
    """Context in which an `OSError` of writing a file becomes a `UserError` that names the file.

    Args:
        path: The file or folder that is written.
        cure: Sentence on what the user can do.

    Raises:
        UserError: The file cannot be written; errors of other files are raised unchanged.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error.filename, (str, bytes)):
            other = Path(os.fsdecode(error.filename))
            if other.parent != path.parent and other not in path.parents:
                raise
        raise unwritable(path, error, cure) from error


def unwritable(path: Path, error: OSError, cure: str = _CURE) -> UserError:
    """Error for a file that could not be written."""
    reason = _REASONS.get(error.errno or 0) or f"{error.strerror or error} (is the disk full?)"
    return UserError(f"{path} cannot be written: {reason}. {cure}.")


def make_once(folder: Path, make: Callable[[Path], None], *, resume: bool = False) -> None:
    """Creates a cache folder if it does not exist; of several processes, one creates it and the others wait.

    Args:
        folder: The folder; it is complete if it exists. That is checked without a lock, so a shared cache may be
            read-only.
        make: Function that fills the folder `<folder>.partial`, which is then renamed.
        resume: Keep the files of an interrupted `make` for the next one, which must distinguish complete from partial
            files. Otherwise every `make` starts with an empty folder.

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
            # With the lock, existing files were left by a process that was killed.
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
            f"data.cache_dir={folder.parent} could not be filled ({error}): free disk space or use another folder."
        ) from error


def default_cache() -> str:
    """Default cache folder, which the environment variable `FER_CACHE_DIR` overrides."""
    return os.environ.get("FER_CACHE_DIR", "~/.cache/fer_lightning")


def shown_path(path: Path) -> Path:
    """Path relative to the working directory if it is below it, else unchanged."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def conf_dir() -> Path:
    """Folder of the Hydra configs: inside the installed package, or beside it in a checkout."""
    return _shipped("conf")


def claims_dir() -> Path:
    """Folder of the published numbers and of the bounds of credible ones, found as `conf_dir`."""
    return _shipped("experiments")


def _shipped(folder: str) -> Path:
    installed = Path(__file__).parent / folder
    return installed if installed.is_dir() else Path(__file__).parents[1] / folder
