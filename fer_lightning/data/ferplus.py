"""FERPlus: the FER2013 images labelled again by ten annotators each, eight expressions (Barsoum et al., 2016)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from fer_lightning.data import ferplus_votes as rules
from fer_lightning.data.fer2013 import CODES, CSV_NAMES, USAGES, Fer2013SplitsDataModule
from fer_lightning.data.ferplus_votes import EMOTIONS, VoteTable, read_folder_votes, read_votes
from fer_lightning.data.folder import image_names
from fer_lightning.data.labels import EIGHT
from fer_lightning.data.layouts import find_file, find_folder, not_found
from fer_lightning.data.samples import ImageFiles, ImageReader, Samples, empty_classes, refuse_or_skip
from fer_lightning.data.splits import SplitPlan
from fer_lightning.data.text_tables import PixelTable, read_pixel_csv, shown
from fer_lightning.errors import UserError

LABELS = ("majority", "probability", "soft")
VOTES_NAME = "fer2013new.csv"
FOLDERS = {"Training": "FER2013Train", "PublicTest": "FER2013Valid", "PrivateTest": "FER2013Test"}
MAJORITY_COUNTS = {
    "Training": (8740, 7287, 3149, 3014, 2100, 119, 532, 119),
    "PublicTest": (1182, 865, 415, 351, 287, 24, 62, 13),
    "PrivateTest": (1090, 893, 396, 384, 273, 18, 83, 16),
}


@dataclass(kw_only=True, eq=False)
class FERPlus(Fer2013SplitsDataModule):
    """FERPlus with `fer2013.csv` or an equivalent file, or in the folders that the owner's script generates.

    Attributes:
        labels: Label rule of training rows: `"majority"`, `"probability"` or `"soft"` (see `ferplus_votes`). Validation
            and test rows always have the majority label; training rows without a majority are never carved off
            (`split="same_faces"` omits those that it draws).

    Example:
        >>> data = FERPlus(root="data/ferplus", labels="soft")
        >>> data.setup()
        >>> image, target = next(iter(data.train_dataloader()))
        >>> image.shape[1:], len(data.label_set)
        (torch.Size([1, 48, 48]), 8)
    """

    dataset_name = "ferplus"

    labels: str = "majority"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("labels", self.labels, LABELS)

    def scan(self) -> Samples:
        votes, pixels = find_file(self.root, (VOTES_NAME,)), find_file(self.root, CSV_NAMES)
        if votes and pixels:
            return self._from_csv(votes, pixels)
        folder = find_folder(self.root, (FOLDERS["Training"],))
        if folder and image_names(folder / FOLDERS["Training"]):
            return self._from_folders(folder)
        raise not_found("ferplus", self.root)

    def plan(self, frame: pd.DataFrame) -> SplitPlan:
        plan = super().plan(frame)
        undecided = (plan.names != "train") & ~frame["majority"].to_numpy()
        if not undecided.any():
            return plan
        return replace(
            plan,
            # With same_faces, no face may be trained on that the other data set holds out.
            names=np.where(undecided, "" if self.split == "same_faces" else "train", plan.names),
            selection=f"{plan.selection}, of these the rows with a majority",
        )

    def _from_csv(self, votes_path: Path, pixels_path: Path) -> Samples:
        votes = read_votes(votes_path)
        pixels = read_pixel_csv(pixels_path, len(CODES), USAGES)
        rows = align_rows(votes, pixels, votes_path, pixels_path)
        table = votes.frame.iloc[rows].reset_index(drop=True)
        return self._samples(
            table.assign(id=table["usage"] + "_" + pixels.frame["row"].astype(str)),  # as in FER2013
            votes.votes[rows],
            pixels.reader,
            f"{votes_path.name} with {pixels_path.name}",
            votes_path,
            [*votes.bad, *pixels.bad],
        )

    def _from_folders(self, folder: Path) -> Samples:
        tables, paths, bad = [], [], []
        for usage, name in FOLDERS.items():
            if not (folder / name).is_dir():
                continue
            labels = folder / name / "label.csv"
            if not labels.is_file():
                raise UserError(f"{labels} is missing: create it with the owner's generate_training_data.py.")
            table = read_folder_votes(labels, usage)
            there = set(image_names(folder / name))
            for image in sorted(there - set(table.frame["image"])):
                bad.append(f"{folder / name / image}: this image is not in {labels.name}")
            exists = table.frame["image"].isin(there)
            bad += [*table.bad]
            bad += [
                f"{labels} row {row + 1}: there is no image {table.frame['image'][row]}"
                for row in np.flatnonzero(~exists)
            ]
            tables.append(replace(table, frame=table.frame.assign(valid=table.frame["valid"] & exists)))
            paths += [f"{name}/{image}" for image in table.frame["image"]]
        frame = pd.concat([table.frame for table in tables], ignore_index=True)
        # Four image names of the owner are listed twice for two equal images, and both count.
        repeats = frame.groupby("image").cumcount()
        if (repeats > 1).any():
            raise UserError(f"{folder} lists {shown(frame['image'][repeats.argmax()])} more than twice: list it once.")
        names = frame["image"].str.removesuffix(".png")
        frame["id"] = names.where(repeats == 0, names + "_again")
        votes = np.concatenate([table.votes for table in tables])
        return self._samples(frame, votes, ImageFiles(folder, tuple(paths)), "generated folders", folder, bad)

    def _samples(
        self, table: pd.DataFrame, votes: np.ndarray, reader: ImageReader, release: str, source: Path, bad: list[str]
    ) -> Samples:
        split, notes = self.use_of_parts(table["usage"])
        emotion = rules.majority(votes)
        has_majority = emotion != rules.DROPPED
        distributions = np.eye(len(EIGHT))[emotion]
        in_training = (table["usage"] == "Training").to_numpy()
        usable = has_majority.copy()
        if self.labels != "majority":
            rule = rules.probability if self.labels == "probability" else rules.soft_votes
            distributions[in_training] = rule(votes[in_training])
            usable[in_training] = distributions[in_training].any(axis=1)
            emotion = distributions.argmax(axis=1)
        used = np.flatnonzero(usable & (split != "") & (table["image"] != "") & table["valid"])
        order = [rules.EMOTIONS.index(name) for name in EIGHT.classes]
        frame = pd.DataFrame(
            {
                "id": table["id"],
                "label": np.argsort(order)[emotion],
                "official": table["usage"],
                "split": split,
                "group": table["id"],
                "majority": has_majority,
            }
        )
        frame = frame.iloc[used].reset_index(drop=True)
        return Samples(
            frame=frame,
            reader=reader.take(used),
            label_set=EIGHT,
            release=release,
            label_rule=f"FERPlus {self.labels}",
            distributions=None if self.labels == "majority" else distributions[used][:, order].astype(np.float32),
            bad=refuse_or_skip([*bad, *empty_classes(frame, EIGHT, source)], self.on_bad_sample),
            expected={
                part: dict(zip(rules.EMOTIONS, counts))
                for part, counts in MAJORITY_COUNTS.items()
                if self.labels == "majority" or part != "Training"
            },
            notes=notes,
        )


def align_rows(votes: VoteTable, pixels: PixelTable, votes_path: Path, pixels_path: Path) -> np.ndarray:
    """Row of the votes for each usable row of the pixels.

    The files are aligned row by row; votes of parts that the pixel file lacks (mostly PrivateTest) are not used.

    Raises:
        UserError: The two files cannot be aligned.
    """
    _check_order(votes, votes_path)
    unknown = np.flatnonzero(~votes.frame["usage"].isin(USAGES))
    if len(unknown):
        raise UserError(
            f"{votes_path} row {unknown[0] + 1}: Usage must be one of {', '.join(USAGES)}; got "
            f"{shown(votes.frame['usage'][unknown[0]])}: use the file as published, since rows are matched by position."
        )
    usage = pixels.frame["usage"].replace("", "Training")
    of_these_parts = np.flatnonzero(votes.frame["usage"].isin(set(usage)))
    count = len(pixels.frame) + len(pixels.bad)
    if len(of_these_parts) == count:
        rows = of_these_parts[pixels.frame["row"]]
        if (votes.frame["usage"].to_numpy()[rows] == usage.to_numpy()).all():
            return rows
    parts = " + ".join(f"{number} {part}" for part, number in usage.value_counts(sort=False).items())
    raise UserError(
        f"{votes_path} and {pixels_path} must be row-aligned; the latter has {parts} rows, the former "
        f"{len(of_these_parts)} of these parts, or in another order: use the two files as published."
    )


def _check_order(votes: VoteTable, path: Path) -> None:
    """Raises `UserError` for a sorted file, whose labels would belong to other faces.

    The owner's file holds its image names in ascending order, but for four that are listed twice, and the rows without
    a name are between them. In a sorted file, the names are in another order or these rows are all at one end.
    """
    for usage, rows in votes.frame.groupby("usage", sort=False):
        names = rows["image"][(rows["image"] != "") & ~rows["image"].duplicated(keep=False)]
        unnamed = np.flatnonzero(rows["image"] == "")
        together = len(unnamed) > 1 and np.ptp(unnamed) == len(unnamed) - 1
        at_an_end = together and (unnamed[0] == 0 or unnamed[-1] == len(rows) - 1)
        if not names.is_monotonic_increasing or (at_an_end and len(unnamed) < len(rows)):
            raise UserError(
                f"{path} must be in the owner's order, in which names of {shown(usage)[1:-1]} ascend with rows without "
                "a name between them; it was sorted, and its votes belong to other faces: use the file as published."
            )


@dataclass(frozen=True)
class VoteLabels:
    """Labels of FER2013 and votes of FERPlus for the same images.

    Attributes:
        usage: Official split of each image `(N,)`.
        label: FER2013's label `(N,)`, as an index into `ferplus_votes.EMOTIONS`.
        votes: FERPlus' votes `(N, 10)`: `EMOTIONS`, then unknown and no face; every image has a vote.
        left_out: Number of rows that cannot be used.
    """

    usage: np.ndarray
    label: np.ndarray
    votes: np.ndarray
    left_out: int


def read_vote_labels(root: str | None) -> VoteLabels:
    """Reads `fer2013new.csv` beside `fer2013.csv` or an equivalent file.

    Raises:
        UserError: One of the files is missing, or they are not row-aligned.
    """
    votes_path, pixels_path = find_file(root, (VOTES_NAME,)), find_file(root, CSV_NAMES)
    if not votes_path or not pixels_path:
        raise not_found("ferplus", root)
    votes, pixels = read_votes(votes_path), read_pixel_csv(pixels_path, len(CODES), USAGES)
    rows = align_rows(votes, pixels, votes_path, pixels_path)
    usable = votes.frame["valid"].to_numpy()[rows]
    columns = np.array([EMOTIONS.index(name) for name in CODES])
    return VoteLabels(
        usage=votes.frame["usage"].to_numpy(str)[rows][usable],
        label=columns[pixels.frame["code"]][usable],
        votes=votes.votes[rows][usable],
        left_out=len(pixels.bad) + int((~usable).sum()),
    )
