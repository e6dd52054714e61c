"""A data set: one row an image in `scan`; splits, packing, augmentation and batches come with the base class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.data.labels import LabelSet
from fer_lightning.data.samples import ImageFiles, Samples
from fer_lightning.errors import UserError

COLUMNS = ("file", "expression", "person", "split")


@dataclass(kw_only=True, eq=False)
class Faces(ExpressionDataModule):
    """Images with a list `faces.csv` of `file,expression,person,split` beside them.

    Attributes:
        min_images: Smallest number of images that a person must have, an example of an option.
    """

    dataset_name = "mine"  # in protocols: results of different data sets are never compared
    policies = ("official", "paper_70_30", "subject_kfold")

    min_images: int = 1

    def scan(self) -> Samples:
        """Reads the list; no image is opened yet."""
        root = Path(str(self.root)).expanduser()
        table = root / "faces.csv"
        if not table.is_file():
            raise UserError(
                f"data.root must be a folder with faces.csv, a table with the columns {','.join(COLUMNS)}; "
                f"got {self.root}: point data.root or FER_MINE_ROOT at it."
            )
        rows = pd.read_csv(table, dtype=str)
        if missing := [name for name in COLUMNS if name not in rows]:
            raise UserError(f"{table} must have the columns {','.join(COLUMNS)}; {','.join(missing)} is missing.")
        rows = rows[rows.groupby("person")["file"].transform("size") >= self.min_images].reset_index(drop=True)
        labels = LabelSet.of(rows["expression"])  # the project's order; happiness and happy are one class
        frame = pd.DataFrame(
            {
                "id": rows["file"],
                "label": rows["expression"].map(labels.index),
                "official": rows["split"],
                "split": rows["split"],  # train, val, test; without val it is carved from train
                "group": rows["person"],  # never in two folds of subject_kfold
            }
        )
        return Samples(frame=frame, reader=ImageFiles(root, tuple(rows["file"])), label_set=labels, release="2026")
