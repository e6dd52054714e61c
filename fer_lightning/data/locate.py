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
    if path.is_file():
        yield path.parent
    elif path.is_dir():
        yield path
        yield from sorted(child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))


def named_file(root: str | None) -> Path | None:
    """Returns the file that `root` names, None where it names a folder or nothing."""
    path = Path(root or "").expanduser()
    return path if path.is_file() else None


def find_file(root: str | None, names: Sequence[str]) -> Path | None:
    """Finds the first of some file names (in order of preference), None where there is none."""
    folders = list(places(root))
    for name in names:
        for folder in folders:
            if (folder / name).is_file():
                return folder / name
    return None


def find_folder(root: str | None, names: Sequence[str]) -> Path | None:
    """Finds the first place whose sub-folders include all of `names`."""
    for folder in places(root):
        if all((folder / name).is_dir() for name in names):
            return folder
    return None


def not_found(dataset: str, root: str | None, layouts: Sequence[str], owner: str) -> UserError:
    """The sentence for data that is missing or not recognised.

    Args:
        dataset: Name of the dataset as its owner writes it.
        root: The place that was searched.
        layouts: The accepted layouts, in words.
        owner: Where to request the data.
    """
    return UserError(
        f"No {dataset} was found at data.root={root}: looked there and one folder below for {'; or '.join(layouts)}; "
        f"get it from {owner} and point data.root at what you downloaded."
    )
