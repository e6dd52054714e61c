"""The faces on which an exported network is held against the one it came from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import softmax

from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.data.dataset import ExpressionDataset
from fer_lightning.data.labels import SEVEN
from fer_lightning.data.auxiliary import SIDE_SIZES, SideVectors
from fer_lightning.data.store import LazyImages
from fer_lightning.data.synthetic import DrawnFaces
from fer_lightning.evaluation.predictions import PROBABILITY_PREFIX
from fer_lightning.training.label_sets import share_classes
from fer_lightning.evaluation.scoring import score

Compute = Callable[[Mapping[str, np.ndarray]], np.ndarray]  # from inputs by name to logits (B, K)

_BATCH = 50
_DRAWN = 70
_DIFFICULTY = 0.55
_SCORES = ("n", "accuracy", "accuracy_low", "accuracy_high", "macro_f1", "ece")


@dataclass(frozen=True)
class Faces:
    """Faces in the preprocessing of a network.

    Attributes:
        dataset: Where they lie.
        rows: Which of its images, `(N,)`.
        told: What they are, for readers.
    """

    dataset: ExpressionDataset
    rows: np.ndarray
    told: str

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self) -> Iterator[dict[str, np.ndarray]]:
        """Yields the inputs of the network: `image`, and `side` where it takes side vectors, float32."""
        for start in range(0, len(self.rows), _BATCH):
            image, *side, _ = self.dataset.__getitems__(self.rows[start : start + _BATCH].tolist())
            inputs = {"image": image.contiguous().numpy()}
            if side:
                inputs["side"] = side[0].numpy()
            yield inputs

    def count_batches(self) -> int:
        """How many batches there are."""
        return -(-len(self.rows) // _BATCH)


def real_faces(datamodule: ExpressionDataModule, split: str, most: int | None, seed: int) -> Faces:
    """Faces of a split, drawn by chance where not all are wanted.

    Args:
        datamodule: Set up.
        split: `"train"`, `"val"` or `"test"`; training images come without augmentation.
        most: How many; None for all.
        seed: Of the choice.
    """
    dataset = datamodule.dataset(split)
    rows = np.arange(len(dataset))
    if most is not None and most < len(dataset):
        rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    return Faces(dataset, rows, f"{len(rows):,} faces of {datamodule.dataset_name}, {split}")


def drawn_faces(preprocessing: Mapping[str, Any]) -> Faces:
    """Faces of the embedded data set, for networks whose own data is out of reach; none has landmarks."""
    rows = np.arange(_DRAWN)
    images = LazyImages(
        DrawnFaces(0, SEVEN.classes, _DIFFICULTY, rows), preprocessing["image_size"], preprocessing["channels"]
    )
    kind = preprocessing["side"]
    side = None if kind == "none" else SideVectors(kind, np.zeros((_DRAWN, SIDE_SIZES[kind]), np.float32))
    targets = np.zeros(_DRAWN, np.int64)
    dataset = ExpressionDataset(images, rows, targets, None, preprocessing["mean"], preprocessing["std"], side)
    return Faces(dataset, rows, f"{_DRAWN} drawn faces")


def scores_of(
    logits: np.ndarray, temperature: float, faces: Faces, classes: Sequence[str], data_classes: Sequence[str]
) -> dict[str, float]:
    """Scores on faces of a data set; classes are matched by name.

    Args:
        logits: `(N, K)`.
        temperature: By which they are divided.
        faces: The N faces.
        classes: The K class names of the network.
        data_classes: Those of the data set.

    Raises:
        UserError: Network and data share fewer than two classes.
    """
    targets = faces.dataset.targets.numpy()[faces.rows]
    targets = targets if targets.ndim == 1 else targets.argmax(axis=1)
    table = pd.DataFrame({"id": faces.rows.astype(str), "split": "", "target": targets})
    columns = [PROBABILITY_PREFIX + name for name in classes]
    table = pd.concat([table, pd.DataFrame(softmax(logits / temperature, axis=1), columns=columns)], axis=1)
    shared = share_classes(table, classes, data_classes)
    scores = score(shared.table, shared.classes)
    return {name: scores[name] for name in _SCORES}  # type: ignore[misc]
