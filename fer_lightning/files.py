"""Atomic writes, folders of the cache, the files that ship with the package, and paths as the terminal shows them."""

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
    errno.EDQUOT: "the quota of the disk is used up",
    errno.EFBIG: "it would be larger than a file may be here (see ulimit -f)",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission is denied",
    errno.EPERM: "permission is denied",
    errno.ENOENT: "its folder was removed",
    errno.ENOTDIR: "a part of its path is a file",
    errno.EEXIST: "a part of its path is a file",
    errno.EISDIR: "there is a folder of this name",
    errno.ENAMETOOLONG: "its name is too long",
}
_number = count()


def write_whole(path: Path, write: Callable[[Path], object]) -> Path:
    """Lets `write` fill a temporary file beside `path`, then renames it, so that no reader ever sees half a file.

    Args:
        path: The file; its folder is made if it is not there.
        write: Writes to the path it is given, which has the ending of `path`.

    Returns:
        `path`.

    Raises:
        UserError: The disk is full, or the file cannot be written there.
    """
    # A name of its own: beside `path`, whose name may be as long as the file system allows.
    unfinished = path.with_name(f".{os.getpid()}.{next(_number)}{path.suffix[-16:]}")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(unfinished)
            unfinished.replace(path)
        finally:
            with suppress(OSError):
                unfinished.unlink()
    return path


def write_text(path: Path, text: str) -> Path:
    """Writes text, as `write_whole` does."""
    return write_whole(path, lambda unfinished: unfinished.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: object) -> Path:
    """Writes plain values as JSON, as `write_whole` does."""
    return write_text(path, json.dumps(value, indent=2) + "\n")


def write_csv(path: Path, table: pd.DataFrame, **options: Any) -> Path:
    """Writes a table as CSV, as `write_whole` does; the options are those of `DataFrame.to_csv`."""
    return write_whole(path, lambda unfinished: table.to_csv(unfinished, **options))


_CURE = (
    "Make room or mend its folder, or write elsewhere with another hydra.run.dir=... or the option that names the file"
)


@contextmanager
def writing(path: Path, cure: str = _CURE) -> Iterator[None]:
    """Turns what the operating system says while a file is written into a sentence that names the file.

    Args:
        path: The file, or the folder that is made.
        cure: What the user can do.

    Raises:
        UserError: It cannot be written; errors of other files that are read meanwhile pass unchanged.
    """
    try:
        yield
    except OSError as error:
        named = error.filename
        if isinstance(named, (str, bytes)):
            other = Path(os.fsdecode(named))
            if other.parent != path.parent and other not in path.parents:
                raise
        raise unwritable(path, error, cure) from error


def unwritable(path: Path, error: OSError, cure: str = _CURE) -> UserError:
    """What to say of a file that could not be written."""
    reason = _REASONS.get(error.errno or 0) or f"{error.strerror or error} (is the disk full?)"
    return UserError(f"{path} cannot be written: {reason}. {cure}.")


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


def default_cache() -> str:
    """Folder of the cache: `FER_CACHE_DIR` where it is set."""
    return os.environ.get("FER_CACHE_DIR", "~/.cache/fer_lightning")


def shown_path(path: Path) -> Path:
    """The path from here where it lies below, so that it is short and can be copied; else as it is.

    Args:
        path: Any path.
    """
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def conf_dir() -> Path:
    """Folder of the Hydra configs: inside the installed package, or beside it in a checkout."""
    return _shipped("conf")


def claims_dir() -> Path:
    """Folder of the published and the credible numbers, found in the same way."""
    return _shipped("experiments")


def _shipped(folder: str) -> Path:
    installed = Path(__file__).parent / folder
    return installed if installed.is_dir() else Path(__file__).parents[1] / folder
