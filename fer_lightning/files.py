"""Files that are whole as soon as they are there."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from fer_lightning.errors import UserError

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
