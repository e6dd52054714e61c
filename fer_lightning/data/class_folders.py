"""Images sorted into folders: `split/class/image.jpg`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fer_lightning.data.labels import canonical_name

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".pgm")


@dataclass(frozen=True)
class ClassFolders:
    """What a tree of class folders holds.

    Attributes:
        frame: One row per image in sorted order: `path` (str, relative to the root, with `/`), `split` (str, name of
            the split's folder, `""` without one), `class_name` (str).
        classes: Name of every class that has a folder, be it empty, sorted.
        bad: A message for each folder that is no class.
    """

    frame: pd.DataFrame
    classes: tuple[str, ...]
    bad: tuple[str, ...]


def read_class_folders(root: Path, splits: Sequence[str], names: Mapping[str, str] | None) -> ClassFolders:
    """Lists `split/class/image` trees, or `class/image` where `splits` is empty.

    Args:
        root: Folder that holds the tree.
        splits: Names of the split folders to read, in order.
        names: Class of each class folder by its name in the release; None takes any folder by its canonical name.
    """
    images: list[tuple[str, str, str]] = []
    classes: set[str] = set()
    bad: list[str] = []
    for split in splits or ("",):
        for folder in sorted_folders(root / split):
            files = image_names(folder)
            class_name = canonical_name(folder.name)
            if names is not None:
                if class_name not in names:
                    bad.append(f"{folder}: {len(files)} images of an unknown class, expected {', '.join(names)}")
                    continue
                class_name = names[class_name]
            classes.add(class_name)
            prefix = folder.relative_to(root).as_posix()
            images += [(f"{prefix}/{name}", split, class_name) for name in files]
    frame = pd.DataFrame(images, columns=["path", "split", "class_name"])
    return ClassFolders(frame, tuple(sorted(classes)), tuple(bad))


def sorted_folders(folder: Path) -> list[Path]:
    """The visible sub-folders, by name."""
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def image_names(folder: Path) -> list[str]:
    """Names of the image files directly inside a folder, sorted, without hidden ones (macOS leaves `._x.jpg`)."""
    with os.scandir(folder) as entries:
        return sorted(
            entry.name
            for entry in entries
            if entry.name.lower().endswith(IMAGE_SUFFIXES) and not entry.name.startswith(".")
        )
