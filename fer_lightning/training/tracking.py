"""Scores of the test split after every epoch, for the analysis of selection on it (`track_test=true`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.seed import isolate_rng

from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.evaluation.metrics import BETTER
from fer_lightning.evaluation.scoring import prediction_table, score
from fer_lightning.results.run_record import predicted_arrays
from fer_lightning.results.selection_optimism import TrackedPredictions
from fer_lightning.training.callbacks import History


class TrackTestSplit(pl.Callback):
    """Scores the test split after the validation of every epoch that may be selected, and keeps the predicted classes.

    The scores go into the history alone, as `test/accuracy` and so on: not into the metrics of the trainer, so that no
    checkpoint, schedule or early stop can depend on them. Random states are restored. Training is therefore the same to
    the last bit as without this callback.

    Args:
        history: The history; this callback comes after it and before the checkpoints that store it.
        datamodule: Data of the run.
        path: File of the predicted classes, written after every epoch (`TrackedPredictions`).
    """

    def __init__(self, history: History, datamodule: ExpressionDataModule, path: Path) -> None:
        self._history = history
        self._datamodule = datamodule
        self._path = path
        self._targets = np.empty(0, np.uint8)
        self._predicted: dict[int, np.ndarray] = {}
        self._scores: dict[str, float] = {}

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._scores = {}

    # Before the end of the validation, where weights that are averaged are those of the training again.
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or not getattr(pl_module, "selectable", True):
            return
        classes = self._datamodule.label_set.classes
        loader = self._datamodule.eval_dataloader("test")
        batches = []
        with isolate_rng(), trainer.precision_plugin.predict_step_context():
            for batch in loader:
                batch = trainer.strategy.batch_to_device(trainer.precision_plugin.convert_input(batch))
                *image, target = batch
                batches.append((pl_module(*image).float().softmax(dim=1), target))
        table = prediction_table(trainer, batches, loader, self._datamodule.ids("test"), "test", classes)
        targets, probabilities = predicted_arrays(table, classes, "test")
        if not np.isfinite(probabilities).all():  # the training diverged, and the epoch cannot be selected
            return
        kind = np.min_scalar_type(len(classes) - 1)
        self._targets = targets.astype(kind)
        self._predicted[trainer.current_epoch + 1] = probabilities.argmax(axis=1).astype(kind)
        scores: dict[str, Any] = score(table, classes)
        self._scores = {f"test/{name}": float(scores[name]) for name in BETTER}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._history.rows[-1].update(self._scores)
        if trainer.is_global_zero and self._scores:
            epochs = np.array([*self._predicted], np.int64)
            TrackedPredictions(epochs, self._targets, np.stack([*self._predicted.values()])).write(self._path)

    def state_dict(self) -> dict[str, Any]:
        return {str(epoch): torch.from_numpy(predicted) for epoch, predicted in self._predicted.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._predicted = {int(epoch): predicted.numpy() for epoch, predicted in state_dict.items()}
