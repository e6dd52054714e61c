"""What happens when a training blows up."""

from __future__ import annotations

import logging

import pytorch_lightning as pl
import torch

log = logging.getLogger(__name__)


class StopAfterDivergence(pl.Callback):
    """Stops a training whose loss is no longer a number; what was best before stays and is scored."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not torch.isfinite(trainer.callback_metrics["train/loss"]):
            if trainer.is_global_zero:
                log.warning(
                    "Training diverged in epoch %d and stops here: lower optimizer.lr.", trainer.current_epoch + 1
                )
            trainer.should_stop = True
