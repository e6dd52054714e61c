"""Images sorted into class folders (`split/class/image.jpg`), with or without a folder for each split."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.data.image_decoding import IMAGE_SUFFIXES
from fer_lightning.data.labels import LabelSet, canonical_name
from fer_lightning.data.layouts import is_hidden, not_found, places, sorted_folders, unreadable, visible_names
from fer_lightning.data.samples import ImageFiles, Samples, empty_classes, refuse_or_skip
from fer_lightning.errors import printable

# Split of each accepted folder name, in lower case.
SPLIT_NAMES = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
_DOCUMENTS = frozenset(
    (".txt", ".csv", ".tsv", ".md", ".json", ".npy", ".mat", ".pdf", ".html", ".xml", ".yaml", ".yml", ".log", ".py",
     ".ipynb", ".xls", ".xlsx", ".doc", ".docx", ".rtf", ".db", ".ini", ".sh", ".bib", ".parquet")
)  # fmt: skip
_DOCUMENT_NAMES = frozenset(("README", "LICENSE", "LICENCE", "CITATION", "AUTHORS", "Makefile"))
_SHOWN = 5


@dataclass(kw_only=True, eq=False)
class Folder(ExpressionDataModule):
    """Images in class folders, with or without a folder for each split (see `layouts`).

    The splits are called `train` (or `training`), `val` (or `valid`, `validation`, `dev`) and `test` (or `testing`);
    whatever is missing is carved from training. The classes are the names of the folders, known expressions in the
    project's spelling (`happiness` is `happy`).

    Example:
        >>> data = Folder(root="data/folder", image_size=64)
        >>> data.setup()
        >>> image, target = next(iter(data.train_dataloader()))
        >>> image.shape[1:], len(data.label_set)
        (torch.Size([1, 64, 64]), 3)
    """

    dataset_name = "folder"

    def scan(self) -> Samples:
        folder, splits = self._find()
        tree = read_class_folders(folder, splits, None)
        label_set = LabelSet.of(tree.classes)
        frame = pd.DataFrame(
            {
                "id": tree.frame["path"],
                "label": tree.frame["class_name"].map(label_set.index),
                "official": tree.frame["split"],
                "split": tree.frame["split"].map(lambda name: SPLIT_NAMES.get(name.lower(), "")),
                "group": tree.frame["path"],
            }
        )
        return Samples(
            frame=frame,
            reader=ImageFiles(folder, tuple(tree.frame["path"])),
            label_set=label_set,
            release="class folders by split" if splits else "class folders without splits",
            bad=refuse_or_skip([*tree.bad, *empty_classes(frame, label_set, folder)], self.on_bad_sample),
            notes=unused_files(folder, tree.frame["path"]),
        )

    def _find(self) -> tuple[Path, list[str]]:
        """The folder that holds the tree, and the names of its split folders."""
        for place in places(self.root):
            splits = list(split_folders(place))
            if any(image_names(child) for split in splits for child in sorted_folders(place / split)):
                return place, splits
            if not splits and any(image_names(child) for child in sorted_folders(place)):
                return place, []
        raise not_found("folder", self.root)


@dataclass(frozen=True)
class ClassFolders:
    """Contents of a tree of class folders.

    Attributes:
        frame: One row per image in sorted order: `path` (str, relative to the root, with `/`), `split` (str, name of
            the split's folder, `""` without one), `class_name` (str).
        classes: Sorted names of the classes that have a folder, even an empty one.
        bad: A message for each folder that is not a class.
    """

    frame: pd.DataFrame
    classes: tuple[str, ...]
    bad: tuple[str, ...]


def read_class_folders(root: Path, splits: Sequence[str], names: Mapping[str, str] | None) -> ClassFolders:
    """Lists `split/class/image` trees, or `class/image` where `splits` is empty.

    Args:
        root: Folder that holds the tree.
        splits: Names of the split folders to read, in order.
        names: Class of each class folder by its name in the release; None accepts any folder by its canonical name.
    """
    images: list[tuple[str, str, str]] = []
    classes: set[str] = set()
    bad: list[str] = []
    for split in splits or ("",):
        for folder in sorted_folders(root / split):
            if not is_utf8(folder.name):
                bad.append(f"{folder}: the name of this folder is not UTF-8: rename it")
                continue
            files = []
            for name in image_names(folder):
                if is_utf8(name):
                    files.append(name)
                else:
                    bad.append(f"{folder / name}: the name of this file is not UTF-8: rename it")
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


def is_utf8(name: str) -> bool:
    """Whether a file name is valid UTF-8; Python represents other bytes as lone surrogates."""
    return not any("\ud800" <= sign <= "\udfff" for sign in name)


def split_folders(place: Path) -> dict[str, str]:
    """Split of each sub-folder that is named like a split."""
    names = [child.name for child in sorted_folders(place)]
    return {name: SPLIT_NAMES[name.lower()] for name in names if name.lower() in SPLIT_NAMES}


def image_names(folder: Path) -> list[str]:
    """Names of the image files directly inside a folder, sorted, without hidden ones (macOS leaves `._x.jpg`).

    Raises:
        UserError: The folder cannot be read.
    """
    return sorted(name for name in visible_names(folder) if name.lower().endswith(IMAGE_SUFFIXES))


def unused_files(folder: Path, used: Iterable[str]) -> tuple[str, ...]:
    """Note about files below a folder that are not read: images in other places, and files of other kinds.

    Args:
        folder: Folder in which the layout was found.
        used: Paths of the images that are read or reported as bad, relative to the folder, with `/`.

    Returns:
        One sentence, or nothing where all files are used. Hidden files and documents (`.txt`, `.csv`) do not count.

    Raises:
        UserError: A folder cannot be read.
    """
    known = set(used)
    images: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for place, folders, files in os.walk(folder, onerror=_cannot_be_read):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        relative = os.path.relpath(place, folder)
        for name in files:
            suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 (a Path for each of a million files is slow)
            if is_hidden(name) or suffix in _DOCUMENTS or name in _DOCUMENT_NAMES:
                continue
            if suffix not in IMAGE_SUFFIXES:
                others[suffix or "without an ending"] += 1
            elif (name if relative == "." else f"{relative}/{name}".replace(os.sep, "/")) not in known:
                images[place] += 1
    counted = [f"{count} images in {place}" for place, count in images.items()]
    counted += [f"{count} files {'*' * kind.startswith('.')}{kind} in {folder}" for kind, count in others.items()]
    if not counted:
        return ()
    more = f" and {len(counted) - _SHOWN} other places" if len(counted) > _SHOWN else ""
    total = sum(images.values()) + sum(others.values())
    note = f"{total} files are not part of this layout and are left out: {', '.join(counted[:_SHOWN])}{more}"
    return (printable(note),)


def _cannot_be_read(error: OSError) -> None:
    raise unreadable(error)
