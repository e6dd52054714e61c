"""The three parts of FER2013, which FERPlus shares, and what each is used for."""

from __future__ import annotations

from dataclasses import dataclass
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
    same with a complete copy, so that both kinds of copies give comparable results.
    """

    policies: ClassVar[tuple[str, ...]] = ("official", "public_test", "paper_70_30")

    def use_of_parts(self, official: pd.Series) -> tuple[pd.Series, tuple[str, ...]]:
        """Says what the official parts are used for.

        Args:
            official: One of `USAGES` or `MERGED_TEST` per row; anything else marks a row that cannot be used.

        Returns:
            The split of every row, `""` for a row that is left out, and what a reader of the result must know.

        Raises:
            UserError: `split="public_test"` and no row is known to be PublicTest.
        """
        present = set(official)
        uses = {"Training": "train", "PublicTest": "val", "PrivateTest": "test", MERGED_TEST: "test"}
        notes: tuple[str, ...] = ()
        if self.split == "public_test":
            if "PublicTest" not in present:
                raise UserError(f"data.split=public_test needs PublicTest rows, and data.root={self.root} has none.")
            uses = {"Training": "train", "PublicTest": "test"}
        elif "PublicTest" in present and "PrivateTest" not in present:
            uses = {"Training": "train", "PublicTest": "test"}
            notes = ("PrivateTest is absent: PublicTest is the test split and validation is carved from Training",)
        return official.map(uses).fillna(""), notes

    def plan(self, frame: pd.DataFrame) -> SplitPlan:
        # `use_of_parts` has already made PublicTest the test split, as it does for an incomplete copy.
        policy = "official" if self.split == "public_test" else self.split
        return plan_splits(frame, policy, self.val_fraction, self.split_seed, self.fold)
