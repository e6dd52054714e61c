"""The three parts of FER2013, which FERPlus shares, and what each is used for."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import ClassVar

import pandas as pd

from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.data.splits import SplitPlan, plan_splits
from fer_lightning.errors import UserError

USAGES = ("Training", "PublicTest", "PrivateTest")
MERGED_TEST = "PublicTest+PrivateTest"  # copies whose file names do not tell the two apart


@dataclass(kw_only=True, eq=False)
class Fer2013SplitsDataModule(ExpressionDataModule):
    """Base of datasets over the FER2013 images.

    With `split="official"`, Training is trained on, PublicTest selects and PrivateTest tests. A copy without labelled
    PrivateTest rows is tested on PublicTest, and validation is carved from Training; `split="public_test"` does the
    same with a complete copy, so that both kinds of copies give comparable results. `split="same_faces"` tests on
    PublicTest too, and draws validation by the rows' ids alone: read from their CSV files, FER2013 and FERPlus then
    hold out the same faces, and a network that goes from one to the other meets none again that selects it.
    """

    policies: ClassVar[tuple[str, ...]] = ("official", "public_test", "same_faces", "paper_70_30")

    def use_of_parts(self, official: pd.Series) -> tuple[pd.Series, tuple[str, ...]]:
        """Says what the official parts are used for.

        Args:
            official: One of `USAGES` or `MERGED_TEST` per row; anything else marks a row that cannot be used.

        Returns:
            The split of every row, `""` for a row that is left out, and what a reader of the result must know.

        Raises:
            UserError: The split tests on PublicTest and no row is known to be of it.
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
        """Rows of Training are drawn for validation by a checksum of seed and id, whatever their labels."""
        checksums = frame["id"].map(lambda row: zlib.crc32(f"{self.split_seed} {row}".encode()))
        drawn = (frame["split"] == "train") & (checksums < self.val_fraction * 2**32)
        frame = frame.assign(split=frame["split"].mask(drawn, "val"))
        plan = plan_splits(frame, "official", self.val_fraction, self.split_seed, self.fold)
        told = f"carved: {self.val_fraction:.0%} of the training rows by id, equal for FER2013 and FERPlus"
        return replace(
            plan,
            split="official, validation carved from training by id",
            selection=f"{told}, seed {self.split_seed}",
        )
