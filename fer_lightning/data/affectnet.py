"""AffectNet: 287,651 (eight classes) colour faces from the web, labelled by hand (Mollahosseini et al., 2017)."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich.progress import track

from fer_lightning.data.bad_samples import refuse_or_skip
from fer_lightning.data.class_folders import image_names
from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.data.empty_classes import empty_classes
from fer_lightning.data.labels import EIGHT, SEVEN
from fer_lightning.data.locate import find_file, find_folder, not_found
from fer_lightning.data.samples import ImageFiles, Samples
from fer_lightning.errors import UserError

CODES = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt")
NO_EXPRESSION = (8, 9, 10)  # none, uncertain, no face: not part of the classification task by the owner's definition
OWNER = "its owner (http://mohammadmahoor.com/affectnet/, on request)"
LISTS = "Manually_Annotated_file_lists"
IMAGE_FOLDERS = ("Manually_Annotated_Images", "Manually_Annotated/Manually_Annotated_Images", "Manually_Annotated", ".")
OLD_COLUMNS = (
    "subDirectory_filePath",
    "face_x",
    "face_y",
    "face_width",
    "face_height",
    "facial_landmarks",
    "expression",
    "valence",
    "arousal",
)
TRAIN_COUNTS = (74874, 134415, 25459, 14090, 6378, 3803, 24882, 3750)
OLD_VAL_COUNTS = (500,) * 8
NEW_VAL_COUNTS = (500,) * 7 + (499,)


@dataclass(kw_only=True, eq=False)
class AffectNet(ExpressionDataModule):
    """AffectNet's manually annotated part, in the old release (file lists) or the new one (a file per annotation).

    The owner's validation split is the test split, as in all published work (its own is not released), and
    validation is carved from training.

    Attributes:
        classes: 7, or 8 with contempt.
    """

    dataset_name = "affectnet"

    classes: int

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("classes", self.classes, (7, 8))

    def scan(self) -> Samples:
        if folder := find_folder(self.root, (LISTS,)):
            return self._from_lists(folder)
        if folder := find_folder(self.root, ("train_set/annotations", "val_set/annotations")):
            return self._from_annotations(folder)
        if _is_repack(self.root):
            raise UserError(
                f"data.root={self.root} holds the 96x96 Kaggle re-pack, whose labels a model assigned anew and which "
                "has no official split, so its results must not be reported as AffectNet: "
                f"get AffectNet from {OWNER}, or read it as data=folder."
            )
        layouts = (
            f"{LISTS}/training.csv and validation.csv with Manually_Annotated_Images (old release)",
            "train_set and val_set with images/N.jpg and annotations/N_exp.npy (new release)",
        )
        raise not_found("AffectNet", self.root, layouts, OWNER)

    def _from_lists(self, folder: Path) -> Samples:
        lists = {"train": folder / LISTS / "training.csv", "test": folder / LISTS / "validation.csv"}
        for path in lists.values():
            if not path.is_file():
                raise UserError(f"{path} is missing: put the owner's training.csv and validation.csv there.")
        images = _old_images(folder, lists["train"])
        rows: list[tuple[str, str, str, int]] = []
        bad: list[str] = []
        for split, path in lists.items():
            for number, line in enumerate(_old_rows(path), start=1):
                where = f"{path} row {number}"
                if len(line) != len(OLD_COLUMNS):
                    bad.append(f"{where}: {len(line)} fields, expected {len(OLD_COLUMNS)}")
                    continue
                image, expression = line[0], line[OLD_COLUMNS.index("expression")]
                code = _code(expression)
                if code is None:
                    bad.append(f"{where}: {_expected_code(expression)}")
                elif code < self.classes:
                    if images.joinpath(image).is_file():
                        rows.append((image, path.stem, split, code))
                    else:
                        bad.append(f"{where}: there is no image {images / image}")
        expected = {"training": TRAIN_COUNTS, "validation": OLD_VAL_COUNTS}
        return self._samples(rows, images, "old release (file lists)", expected, bad)

    def _from_annotations(self, folder: Path) -> Samples:
        rows: list[tuple[str, str, str, int]] = []
        bad: list[str] = []
        for part, split in (("train_set", "train"), ("val_set", "test")):
            annotations = folder / part / "annotations"
            labelled = {path.name.removesuffix("_exp.npy"): path for path in annotations.glob("*_exp.npy")}
            images = image_names(folder / part / "images")
            stems = {Path(image).stem for image in images}
            bad += [f"{labelled[stem]}: there is no image of this number" for stem in sorted(labelled.keys() - stems)]
            for image in track(images, description=f"Reading annotations of {part}", transient=True):
                stem = Path(image).stem
                if stem not in labelled:
                    bad.append(f"{folder / part / 'images' / image}: there is no annotation {stem}_exp.npy")
                    continue
                text = _annotation(labelled[stem])
                code = _code(text)
                if code is None:
                    bad.append(f"{labelled[stem]}: {_expected_code(text)}")
                elif code < self.classes:
                    rows.append((f"{part}/images/{image}", part, split, code))
        expected = {"train_set": TRAIN_COUNTS, "val_set": NEW_VAL_COUNTS}
        return self._samples(rows, folder, "new release (annotation files)", expected, bad)

    def _samples(
        self,
        rows: list[tuple[str, str, str, int]],
        images: Path,
        release: str,
        expected: Mapping[str, tuple[int, ...]],
        bad: list[str],
    ) -> Samples:
        """Builds the samples from rows `(image path, official split, split, code)`."""
        label_set = SEVEN if self.classes == 7 else EIGHT
        table = pd.DataFrame(rows, columns=["path", "official", "split", "code"])
        frame = table[["official", "split"]].assign(
            id=table["path"], group=table["path"], label=table["code"].map(lambda code: label_set.index(CODES[code]))
        )
        return Samples(
            frame=frame,
            reader=ImageFiles(images, tuple(table["path"])),
            label_set=label_set,
            release=release,
            label_rule=f"single label, {self.classes} classes",
            bad=refuse_or_skip([*bad, *empty_classes(frame, label_set, images)], self.on_bad_sample),
            expected={part: dict(zip(CODES[: self.classes], counts)) for part, counts in expected.items()},
            notes=("the owner's validation split is the test split, by convention",),
        )


def _code(text: str) -> int | None:
    """The expression code, None where the text is none."""
    plain = text.strip()
    return int(plain) if plain.isdecimal() and int(plain) <= max(NO_EXPRESSION) else None


def _expected_code(text: str) -> str:
    return f"expression {text!r} is not a code from 0 to {max(NO_EXPRESSION)}"


def _annotation(path: Path) -> str:
    """The content of an `_exp.npy` file: a string or, in some copies, a number."""
    try:
        return str(np.load(path, allow_pickle=False))
    except (OSError, ValueError, EOFError):
        return "unreadable"


def _old_rows(path: Path) -> Iterator[list[str]]:
    """Yields the rows of a file list, whether or not it begins with a header."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        for number, line in enumerate(csv.reader(file)):
            if line and not (number == 0 and line[0] == OLD_COLUMNS[0]):
                yield line


def _old_images(folder: Path, training: Path) -> Path:
    """The folder that the paths of the file lists are relative to."""
    first = next(_old_rows(training), [""])[0]
    for name in IMAGE_FOLDERS:
        if (folder / name / first).parent.is_dir():
            return folder / name
    raise UserError(
        f"{folder / IMAGE_FOLDERS[0]} is missing: unpack the owner's image archives there, so that it holds {first}."
    )


def _is_repack(root: str | None) -> bool:
    labels = find_file(root, ("labels.csv",))
    if labels is None:
        return False
    with labels.open(encoding="utf-8", errors="replace") as file:
        return {"pth", "label", "relFCs"} <= {name.strip() for name in file.readline().split(",")}
