"""How a path is told in the terminal."""

from __future__ import annotations

from pathlib import Path


def shown_path(path: Path) -> Path:
    """The path from here where it lies below, so that it is short and can be copied; else as it is.

    Args:
        path: Any path.
    """
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
