"""AffectNet: 287,651 (eight classes) colour faces from the web, labelled by hand (Mollahosseini et al., 2017)."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.data.folder import image_names, unused_files
from fer_lightning.data.labels import EIGHT, SEVEN
from fer_lightning.data.layouts import LAYOUTS, find_file, find_folder, is_file, is_folder, not_found, visible_names
from fer_lightning.data.samples import (
    ImageFiles,
    Samples,
    empty_classes,
    listing_key,
    refuse_or_skip,
    repeated_listings,
)
from fer_lightning.data.store import track
from fer_lightning.data.text_tables import column_places, plain_name, read_rows, shown, whole_number
from fer_lightning.errors import UserError
from fer_lightning.results.protocol import AFFECT

CODES = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt")
NO_EXPRESSION = (8, 9, 10)  # none, uncertain, no face: not part of the classification task by the owner's definition
NO_AFFECT = -2  # valence and arousal of images that are not annotated
LISTS = "Manually_Annotated_file_lists"
IMAGE_FOLDERS = ("Manually_Annotated_Images", "Manually_Annotated/Manually_Annotated_Images", "Manually_Annotated", ".")
OLD_COLUMNS = (
    "subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks", "expression",
    "valence", "arousal",
)  # fmt: skip
_LARGEST_ANNOTATION = 4096  # bytes
TRAIN_COUNTS = (74874, 134415, 25459, 14090, 6378, 3803, 24882, 3750)
OLD_VAL_COUNTS = (500,) * 8
NEW_VAL_COUNTS = (500,) * 7 + (499,)


@dataclass(kw_only=True, eq=False)
class AffectNet(ExpressionDataModule):
    """AffectNet's manually annotated part, in the old release (file lists) or the new one (a file per annotation).

    The owner's validation split is the test split, as in all published work (the owner's test split is not released),
    and validation is carved from training.

    Attributes:
        classes: Number of classes: 7, or 8 with contempt.
        affect: Whether to read valence and arousal as well, which a second output of the network then learns (see
            `add_affect_head`): the batches of a trainer have the targets `(label, (valence, arousal))`.

    Example:
        >>> data = AffectNet(root="data/affectnet", classes=8, val_fraction=0.34)
        >>> data.setup()
        >>> image, target = next(iter(data.train_dataloader()))
        >>> image.shape[1:], len(data.label_set)
        (torch.Size([3, 112, 112]), 8)
    """

    dataset_name = "affectnet"

    image_size: int = 112
    channels: int = 3
    classes: int = 7
    affect: bool = False

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
                f"data.root={self.root} holds the 96x96 Kaggle re-pack, whose labels were reassigned by a model and "
                "which has no official split, so its results must not be reported as AffectNet: "
                f"get AffectNet from {LAYOUTS['affectnet'].owner}, or read it as data=folder."
            )
        raise not_found("affectnet", self.root)

    def _from_lists(self, folder: Path) -> Samples:
        lists = {"train": folder / LISTS / "training.csv", "test": folder / LISTS / "validation.csv"}
        for path in lists.values():
            if not path.is_file():
                raise UserError(f"{path} is missing: put the owner's training.csv and validation.csv there.")
        images = _old_images(folder, lists["train"])
        listed: list[tuple[str, str, str, int, str, str]] = []
        places: list[str] = []
        bad: list[str] = []
        for split, path in lists.items():
            for number, line in enumerate(_old_rows(path), start=1):
                where = f"{path} row {number}"
                if len(line) != len(OLD_COLUMNS):
                    bad.append(f"{where}: {len(line)} fields, expected {len(OLD_COLUMNS)}")
                    continue
                image, expression = line[0].removeprefix("./"), line[OLD_COLUMNS.index("expression")]
                code = whole_number(expression, 0, max(NO_EXPRESSION))
                if code is None:
                    bad.append(f"{where}: {_expected_code(expression)}")
                elif Path(image).is_absolute() or ".." in Path(image).parts:
                    bad.append(f"{where}: the image {shown(image)} must lie inside {images}")
                else:
                    listed.append((image, path.stem, split, code, line[-2], line[-1]))
                    places.append(where)
        repeats = repeated_listings([listing_key(row[0]) for row in listed], [row[3] for row in listed], places)
        rows: list[tuple[str, str, str, int, float, float]] = []
        for position, row in enumerate(listed):
            if position in repeats:
                bad.append(repeats[position])
            elif row[3] < self.classes:
                affect = self._affect_of(row[4:])
                if not is_file(images / row[0]):
                    bad.append(f"{places[position]}: there is no image {images / row[0]}")
                elif affect is None:
                    bad.append(f"{places[position]}: {_expected_affect(row[4:])}")
                else:
                    rows.append((*row[:4], *affect))
        notes = unused_files(images, [row[0] for row in listed])
        expected = {"training": TRAIN_COUNTS, "validation": OLD_VAL_COUNTS}
        return self._samples(rows, images, "old release (file lists)", expected, bad, notes)

    def _from_annotations(self, folder: Path) -> Samples:
        rows: list[tuple[str, str, str, int, float, float]] = []
        bad: list[str] = []
        notes: tuple[str, ...] = ()
        for part, split in (("train_set", "train"), ("val_set", "test")):
            annotations = folder / part / "annotations"
            suffix = "_exp.npy"
            labelled = {name.removesuffix(suffix) for name in visible_names(annotations) if name.endswith(suffix)}
            images = image_names(folder / part / "images")
            notes += unused_files(folder / part, [f"images/{image}" for image in images])
            stems = [image.rpartition(".")[0] for image in images]
            keys = [stem.casefold() for stem in stems]
            repeats = repeated_listings(keys, keys, [f"{folder}/{part}/images/{image}" for image in images])
            unseen = sorted(labelled - set(stems))
            bad += [f"{annotations}/{stem}{suffix}: there is no image of this number" for stem in unseen]
            bad += repeats.values()
            for position, image in enumerate(track(images, f"Reading annotations of {part}")):
                if position in repeats:
                    continue
                stem = stems[position]
                if stem not in labelled:
                    bad.append(f"{folder}/{part}/images/{image}: there is no annotation {stem}{suffix}")
                    continue
                text = _annotation(f"{annotations}/{stem}{suffix}")
                code = whole_number(text, 0, max(NO_EXPRESSION))
                if code is None:
                    bad.append(f"{annotations}/{stem}{suffix}: {_expected_code(text)}")
                elif code < self.classes:
                    texts = [_annotation(f"{annotations}/{stem}_{kind}.npy") for kind in ("val", "aro") if self.affect]
                    if (affect := self._affect_of(texts)) is None:
                        bad.append(f"{annotations}/{stem}_val.npy and {stem}_aro.npy: {_expected_affect(texts)}")
                    else:
                        rows.append((f"{part}/images/{image}", part, split, code, *affect))
        expected = {"train_set": TRAIN_COUNTS, "val_set": NEW_VAL_COUNTS}
        return self._samples(rows, folder, "new release (annotation files)", expected, bad, notes)

    def _affect_of(self, texts: Sequence[str]) -> tuple[float, float] | None:
        """Valence and arousal, NaN where not annotated or not read; None where they are no such numbers."""
        if not self.affect:
            return math.nan, math.nan
        try:
            valence, arousal = map(float, texts)
        except ValueError:
            return None
        if NO_AFFECT in (valence, arousal):
            return math.nan, math.nan
        return (valence, arousal) if max(abs(valence), abs(arousal)) <= 1 else None  # NaN too

    def _samples(
        self,
        rows: list[tuple[str, str, str, int, float, float]],
        images: Path,
        release: str,
        expected: Mapping[str, tuple[int, ...]],
        bad: list[str],
        notes: tuple[str, ...],
    ) -> Samples:
        """Samples of rows `(image path, official split, split, code, valence, arousal)`."""
        label_set = SEVEN if self.classes == 7 else EIGHT
        table = pd.DataFrame(rows, columns=["path", "official", "split", "code", *AFFECT])
        frame = table[["official", "split", *(AFFECT if self.affect else ())]].assign(
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
            notes=("the owner's validation split is the test split, by convention", *notes),
        )


def _expected_code(text: str) -> str:
    return f"expression must be a code from 0 to {max(NO_EXPRESSION)}; got {shown(text)}"


def _expected_affect(texts: Sequence[str]) -> str:
    wanted = f"valence and arousal must be numbers from -1 to 1, or {NO_AFFECT} where not annotated"
    return f"{wanted}; got {' and '.join(map(shown, texts))}"


def _annotation(path: str) -> str:
    """Content of an annotation file, a string or, in some copies, a number; `"unreadable"` for anything else."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 (a Path for each of 300,000 files is slow)
            return _parsed(file.read(_LARGEST_ANNOTATION + 1))
    except OSError:
        return "unreadable"


