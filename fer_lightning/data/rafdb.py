"""RAF-DB, basic expressions: 15,339 colour faces from the web in seven classes (Li and Deng, 2017)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd

from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.data.folder import image_names, read_class_folders, unused_files
from fer_lightning.data.labels import SEVEN
from fer_lightning.data.layouts import find_file, find_folder, is_file, is_folder, not_found
from fer_lightning.data.samples import (
    ImageFiles,
    Samples,
    empty_classes,
    listing_key,
    refuse_or_skip,
    repeated_listings,
)
from fer_lightning.data.store import track
from fer_lightning.data.text_tables import column_places, plain_name, read_rows, read_text, shown, whole_number
from fer_lightning.errors import UserError

log = logging.getLogger(__name__)
CODES = {"1": "surprise", "2": "fear", "3": "disgust", "4": "happy", "5": "sad", "6": "angry", "7": "neutral"}
LISTS = ("EmoLabel/list_patition_label.txt", "basic/EmoLabel/list_patition_label.txt")  # the owner's spelling
COMPOUND_CLASSES = 11
# Values of each attribute in the order of their codes. An unsure gender counts as unknown.
ATTRIBUTES = {
    "gender": ("male", "female", "unsure"),
    "race": ("Caucasian", "African-American", "Asian"),
    "age": ("0-3", "4-19", "20-39", "40-69", "70+"),
}
SPLITS = ("train", "test")
COUNTS = {"train": (1290, 281, 717, 4772, 1982, 705, 2524), "test": (329, 74, 160, 1185, 478, 162, 680)}


@dataclass(kw_only=True, eq=False)
class RAFDB(ExpressionDataModule):
    """RAF-DB as its owners distribute it (aligned images) or in the Kaggle re-pack `DATASET/{train,test}/{1..7}`.

    There is no official validation split; one is carved from training. With the owner's manual annotation in
    `Annotation/manual`, `fer evaluate groups=all` scores by gender, race and age.

    Example:
        >>> data = RAFDB(root="data/rafdb", val_fraction=0.34)
        >>> data.setup()
        >>> image, target = next(iter(data.train_dataloader()))
        >>> image.shape[1:], len(data.label_set)
        (torch.Size([3, 100, 100]), 7)
    """

    dataset_name = "rafdb"

    image_size: int = 100
    channels: int = 3

    def scan(self) -> Samples:
        if labels := find_file(self.root, LISTS):
            return self._from_owner(labels)
        folder = find_folder(self.root, SPLITS)
        if folder and any((folder / "train" / code).is_dir() for code in CODES):
            return self._from_repack(folder)
        raise not_found("rafdb", self.root)

    def _from_owner(self, labels: Path) -> Samples:
        images = labels.parent.parent / "Image" / "aligned"
        if not images.is_dir():
            raise UserError(f"{images} is missing: unpack the owner's aligned images there.")
        rows = []
        for entry in (line.split() for line in read_text(labels).split("\n") if line.strip()):
            name = entry[0].removeprefix("./")
            # The label of a line that is not a pair is reported with the bad labels.
            label = entry[1] if len(entry) == 2 else " ".join(entry[1:]) or "nothing"
            rows.append((f"{name.removesuffix('.jpg')}_aligned.jpg" if name.endswith(".jpg") else name, label))
        frame, bad = _labelled(rows, labels, images, set(image_names(images)))
        frame["split"] = [path.partition("_")[0] for path in frame["path"]]
        strange = ~frame["split"].isin(SPLITS)
        bad += [f"{labels}: image {path} is neither train_* nor test_*" for path in frame["path"][strange]]
        frame = frame[~strange].reset_index(drop=True)
        notes = unused_files(images, [path for path, _ in rows])
        samples = self._samples(frame, images, "owner's release, aligned images", bad, notes)
        annotation = labels.parent.parent / "Annotation" / "manual"
        if not is_folder(annotation):
            return samples
        return replace(samples, attributes=partial(_read_attributes, annotation, self.on_bad_sample))

    def _from_repack(self, folder: Path) -> Samples:
        tree = read_class_folders(folder, SPLITS, CODES)
        names = [f"{split}_labels.csv" for split in SPLITS]
        beside = [place for place in (folder, folder.parent) if all((place / name).is_file() for name in names)]
        notes = unused_files(folder, tree.frame["path"])
        if not beside:
            paths = tree.frame["path"]
            keys = [listing_key(Path(path).name) for path in paths]
            repeats = repeated_listings(keys, tree.frame["class_name"].tolist(), [str(folder / path) for path in paths])
            frame = tree.frame.drop(list(repeats)).reset_index(drop=True)
            bad = [*tree.bad, *repeats.values()]
            return self._samples(frame, folder, "Kaggle re-pack, labels by folder", bad, notes)
        parts, bad = [], list(tree.bad)
        for split, name in zip(SPLITS, names):
            rows = [(f"{split}/{code}/{image}", code) for image, code in _read_list(beside[0] / name)]
            frame, messages = _labelled(rows, beside[0] / name, folder, set(tree.frame["path"]))
            parts.append(frame.assign(split=split))
            bad += messages
            listed = {path for path, _ in rows}
            unlisted = [path for path in tree.frame["path"][tree.frame["split"] == split] if path not in listed]
            if unlisted:
                notes += (f"{len(unlisted)} images are not in {name} and are left out, for example {unlisted[0]}",)
        frame = pd.concat(parts, ignore_index=True)
        return self._samples(frame, folder, "Kaggle re-pack", bad, notes)

    def _samples(
        self, rows: pd.DataFrame, images: Path, release: str, bad: list[str], notes: tuple[str, ...]
    ) -> Samples:
        ids = rows["path"].map(lambda path: Path(path).stem.removesuffix("_aligned"))
        frame = pd.DataFrame(
            {
                "id": ids,
                "label": rows["class_name"].map(SEVEN.index),
                "official": rows["split"],
                "split": rows["split"],
                "group": ids,
            }
        )
        return Samples(
            frame=frame,
            reader=ImageFiles(images, tuple(rows["path"])),
            label_set=SEVEN,
            release=release,
            bad=refuse_or_skip([*bad, *empty_classes(frame, SEVEN, images)], self.on_bad_sample),
            expected={split: dict(zip(CODES.values(), counts)) for split, counts in COUNTS.items()},
            notes=notes,
        )


def _read_attributes(folder: Path, on_bad_sample: str, ids: Sequence[str]) -> pd.DataFrame:
    """Attributes by image from the owner's manual annotation, a file each: five landmarks, gender, race and age."""
    codes, bad = [], []
    for image in track(ids, "Reading the manual annotation"):
        path = folder / f"{image}_manu_attri.txt"
        fields = read_text(path).split() if is_file(path) else []
        row = [whole_number(field, 0, len(names) - 1) for field, names in zip(fields[10:], ATTRIBUTES.values())]
        if len(fields) == 13 and None not in row:
            codes.append(row)
        else:
            bad.append(
                f"{path} must hold five landmarks and the codes of gender (0 to 2), race (0 to 2) and age (0 to 4)"
            )
            codes.append([-1, -1, -1])
    for message in refuse_or_skip(bad, on_bad_sample):
        log.warning(message)
    columns = [pd.Categorical.from_codes(code, names) for code, names in zip(zip(*codes), ATTRIBUTES.values())]
    table = pd.DataFrame(dict(zip(ATTRIBUTES, columns)), index=ids)
    return table.assign(gender=table["gender"].cat.remove_categories("unsure"))


