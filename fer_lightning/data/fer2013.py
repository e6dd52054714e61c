"""FER2013: 35,887 grey faces of 48 x 48 pixels with seven expressions (Goodfellow et al., 2013).

FERPlus shares its three parts.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.data.folder import read_class_folders, split_folders, unused_files
from fer_lightning.data.labels import SEVEN
from fer_lightning.data.layouts import find_file, named_file, not_found, places
from fer_lightning.data.samples import ImageFiles, ImageReader, Samples, empty_classes, refuse_or_skip
from fer_lightning.data.splits import SplitPlan, plan_splits
from fer_lightning.data.text_tables import read_pixel_csv
from fer_lightning.errors import UserError

CODES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
CSV_NAMES = ("fer2013.csv", "icml_face_data.csv", "train.csv")
TEST_PARTS = ("PublicTest", "PrivateTest")
COUNTS = {
    "Training": (3995, 436, 4097, 7215, 4830, 3171, 4965),
    "PublicTest": (467, 56, 496, 895, 653, 415, 607),
    "PrivateTest": (491, 55, 528, 879, 594, 416, 626),
}
_OFFICIAL_NAME = re.compile(r"(Training|PublicTest|PrivateTest)_\d+$")
USAGES = ("Training", "PublicTest", "PrivateTest")
MERGED_TEST = "PublicTest+PrivateTest"  # copies whose file names do not distinguish the two


@dataclass(kw_only=True, eq=False)
class Fer2013SplitsDataModule(ExpressionDataModule):
    """Base of datasets over the FER2013 images.

    With `split="official"`, Training is for training, PublicTest for validation and PrivateTest for test. A copy
    without labelled PrivateTest rows is tested on PublicTest, and validation is carved from Training;
    `split="public_test"` does the same with a complete copy, so that both kinds of copies give comparable results.
    `split="same_faces"` tests on PublicTest too, and draws validation by the rows' ids alone: read from CSV files,
    FER2013 and FERPlus then hold out the same faces, so that a network trained on one can be evaluated on the other.
    """

    policies: ClassVar[tuple[str, ...]] = ("official", "public_test", "same_faces", "paper_70_30")

    def use_of_parts(self, official: pd.Series) -> tuple[pd.Series, tuple[str, ...]]:
        """Split of every row by its official part.

        Args:
            official: One of `USAGES` or `MERGED_TEST` per row; anything else marks a row that cannot be used.

        Returns:
            The split of every row (`""` for a row that is not used), and notes for a reader of the result.

        Raises:
            UserError: The split tests on PublicTest and there are no PublicTest rows.
        """
        present = set(official)
        uses = {"Training": "train", "PublicTest": "val", "PrivateTest": "test", MERGED_TEST: "test"}
        notes: tuple[str, ...] = ()
        if self.split in ("public_test", "same_faces"):
            if "PublicTest" not in present:
                raise UserError(f"data.split={self.split} needs PublicTest rows, and data.root={self.root} has none.")
            uses = {"Training": "train", "PublicTest": "test"}
        elif "PublicTest" in present and "PrivateTest" not in present:
            uses = {"Training": "train", "PublicTest": "test"}
            notes = ("PrivateTest is absent: PublicTest is the test split and validation is carved from Training",)
        return official.map(uses).fillna(""), notes

    def plan(self, frame: pd.DataFrame) -> SplitPlan:
        if self.split == "same_faces":
            return self._same_faces(frame)
        # `use_of_parts` has already made PublicTest the test split, as it does for an incomplete copy.
        policy = "official" if self.split == "public_test" else self.split
        return plan_splits(frame, policy, self.val_fraction, self.split_seed, self.fold)

    def _same_faces(self, frame: pd.DataFrame) -> SplitPlan:
        """Plan whose validation rows are drawn from Training by a checksum of seed and id, whatever their labels."""
        checksums = frame["id"].map(lambda row: zlib.crc32(f"{self.split_seed} {row}".encode()))
        drawn = (frame["split"] == "train") & (checksums < self.val_fraction * 2**32)
        frame = frame.assign(split=frame["split"].mask(drawn, "val"))
        plan = plan_splits(frame, "official", self.val_fraction, self.split_seed, self.fold)
        rows = f"{self.val_fraction:.0%} of the training rows by id, equal for FER2013 and FERPlus"
        selection = f"carved: {rows}, seed {self.split_seed}"
        return replace(plan, split="official, validation carved from training by id", selection=selection)


@dataclass(kw_only=True, eq=False)
class FER2013(Fer2013SplitsDataModule):
    """FER2013 in any of its releases.

    Reads `fer2013.csv`, `icml_face_data.csv`, `train.csv` (the challenge's `test.csv` has no labels) and the image
    folders `{train,test}/{angry,...}`, where file names `PublicTest_*` and `PrivateTest_*` recover the official split.

    Example:
        >>> data = FER2013(root="data/fer2013")
        >>> data.setup()
        >>> image, target = next(iter(data.train_dataloader()))
        >>> image.shape[1:], len(data.label_set)
        (torch.Size([1, 48, 48]), 7)
    """

    dataset_name = "fer2013"

    def scan(self) -> Samples:
        if path := named_file(self.root) or find_file(self.root, CSV_NAMES):
            return self._from_csv(path)
        for place in places(self.root):
            names = split_folders(place)
            if {"train", "test"} <= set(names.values()):
                return self._from_folders(place, names)
        raise not_found("fer2013", self.root)

    def _from_csv(self, path: Path) -> Samples:
        table = read_pixel_csv(path, len(CODES), USAGES)
        official = table.frame["usage"].replace("", "Training")
        frame = pd.DataFrame(
            {
                "id": official + "_" + table.frame["row"].astype(str),
                "label": table.frame["code"].map(lambda code: SEVEN.index(CODES[code])),
                "official": official,
            }
        )
        notes = []
        if (table.frame["usage"] == "").any():
            notes.append("this release has no labelled test rows: the test split is carved from Training")
        return self._samples(frame, table.reader, path.name, list(table.bad), notes, path)

    def _from_folders(self, folder: Path, names: Mapping[str, str]) -> Samples:
        """Samples of the folders of training and test; `names` maps each folder to its split."""
        used = sorted(
            (name for name, split in names.items() if split != "val"), key=lambda name: names[name], reverse=True
        )
        tree = read_class_folders(folder, used, {name: name for name in CODES})
        split_of = tree.frame["split"].map(names)
        paths, tested = tree.frame["path"], split_of == "test"
        stems = paths.map(lambda path: Path(path).stem)
        named = stems.str.extract(_OFFICIAL_NAME, expand=False)
        bad, notes = list(tree.bad), []
        if named[tested].isin(TEST_PARTS).any():
            official = named.where(tested, "Training")
            # A renamed training file is harmless; a test file in train, or a training file in test, is not.
            strange = np.where(tested, ~named.isin(TEST_PARTS), named.isin(TEST_PARTS))
            bad += [f"{folder / path}: only PublicTest_* and PrivateTest_* belong in test" for path in paths[strange]]
            official = official.mask(strange, "")
        else:
            official = split_of.map({"train": "Training", "test": MERGED_TEST})
            notes.append("file names do not tell PublicTest from PrivateTest: both together are the test split")
        # The stem is the official name and equal in every copy; renamed files have their path as id.
        ids = stems.where(named.notna(), paths)
        twice = ids.duplicated()
        bad += [f"{folder / path}: there is another image of this name" for path in paths[twice]]
        notes += unused_files(folder, paths)
        labels = tree.frame["class_name"].map(SEVEN.index)
        frame = pd.DataFrame({"id": ids, "label": labels, "official": official.mask(twice, "")})
        return self._samples(frame, ImageFiles(folder, tuple(paths)), "image folders", bad, notes, folder)

    def _samples(
        self, rows: pd.DataFrame, reader: ImageReader, release: str, bad: list[str], notes: list[str], source: Path
    ) -> Samples:
        split, split_notes = self.use_of_parts(rows["official"])
        used = np.flatnonzero(split != "")
        frame = rows.assign(split=split, group=rows["id"]).iloc[used].reset_index(drop=True)
        return Samples(
            frame=frame,
            reader=reader.take(used),
            label_set=SEVEN,
            release=release,
            bad=refuse_or_skip([*bad, *empty_classes(frame, SEVEN, source)], self.on_bad_sample),
            expected={part: dict(zip(CODES, counts)) for part, counts in COUNTS.items()},
            notes=(*notes, *split_notes),
        )
