"""The embedded data set: synthetic faces, with which everything runs and is tested without a download."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.data.labels import EIGHT, SEVEN, LabelSet
from fer_lightning.data.samples import Samples
from fer_lightning.data.synthetic_faces.parameters import FaceParameters
from fer_lightning.data.synthetic_faces.render import DRAWING_VERSION, draw_face
from fer_lightning.data.synthetic_faces.sampling import SAMPLING_VERSION, sample_face
from fer_lightning.errors import UserError

DRAWN_SIDE = 96
TRAIN_SHARE, VAL_SHARE = 0.7, 0.1


@dataclass(frozen=True)
class SyntheticFaces:
    """Reader of synthetic faces, which are drawn when they are read.

    Every person shows every expression once: picture `k` shows person `k // len(classes)`, class `k % len(classes)`.

    Attributes:
        seed: Seed of people and pictures.
        classes: Canonical class names.
        difficulty: Difficulty from 0 (passport photograph) to 1 (in the wild); see `sample_face`.
        pictures: Number `k` of the picture in each row, `(N,)` int64.
    """

    seed: int
    classes: tuple[str, ...]
    difficulty: float
    pictures: np.ndarray

    def __len__(self) -> int:
        return len(self.pictures)

    def parameters(self, position: int) -> FaceParameters:
        """Parameters of the face in a row."""
        picture = int(self.pictures[position])
        person, label = divmod(picture, len(self.classes))
        return sample_face(self.seed, picture, person, self.classes[label], self.classes, self.difficulty)

    def read(self, position: int) -> np.ndarray:
        return draw_face(self.parameters(position), DRAWN_SIDE)

    def take(self, positions: np.ndarray) -> SyntheticFaces:
        return replace(self, pictures=self.pictures[positions])

    def content_key(self) -> str:
        versions = f"drawing {DRAWING_VERSION}, sampling {SAMPLING_VERSION}, {DRAWN_SIDE} pixels"
        digest = hashlib.sha256(f"{versions}: {self.seed} {','.join(self.classes)} {self.difficulty!r}".encode())
        digest.update(np.ascontiguousarray(self.pictures, "<i8").tobytes())
        return digest.hexdigest()

    def local_key(self) -> str:
        return self.content_key()


@dataclass(kw_only=True, eq=False)
class Synthetic(ExpressionDataModule):
    """Synthetic faces; `root` is not used.

    Attributes:
        classes: Number of expressions: 7, or 8 with contempt.
        size: Number of pictures in all splits together.
        difficulty: Difficulty from 0 (easy) to 1 (hard).
        face_seed: Seed of the pictures; not the seed of the run, so that all runs share one data set.

    Example:
        >>> data = Synthetic(size=140)
        >>> data.setup()
        >>> image, target = next(iter(data.train_dataloader()))
        >>> image.shape, data.label_set.classes[:3]
        (torch.Size([64, 1, 48, 48]), ('angry', 'disgust', 'fear'))
    """

    dataset_name = "synthetic"
    policies = ("official", "paper_70_30", "subject_kfold")

    root: str | None = None
    classes: int = 7
    size: int = 6000
    difficulty: float = 0.55
    face_seed: int = 0

    def scan(self) -> Samples:
        """Assigns people and splits; no picture is drawn yet.

        Raises:
            UserError: An option is out of range.
        """
        reader, labels = self._reader(), self._labels()
        positions = np.arange(self.size)
        people = positions // len(labels)
        splits = _split_of(people, int(people[-1]) + 1)
        frame = pd.DataFrame(
            {
                "id": [f"face{position:06d}" for position in positions],
                "label": positions % len(labels),
                "official": splits,
                "split": splits,
                "group": [f"person{person:05d}" for person in people],
            }
        )
        return Samples(
            frame=frame,
            reader=reader,
            label_set=labels,
            release=f"synthetic faces, version {DRAWING_VERSION}.{SAMPLING_VERSION}, seed {self.face_seed}, "
            f"difficulty {self.difficulty:g}",
        )

    def parameters(self) -> pd.DataFrame:
        """Parameters of every picture, for studies of robustness.

        Returns:
            One row a picture: `id`, `group`, `official` (the split), then the fields of `FaceParameters.to_row`.
        """
        samples = self.scan()
        reader = self._reader()
        rows = pd.DataFrame([reader.parameters(position).to_row() for position in range(self.size)])
        return pd.concat([samples.frame[["id", "group", "official"]], rows], axis=1)

    def _labels(self) -> LabelSet:
        if self.classes not in (7, 8):
            raise UserError(f"data.classes must be 7, or 8 with contempt; got {self.classes}.")
        return SEVEN if self.classes == 7 else EIGHT

    def _reader(self) -> SyntheticFaces:
        labels = self._labels()
        if not 0 <= self.difficulty <= 1:
            raise UserError(f"data.difficulty must be from 0 (easy) to 1 (hard); got {self.difficulty}.")
        if self.size < 10 * len(labels):
            raise UserError(
                f"data.size must be at least {10 * len(labels)}, ten people with {len(labels)} expressions each; "
                f"got {self.size}."
            )
        return SyntheticFaces(self.face_seed, labels.classes, float(self.difficulty), np.arange(self.size))


def _split_of(people: np.ndarray, count: int) -> np.ndarray:
    """Split of each picture; all pictures of a person are in one split."""
    train_end = round(TRAIN_SHARE * count)
    val_end = train_end + round(VAL_SHARE * count)
    return np.select([people < train_end, people < val_end], ["train", "val"], "test").astype(object)
