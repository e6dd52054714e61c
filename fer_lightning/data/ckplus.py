"""CK+ (Extended Cohn-Kanade): 593 posed sequences of 123 people, 327 of them labelled (Lucey et al., 2010)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.data.folder import image_names, read_class_folders, unused_files
from fer_lightning.data.labels import LabelSet
from fer_lightning.data.layouts import find_file, find_folder, is_hidden, named_file, not_found, sorted_folders
from fer_lightning.data.samples import (
    ImageFiles,
    ImageReader,
    Samples,
    empty_classes,
    refuse_or_skip,
    repeated_listings,
)
from fer_lightning.data.text_tables import read_pixel_csv, read_text, whole_decimal
from fer_lightning.errors import UserError

CODES = {1: "angry", 2: "contempt", 3: "disgust", 4: "fear", 5: "happy", 6: "sad", 7: "surprise"}
CSV_CODES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "contempt")
CSV_USAGES = ("Training", "PublicTest", "PrivateTest")
IMAGES, LABELS = "cohn-kanade-images", "Emotion"
SEQUENCES = {"angry": 45, "contempt": 18, "disgust": 59, "fear": 25, "happy": 69, "sad": 28, "surprise": 83}
FRAMES_OF_REPACK = 3
_FRAME_NAME = re.compile(r"(?P<subject>S\d+)_(?P<sequence>\d+)_\d+$")


@dataclass(kw_only=True, eq=False)
class CKPlus(ExpressionDataModule):
    """CK+ as its owners distribute it, the CK+48 re-pack, or `ckextended.csv`.

    A sequence runs from a neutral face to the peak of the expression. There is no official split; the convention is ten
    folds with disjoint subjects, `split="subject_kfold"`.

    Attributes:
        frames: Number of frames at the end of each labelled sequence that are used.
        neutral: Whether the first frame of each labelled sequence is used as the class neutral.

    Example:
        >>> data = CKPlus(root="data/ckplus", fold=3)
        >>> data.setup()
        >>> image, target = next(iter(data.train_dataloader()))
        >>> image.shape[1:], len(data.label_set)
        (torch.Size([1, 48, 48]), 7)
    """

    dataset_name = "ckplus"
    policies: ClassVar[tuple[str, ...]] = ("subject_kfold", "paper_70_30")

    split: str = "subject_kfold"
    frames: int = 3
    neutral: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frames < 1:
            raise UserError(f"data.frames must be at least 1; got {self.frames}.")

    def scan(self) -> Samples:
        if path := named_file(self.root) or find_file(self.root, ("ckextended.csv",)):
            return self._from_csv(path)
        images, labels = find_folder(self.root, (IMAGES,)), find_folder(self.root, (LABELS,))
        if images and labels:
            return self._from_sequences(images / IMAGES, labels / LABELS)
        if images:
            raise UserError(f"{images / LABELS} is missing: unpack the owners' Emotion_labels.zip beside {IMAGES}.")
        if folder := find_folder(self.root, ("happy", "surprise")):
            return self._from_repack(folder)
        raise not_found("ckplus", self.root)

    def _from_sequences(self, images: Path, labels: Path) -> Samples:
        rows: list[tuple[str, str]] = []
        bad: list[str] = []
        labelled = used_labels = 0
        for subject in sorted_folders(labels):
            for sequence in sorted_folders(subject):
                files = sorted(path for path in sequence.glob("*_emotion.txt") if not path.name.startswith("."))
                if not files:
                    continue
                labelled += 1
                used_labels += len(files)
                place = f"{subject.name}/{sequence.name}"
                frames = image_names(images / place) if (images / place).is_dir() else []
                expression = _read_expression(files[0])
                prefix = f"{subject.name}_{sequence.name}_"
                strange = [path for path in files if not path.name.startswith(prefix)]
                strange += [images / place / frame for frame in frames if not frame.startswith(prefix)]
                if expression is None:
                    bad.append(f"{files[0]} row 1: expected a code from 1 to {len(CODES)}")
                elif strange:
                    bad.append(f"{strange[0]}: expected a name that begins with {prefix}, as its folder")
                elif len(files) > 1:
                    bad.append(f"{files[1]}: this sequence has another label in {files[0].name}")
                elif not frames:
                    bad.append(f"{files[0]}: there are no images in {images / place}")
                else:
                    if self.neutral:
                        rows.append((f"{place}/{frames.pop(0)}", "neutral"))
                    rows += [(f"{place}/{frame}", expression) for frame in frames[-self.frames :]]
        sequences = sum(len(sorted_folders(subject)) for subject in sorted_folders(images))
        notes = ["faces are not cropped: these are whole frames of a studio camera"]
        if sequences > labelled:
            notes.append(f"{sequences - labelled} of {sequences} sequences have no label and are left out")
        misplaced = sum(1 for path in labels.rglob("*_emotion.txt") if not is_hidden(path.name)) - used_labels
        if misplaced:
            notes.append(f"{misplaced} files *_emotion.txt in {labels} are in other places than SUBJECT/SEQUENCE/")
        notes += unused_files(
            images, [path.relative_to(images).as_posix() for path in images.glob("*/*/*") if not path.is_dir()]
        )
        table = pd.DataFrame(rows, columns=["path", "class_name"])
        return self._from_frames(table, images, "owners' release", self.frames, bad, notes)

    def _from_repack(self, folder: Path) -> Samples:
        if self.neutral:
            raise UserError(f"{folder} is the CK+48 re-pack, which has no neutral frames: use data.neutral=false.")
        tree = read_class_folders(folder, (), {name: name for name in SEQUENCES})
        parts = tree.frame["path"].map(lambda path: Path(path).stem).str.extract(_FRAME_NAME)
        strange = parts["subject"].isna()
        bad = [*tree.bad]
        bad += [f"{folder / path}: expected a name like S010_004_00000017" for path in tree.frame["path"][strange]]
        usable = tree.frame[~strange]
        keys = [Path(path).stem.casefold() for path in usable["path"]]
        places = [str(folder / path) for path in usable["path"]]
        repeats = repeated_listings(keys, usable["class_name"].tolist(), places)
        bad += repeats.values()
        usable = usable.drop(usable.index[list(repeats)])
        last = usable.groupby([parts["subject"], parts["sequence"]], sort=False).tail(self.frames)
        notes = list(unused_files(folder, tree.frame["path"]))
        return self._from_frames(last, folder, "CK+48 re-pack", min(self.frames, FRAMES_OF_REPACK), bad, notes)

    def _from_csv(self, path: Path) -> Samples:
        table = read_pixel_csv(path, len(CSV_CODES), CSV_USAGES)
        names = table.frame["code"].map(lambda code: CSV_CODES[code])
        used = np.flatnonzero((names != "neutral") | self.neutral)
        ids = "row_" + table.frame["row"].iloc[used].astype(str)
        rows = pd.DataFrame({"id": ids, "group": ids, "class_name": names.iloc[used]}).reset_index(drop=True)
        notes = (
            "there are no subject ids: subject independence is impossible, people may be trained on and tested",
            "there is one frame a sequence, whatever data.frames says, and the Usage column is not used",
        )
        release = "ckextended.csv (no subject ids)"
        return self._samples(rows, table.reader.take(used), release, {}, list(table.bad), notes, path)

    def _from_frames(
        self, table: pd.DataFrame, folder: Path, release: str, frames: int, bad: list[str], notes: list[str]
    ) -> Samples:
        """Samples of a table with the columns `path` and `class_name`; the file name begins with the subject."""
        ids = table["path"].map(lambda path: Path(path).stem).reset_index(drop=True)
        rows = pd.DataFrame(
            {"id": ids, "group": [name.partition("_")[0] for name in ids], "class_name": table["class_name"].to_numpy()}
        )
        expected = {name: count * frames for name, count in SEQUENCES.items()}
        if self.neutral:
            expected["neutral"] = sum(SEQUENCES.values())
        reader = ImageFiles(folder, tuple(table["path"]))
        return self._samples(
            rows, reader, f"{release}, last {frames} frames", {"": expected}, bad, tuple(notes), folder
        )

    def _samples(
        self,
        rows: pd.DataFrame,
        reader: ImageReader,
        release: str,
        expected: dict[str, dict[str, int]],
        bad: list[str],
        notes: tuple[str, ...],
        source: Path,
    ) -> Samples:
        label_set = LabelSet.of([*SEQUENCES, "neutral"] if self.neutral else SEQUENCES)
        frame = rows[["id", "group"]].assign(label=rows["class_name"].map(label_set.index), official="", split="")
        return Samples(
            frame=frame,
            reader=reader,
            label_set=label_set,
            release=release,
            label_rule="single label" + (", first frames as neutral" if self.neutral else ""),
            bad=refuse_or_skip([*bad, *empty_classes(frame, label_set, source)], self.on_bad_sample),
            expected=expected,
            notes=notes,
        )


def _read_expression(path: Path) -> str | None:
    """Expression of an `*_emotion.txt` (`"   3.0000000e+00"`), None where the file holds no valid code."""
    try:
        code = whole_decimal(read_text(path), 1, len(CODES))
    except UserError:
        return None
    return None if code is None else CODES[code]
