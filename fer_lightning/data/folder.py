"""Any images sorted into class folders, with or without a folder for each split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fer_lightning.data.bad_samples import refuse_or_skip
from fer_lightning.data.class_folders import (
    SPLIT_NAMES,
    image_names,
    read_class_folders,
    split_folders,
    unused_files,
)
from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.data.empty_classes import empty_classes
from fer_lightning.data.labels import LabelSet
from fer_lightning.data.locate import places, sorted_folders
from fer_lightning.data.samples import ImageFiles, Samples
from fer_lightning.errors import UserError


@dataclass(kw_only=True, eq=False)
class Folder(ExpressionDataModule):
    """Images as `split/class/image.jpg` or `class/image.jpg`.

    The splits are called `train` (or `training`), `val` (or `valid`, `validation`, `dev`) and `test` (or `testing`);
    whatever is missing is carved from training. The classes are the names of the folders, known expressions in the
    project's spelling (`happiness` is `happy`).
    """

    dataset_name = "folder"

    def scan(self) -> Samples:
        folder, splits = self._find()
        tree = read_class_folders(folder, splits, None)
        label_set = LabelSet.of(tree.classes)
        frame = pd.DataFrame(
            {
                "id": tree.frame["path"],
                "label": tree.frame["class_name"].map(label_set.index),
                "official": tree.frame["split"],
                "split": tree.frame["split"].map(lambda name: SPLIT_NAMES.get(name.lower(), "")),
                "group": tree.frame["path"],
            }
        )
        return Samples(
            frame=frame,
            reader=ImageFiles(folder, tuple(tree.frame["path"])),
            label_set=label_set,
            release="class folders by split" if splits else "class folders without splits",
            bad=refuse_or_skip([*tree.bad, *empty_classes(frame, label_set, folder)], self.on_bad_sample),
            notes=unused_files(folder, tree.frame["path"]),
        )

    def _find(self) -> tuple[Path, list[str]]:
        """The folder that holds the tree, and the names of its split folders."""
        for place in places(self.root):
            splits = list(split_folders(place))
            if any(image_names(child) for split in splits for child in sorted_folders(place / split)):
                return place, splits
            if not splits and any(image_names(child) for child in sorted_folders(place)):
                return place, []
        raise UserError(
            f"No images in class folders were found at data.root={self.root}: looked there and one folder below for "
            "{train,val,test}/CLASS/*.jpg or CLASS/*.jpg; point data.root at such a folder."
        )