def _read_list(path: Path) -> list[tuple[str, str]]:
    header, *lines = read_rows(path)
    if not {"image", "label"} <= set(map(plain_name, header)):
        raise UserError(f"{path} lacks the columns image and label: expected the list of the Kaggle re-pack.")
    image, label = column_places(path, header, ("image", "label"), "the list of the Kaggle re-pack")
    return [
        (line[image].removeprefix("./"), line[label]) if len(line) == len(header) else (line[0], " ".join(line[1:]))
        for line in lines
    ]


def _labelled(
    rows: list[tuple[str, str]], labels: Path, images: Path, there: set[str]
) -> tuple[pd.DataFrame, list[str]]:
    """Validates the rows `(image path, label code)` of a list of labels.

    Returns:
        The usable rows with the columns `path` and `class_name`, and a message for each other row.

    Raises:
        UserError: The list is that of the compound subset.
    """
    known, bad = [], []
    keys = [listing_key(Path(path).name) for path, _ in rows]
    places = [f"{labels} row {number}" for number in range(1, len(rows) + 1)]
    repeats = repeated_listings(keys, [code for _, code in rows], places)
    for position, (path, code) in enumerate(rows):
        where = places[position]
        if whole_number(code, len(CODES) + 1, COMPOUND_CLASSES) is not None:
            raise UserError(
                f"{where}: label {code} belongs to the compound subset of RAF-DB; "
                "point data.root at the basic subset, whose labels are 1 to 7."
            )
        if code not in CODES:
            bad.append(f"{where}: label must be a code from 1 to 7; got {shown(code)}")
        elif path not in there:
            bad.append(f"{where}: there is no image {images / path}")
        elif position in repeats:
            bad.append(repeats[position])
        else:
            known.append((path, CODES[code]))
    return pd.DataFrame(known, columns=["path", "class_name"]), bad
