"""Cross-data-set evaluation: scores over the shared classes, without images that the network was trained on.

Classes are matched by name; those that only the network or only the data has are reported.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl

from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.data.labels import LabelSet
from fer_lightning.errors import UserError
from fer_lightning.evaluation.scoring import Inference, predict_split, score
from fer_lightning.results.protocol import AFFECT
from fer_lightning.results.run_record import PROBABILITY_PREFIX, TARGET_PREFIX

log = logging.getLogger(__name__)
_SCORES = ("n", "accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy", "macro_f1")


def predict_shared(
    trainer: pl.Trainer, inference: Inference, datamodule: ExpressionDataModule, split: str, classes: Sequence[str]
) -> SharedPredictions:
    """Predicts a split over the classes that network and data share, and logs a warning for the others.

    Arguments are as for `predict_split`.

    Raises:
        UserError: They share fewer than two classes.
    """
    predicted = predict_split(trainer, inference, datamodule, split, classes)
    shared = share_classes(predicted, classes, datamodule.label_set.classes)
    for name, count in shared.left_out.items():
        log.warning("%d images of class %s are left out: the network does not have this class.", count, name)
    if shared.never_right:
        log.warning(
            "The data has no class %s: predictions are restricted to the other classes.", ", ".join(shared.never_right)
        )
    return shared


def score_other_data(
    trainer: pl.Trainer,
    inference: Inference,
    datamodule: ExpressionDataModule,
    classes: Sequence[str],
    training_data: ExpressionDataModule | None,
) -> dict[str, Any]:
    """Scores a network on the test split of another data set.

    Two data sets may contain the same images, as FER2013 and FERPlus do. Test images with an exact copy in the training
    or validation split of `training_data` are left out.

    Args:
        trainer: Trainer that runs the prediction.
        inference: The network.
        datamodule: The other data set, set up with the preprocessing of the network.
        classes: Class names of the network.
        training_data: Data that the network was trained on, with the same preprocessing; None if it is not available.

    Returns:
        `protocol` (its classes are the shared ones), `n`, `accuracy`, `accuracy_low`, `accuracy_high`,
        `balanced_accuracy`, `macro_f1`, `left_out` (number of images by class that the network does not have),
        `never_right` (classes of the network that the data does not have), `seen` (number of images left out because of
        a copy) and `same_pictures` (share of the other data set, over all splits, that the training data contains too);
        the last two are None without `training_data`.

    Raises:
        UserError: Network and data share fewer than two classes, or no test image is left.

    Readings:
        - A copy equals the image in every pixel at the image size of the network. A release with lossy compression (the
          image folders of FER2013 as JPEG) matches none of the lossless ones; there, only the official splits, which
          FER2013 and FERPlus share, separate training from test images.
    """
    shared = predict_shared(trainer, inference, datamodule, "test", classes)
    table, seen, same_pictures = shared.table, None, None
    if training_data is not None:
        known = datamodule.ids("test")[_has_copy(datamodule, training_data, ("test",), ("train", "val"))]
        table = table[~table["id"].isin(known)]
        seen = len(shared.table) - len(table)
        splits = ("train", "val", "test")
        same_pictures = float(_has_copy(datamodule, training_data, splits, splits).mean())
    if table.empty:
        raise UserError(
            f"{datamodule.dataset_name} must have test images of classes that the network has, without copies in its "
            "training data; got none: choose another data set."
        )
    scores = score(table, shared.classes)
    return {
        "protocol": replace(datamodule.protocol, classes=shared.classes, prior=inference.prior.name).to_dict(),
        **{name: scores[name] for name in _SCORES},
        "left_out": shared.left_out,
        "never_right": list(shared.never_right),
        "seen": seen,
        "same_pictures": same_pictures,
    }


def _has_copy(
    datamodule: ExpressionDataModule,
    other: ExpressionDataModule,
    splits: tuple[str, ...],
    other_splits: tuple[str, ...],
) -> np.ndarray:
    """Mask `(N,)` of the rows of some splits that equal, in every pixel, a row of some splits of another data set."""
    digests, other_digests = (
        data.copies.digests[data.frame.loc[data.frame["split"].isin(names), "row"]]
        for data, names in ((datamodule, splits), (other, other_splits))
    )
    return np.isin(digests, other_digests)


@dataclass(frozen=True)
class SharedPredictions:
    """Predictions over the classes that network and data share.

    Attributes:
        table: Predictions as in `RunRecord`; targets and columns follow `classes`, and the probabilities of a row are
            renormalised to sum to 1.
        classes: The shared classes in canonical order.
        left_out: Number of rows, by class, whose class the network does not have.
        never_right: Classes of the network that the data does not have.
    """

    table: pd.DataFrame
    classes: tuple[str, ...]
    left_out: dict[str, int]
    never_right: tuple[str, ...]


def share_classes(table: pd.DataFrame, net: Sequence[str], data: Sequence[str]) -> SharedPredictions:
    """Restricts predictions to the classes that network and data share.

    Args:
        table: Columns `id`, `split`, `target` (index into `data`) and `prob_<class>` of every class in `net`.
        net: Class names of the network.
        data: Class names of the data.

    Raises:
        UserError: They share fewer than two classes.
    """
    classes = LabelSet.of(set(net) & set(data)).classes
    if len(classes) < 2:
        raise UserError(
            f"Network and data must share at least two classes; got {', '.join(net)} and {', '.join(data)}."
        )
    names = np.asarray(data)[table["target"]]
    known = np.isin(names, classes)
    columns = [PROBABILITY_PREFIX + name for name in classes]
    probabilities = table.loc[known, columns].to_numpy()
    if len(classes) < len(net):
        probabilities = probabilities / np.maximum(probabilities.sum(axis=1, keepdims=True), 1e-12)
    kept = table.loc[known, ["id", "split"]].assign(target=[classes.index(name) for name in names[known]])
    affect = table.loc[known, [name for name in table if str(name).removeprefix(TARGET_PREFIX) in AFFECT]]
    kept = pd.concat([kept, pd.DataFrame(probabilities, columns=columns, index=kept.index), affect], axis=1)
    missing, counts = np.unique(names[~known], return_counts=True)
    return SharedPredictions(
        table=kept.reset_index(drop=True),
        classes=classes,
        left_out={str(name): int(count) for name, count in zip(missing, counts)},
        never_right=tuple(name for name in net if name not in data),
    )
