"""Files that are whole as soon as they are there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def write_whole(path: Path, write: Callable[[Path], object]) -> Path:
    """Lets `write` fill a temporary file beside `path`, then renames it; `training.record` has a twin beside torch.

    Args:
        path: The file, in a folder that is there.
        write: Writes to the path it is given.

    Returns:
        `path`.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    write(unfinished)
    unfinished.replace(path)
    return path