@lru_cache  # a release has few different files
def _parsed(content: bytes) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy warns of headers written by Python 2
            if len(content) > _LARGEST_ANNOTATION:
                return "unreadable"
            file = io.BytesIO(content)
            value = np.lib.format.read_array(file, allow_pickle=False)
    except Exception:  # a broken header or an array of objects raises exceptions of many types
        return "unreadable"
    if value.size != 1 or value.dtype.kind not in "Uiuf" or file.read(1):
        return "unreadable"
    return str(value.reshape(-1)[0])


def _old_rows(path: Path) -> list[list[str]]:
    """Rows of a file list, with or without a header."""
    rows = read_rows(path)
    if plain_name(rows[0][0]) != OLD_COLUMNS[0].lower():
        return rows
    column_places(path, rows[0], [name.lower() for name in OLD_COLUMNS], "the owner's list")
    if [plain_name(name) for name in rows[0]] != [name.lower() for name in OLD_COLUMNS]:
        raise UserError(f"{path} must have its columns in the owner's order: {', '.join(OLD_COLUMNS)}.")
    return rows[1:]


def _old_images(folder: Path, training: Path) -> Path:
    """Folder to which the paths of the file lists are relative."""
    first = next(iter(_old_rows(training)), [""])[0]
    for name in IMAGE_FOLDERS:
        if is_folder((folder / name / first).parent):
            return folder / name
    raise UserError(
        f"{folder / IMAGE_FOLDERS[0]} is missing: unpack the owner's image archives there, so that it holds "
        f"{shown(first)[1:-1]}."
    )


def _is_repack(root: str | None) -> bool:
    labels = find_file(root, ("labels.csv",))
    if labels is None:
        return False
    with labels.open(encoding="utf-8", errors="replace") as file:
        return {"pth", "label", "relFCs"} <= {name.strip() for name in file.readline(1000).split(",")}
