"""Scores of a trained network on corrupted images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import pytorch_lightning as pl

from fer_lightning.data.corruptions import SEVERITIES, corruption
from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.data.store import track
from fer_lightning.evaluation.cross_dataset import share_classes
from fer_lightning.evaluation.scoring import Inference, predict_split, score

_SCORES = ("n", "accuracy", "accuracy_low", "accuracy_high", "macro_f1", "ece", "loss")


def score_corruptions(
    trainer: pl.Trainer,
    inference: Inference,
    datamodule: ExpressionDataModule,
    classes: Sequence[str],
    names: Sequence[str],
    split: str = "test",
) -> pd.DataFrame:
    """Scores a split without corruption and for each corruption and severity, over all processes of the trainer.

    Args:
        trainer: Trainer that runs the predictions.
        inference: The network.
        datamodule: Data module that has the split.
        classes: Class names of the network.
        names: Names of the corruptions, keys of `CORRUPTIONS`.
        split: Name of the split.

    Returns:
        The columns `corruption`, `severity`, `n`, `accuracy` with its 95 % interval `accuracy_low` and
        `accuracy_high`, `macro_f1`, `ece` and `loss`, over the classes that network and data share. The first row has
        the corruption `"clean"` of severity 0; severities 1 to 5 of each of `names` follow.
    """
    levels = [("clean", 0), *((name, severity) for name in names for severity in SEVERITIES)]
    bar = trainer.progress_bar_callback
    shown = bar is not None and trainer.is_global_zero
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    # Lightning's progress bar would appear and disappear for every level.
    trainer.callbacks = [callback for callback in callbacks if callback is not bar]  # type: ignore[attr-defined]
    rows = []
    try:
        for name, severity in track(levels, f"corrupted {split} split", shown=shown):
            corrupt = corruption(name, severity, datamodule.image_size) if severity else None
            predicted = predict_split(trainer, inference, datamodule, split, classes, corrupt)
            shared = share_classes(predicted, classes, datamodule.label_set.classes)
            scores = score(shared.table, shared.classes)
            rows.append({"corruption": name, "severity": severity, **{key: scores[key] for key in _SCORES}})
    finally:
        trainer.callbacks = callbacks  # type: ignore[attr-defined]
    return pd.DataFrame(rows)


def summarise_robustness(table: pd.DataFrame) -> dict[str, Any]:
    """Robustness entry of `metrics.json`, from the result of `score_corruptions`.

    Returns:
        `clean`, the accuracy without corruption; `accuracy`, the mean over the severities of each corruption and,
        as `mean`, over all of them; and `relative`, the same as shares of `clean`.
    """
    clean = float(table.loc[table["severity"] == 0, "accuracy"].iloc[0])
    means = table[table["severity"] > 0].groupby("corruption", sort=False)["accuracy"].mean()
    accuracy = {**means.to_dict(), "mean": float(means.mean())}
    return {
        "clean": clean,
        "accuracy": accuracy,
        "relative": {name: value / clean if clean else None for name, value in accuracy.items()},
    }
