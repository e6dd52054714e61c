"""The layouts in which data sets are distributed, and what to say where none of them is found.

A layout is looked for at the place that the user named, or one folder below it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from fer_lightning.errors import UserError


class Layouts(NamedTuple):
    """What a data set looks like on disk.

    Attributes:
        title: Name of the data set as its owner writes it.
        owner: Where to get it.
        layouts: The layouts that are read, in words.
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
    """The sentence for data whose layout is not recognised.

    Args:
        dataset: A key of `LAYOUTS`.
        root: The place that was searched.
    """
    title, owner, layouts = LAYOUTS[dataset]
    return UserError(
        f"No {title} was found at data.root={root}: looked there and one folder below for {'; or '.join(layouts)}; "
        f"get it from {owner} and point data.root, or {_variable(dataset)}, at what you downloaded."
    )


def require_root(dataset: str, root: str) -> None:
    """Refuses a place where nothing lies before anything that needs time is imported.

    Args:
        dataset: Name of the data set; one without a layout is not checked.
        root: Where it should lie.

    Raises:
        UserError: Nothing lies there; lists the layouts, and the option and the variable that name another place.
    """
    place = Path(os.path.expanduser(root))  # noqa: PTH111 (a name such as ~x is no mistake)
    if dataset not in LAYOUTS or is_file(place) or (is_folder(place) and any(os.scandir(place))):
        return
    title, owner, layouts = LAYOUTS[dataset]
    state = "the folder is empty" if is_folder(place) else "nothing is there"
    raise UserError(
        f"No {title} was found at data.root={root}: {state}.",
        "It is read in any of these layouts, at that place or one folder below:",
        *(f"  - {layout}" for layout in layouts),
        f"Point to your copy with data.root=/path/to/{dataset}, or once and for all with",
        f"  export {_variable(dataset)}=/path/to/{dataset}",
        f"Where to get it: {owner}.",
    )


def _variable(dataset: str) -> str:
    return f"FER_{dataset.upper()}_ROOT"


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
