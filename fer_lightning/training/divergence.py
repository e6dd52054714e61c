"""What happens when a training blows up."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence

import pytorch_lightning as pl
import torch

from fer_lightning.errors import UserError

log = logging.getLogger(__name__)


def nothing_selected(rows: Sequence[Mapping[str, float]], monitor: str) -> UserError:
    """The sentence for a training of which no epoch could be selected.

    Args:
        rows: The history, one row an epoch.
        monitor: Metric that epochs are selected by.
    """
    for row in rows:
        losses = {name: row[name] for name in ("train/loss", "val/loss") if name in row}
        if not all(map(math.isfinite, losses.values())):
            values = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
            return UserError(
                f"Training diverged in epoch {row['epoch']:.0f} ({values}), and no epoch before it can be used: lower "
                "optimizer.lr."
            )
    if any(monitor in row for row in rows):
        return UserError(
            f"No epoch can be selected: none has a {monitor} that is a number and belongs to an epoch that trained the "
            "network. Select by another metric, such as selection.monitor=val/accuracy, or train longer."
        )
    return UserError(
        f"No epoch was trained and validated: {len(rows)} epochs were trained, and trainer.check_val_every_n_epoch "
        "must not be more."
    )


class StopAfterDivergence(pl.Callback):
    """Stops a training whose loss is no longer a number; what was best before stays and is scored."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not torch.isfinite(trainer.callback_metrics["train/loss"]):
            if trainer.is_global_zero:
                log.warning(
                    "Training diverged in epoch %d and stops here: lower optimizer.lr.", trainer.current_epoch + 1
                )
            trainer.should_stop = True
