"""Layouts in which data sets are distributed, searched at the folder that the user names and one folder below it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from fer_lightning.errors import UserError


class Layouts(NamedTuple):
    """Layouts of a data set on disk.

    Attributes:
        title: Name of the data set as its owner writes it.
        owner: Source of the data set.
        layouts: Descriptions of the supported layouts.
    """

    title: str
    owner: str
    layouts: tuple[str, ...]


LAYOUTS = {
    "affectnet": Layouts(
        "AffectNet",
        "its owner (http://mohammadmahoor.com/affectnet/, on request)",
        (
            "Manually_Annotated_file_lists/{training,validation}.csv with Manually_Annotated_Images (old release)",
            "train_set and val_set with images/N.jpg and annotations/N_exp.npy (new release)",
        ),
    ),
    "ckplus": Layouts(
        "CK+",
        "its owners (https://www.jeffcohn.net/resources/, on request)",
        (
            "cohn-kanade-images/S005/001/*.png with Emotion/S005/001/*_emotion.txt",
            "the re-pack CK+48/{anger,contempt,disgust,fear,happy,sadness,surprise}",
            "ckextended.csv",
        ),
    ),
    "fer2013": Layouts(
        "FER2013",
        "https://www.kaggle.com/c/challenges-in-representation-learning-facial-expression-recognition-challenge",
        (
            "fer2013.csv",
            "icml_face_data.csv",
            "train.csv",
            "image folders {train,test}/{angry,disgust,fear,happy,neutral,sad,surprise}",
        ),
    ),
    "ferplus": Layouts(
        "FERPlus",
        "https://github.com/microsoft/FERPlus (votes) and the FER2013 challenge on Kaggle (images)",
        (
            "fer2013new.csv together with fer2013.csv, icml_face_data.csv",
            "FER2013Train, FER2013Valid and FER2013Test with label.csv and images (by generate_training_data.py)",
        ),
    ),
    "folder": Layouts(
        "folder of images", "your own pictures", ("{train,val,test}/CLASS/*.jpg or *.png", "CLASS/*.jpg or *.png")
    ),
    "rafdb": Layouts(
        "RAF-DB",
        "its owners at BUPT (http://www.whdeng.cn/RAF/model1.html, on request)",
        (
            "basic/EmoLabel/list_patition_label.txt with basic/Image/aligned",
            "the Kaggle re-pack DATASET/{train,test}/{1..7} with train_labels.csv and test_labels.csv",
        ),
    ),
}


def not_found(dataset: str, root: str | None) -> UserError:
    """Error for a data set (a key of `LAYOUTS`) of which no supported layout was found at `root`."""
    title, owner, layouts = LAYOUTS[dataset]
    return UserError(
        f"No {title} was found at data.root={root}: searched there and one folder below for {'; or '.join(layouts)}; "
        f"point data.root, or {_variable(dataset)}, at your copy (source: {owner})."
    )


def require_root(dataset: str, root: str) -> None:
    """Raises `UserError` for the root of a data set with layouts that is missing or empty, before slow imports."""
    place = Path(os.path.expanduser(root))  # noqa: PTH111 (Path.expanduser raises for a name such as ~x)
    if dataset not in LAYOUTS or is_file(place) or (is_folder(place) and any(os.scandir(place))):
        return
    title, owner, layouts = LAYOUTS[dataset]
    state = "the folder is empty" if is_folder(place) else "nothing is there"
    raise UserError(
        f"No {title} was found at data.root={root}: {state}.",
        "It is read in any of these layouts, at that place or one folder below:",
        *(f"  - {layout}" for layout in layouts),
        f"Point to your copy with data.root=/path/to/{dataset}, or for all commands with",
        f"  export {_variable(dataset)}=/path/to/{dataset}",
        f"Source: {owner}.",
    )


def _variable(dataset: str) -> str:
    return f"FER_{dataset.upper()}_ROOT"


def places(root: str | None) -> Iterator[Path]:
    """Yields the folder that `root` names (the parent of a file), then its sub-folders by name."""
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
    return sorted(child for name in visible_names(folder) if is_folder(child := folder / name))


def visible_names(folder: Path) -> list[str]:
    """Names of the files and folders in a folder that are not hidden.

    Raises:
        UserError: The folder cannot be read.
    """
    try:
        return [name for name in os.listdir(folder) if not is_hidden(name)]  # noqa: PTH208 (names of a million files)
    except OSError as error:
        raise unreadable(error) from None


def unreadable(error: OSError) -> UserError:
    """Error for a file or folder that cannot be read."""
    return UserError(f"{error.filename} cannot be read: {error.strerror}.")


def is_file(path: Path) -> bool:
    """Whether a path is a file; False for a path that the file system rejects."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether a path is a folder; False for a path that the file system rejects."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden or left by macOS or Windows, and so not part of the data."""
    return name.startswith(".") or name in ("__MACOSX", "Thumbs.db", "desktop.ini")


def named_file(root: str | None) -> Path | None:
    """File that `root` names, None where it is not a file."""
    path = Path(root or "").expanduser()
    return path if is_file(path) else None


def find_file(root: str | None, names: Sequence[str]) -> Path | None:
    """First existing file among some names (in order of preference), None where there is none."""
    folders = list(places(root))
    return next((folder / name for name in names for folder in folders if is_file(folder / name)), None)


def find_folder(root: str | None, names: Sequence[str]) -> Path | None:
    """First folder whose sub-folders include all of `names`, None where there is none."""
    return next((folder for folder in places(root) if all(is_folder(folder / name) for name in names)), None)
