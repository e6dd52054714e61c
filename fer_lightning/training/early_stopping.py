"""Stops a training that no longer gets better."""

from __future__ import annotations

import pytorch_lightning as pl
from pytorch_lightning import callbacks


class EarlyStopping(callbacks.EarlyStopping):
    """Lightning's early stopping, which also stays stopped.

    A run that was killed after it had stopped, and before its record was written, would otherwise train one more epoch
    when it is continued.

    Args:
        monitor: Metric to watch.
        mode: `"max"` or `"min"`.
        patience: Epochs without a better value after which training stops.
    """

    def __init__(self, monitor: str, mode: str, patience: int) -> None:
        super().__init__(monitor=monitor, mode=mode, patience=patience)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.wait_count >= self.patience:
            trainer.should_stop = True
