"""Where a layout lies: at the place that the user named, or one folder below it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from fer_lightning.errors import UserError


def places(root: str | None) -> Iterator[Path]:
    """Yields the folder that `root` names (that of the file, where it names one), then its sub-folders by name."""
    if root is None:
        return
    path = Path(root).expanduser()
    if is_file(path):
        yield path.parent
    elif is_folder(path):
        yield path
        yield from sorted_folders(path)


def sorted_folders(folder: Path) -> list[Path]:
    """The visible sub-folders, by name.

    Raises:
        UserError: The folder cannot be read.
    """
    try:
        children = [child for child in folder.iterdir() if not is_hidden(child.name)]
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror}.") from None
    return sorted(child for child in children if is_folder(child))


def is_file(path: Path) -> bool:
    """Whether a file lies there; a path that the file system does not take is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether a folder lies there; a path that the file system does not take is none."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def is_hidden(name: str) -> bool:
    """Whether a file or folder is none of the data: hidden, or left by macOS and Windows."""
    return name.startswith(".") or name in ("__MACOSX", "Thumbs.db", "desktop.ini")


def named_file(root: str | None) -> Path | None:
    """Returns the file that `root` names, None where it names a folder or nothing."""
    path = Path(root or "").expanduser()
    return path if is_file(path) else None


def find_file(root: str | None, names: Sequence[str]) -> Path | None:
    """Finds the first of some file names (in order of preference), None where there is none."""
    folders = list(places(root))
    for name in names:
        for folder in folders:
            if is_file(folder / name):
                return folder / name
    return None


def find_folder(root: str | None, names: Sequence[str]) -> Path | None:
    """Finds the first place whose sub-folders include all of `names`."""
    for folder in places(root):
        if all(is_folder(folder / name) for name in names):
            return folder
    return None
