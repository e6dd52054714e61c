"""The course of a training: every metric of every epoch, and how long it took."""

from __future__ import annotations

import logging
from time import perf_counter
from typing import Any

import pytorch_lightning as pl

log = logging.getLogger(__name__)


class History(pl.Callback):
    """Collects one row of scalars per epoch; the rows travel in the checkpoint, so that a continued run has them all.

    Attributes:
        rows: One dict per finished epoch with `epoch` (from 1), `lr` (after its last batch), `train_seconds` (without
            validation), `images` (training images of the epoch, all processes together), `seconds` (with validation)
            and every metric logged in it.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self._began = 0.0
        self._seconds = 0.0
        self._since = 0.0
        self._images = 0
        self._lr = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._images = 0
        self._seconds = 0.0
        self._began = self._since = perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._images += len(batch[-1])
        self._lr = float(trainer.optimizers[0].param_groups[0]["lr"])

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._seconds += perf_counter() - self._since

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._since = perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._seconds += perf_counter() - self._since  # all of it where nothing was validated
        row = {
            "epoch": float(trainer.current_epoch + 1),
            "lr": self._lr,
            "train_seconds": self._seconds,
            "seconds": perf_counter() - self._began,
            "images": float(self._images * trainer.world_size),
        }
        row.update({name: float(value) for name, value in sorted(trainer.callback_metrics.items())})
        self.rows.append(row)
        if trainer.is_global_zero:
            told = ", ".join(f"{name} {row[name]:.4f}" for name in _TOLD if name in row)
            log.info("epoch %d/%s: %s", row["epoch"], trainer.max_epochs, told)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = list(state_dict["rows"])


_TOLD = ("train/loss", "train/accuracy", "val/loss", "val/accuracy")
