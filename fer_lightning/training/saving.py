"""Which checkpoints are kept, and how they reach the disk."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import ModelCheckpoint

from fer_lightning.errors import UserError
from fer_lightning.files import writing


class BestCheckpoint(ModelCheckpoint):
    """Keeps the weights of the best epoch in `best.ckpt`, of those that the module calls `selectable`.

    An epoch is passed over where it was not validated, or where its score, its validation loss or one of its weights is
    not a finite number: Lightning would keep it until a better one comes.

    Args:
        folder: Where it lies.
        monitor: Metric that tells which epoch is best; the earliest one where several are.
        mode: `"max"` or `"min"`.
    """

    def __init__(self, folder: Path, monitor: str, mode: str) -> None:
        super().__init__(
            dirpath=folder,
            filename="best",
            monitor=monitor,
            mode=mode,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if getattr(pl_module, "selectable", True) and self._is_usable(trainer, pl_module):
            super().on_train_epoch_end(trainer, pl_module)

    def _is_usable(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> bool:
        metrics = trainer.callback_metrics
        scores = [metrics.get(str(self.monitor), torch.tensor(torch.nan)), metrics.get("val/loss", torch.tensor(0.0))]
        finite = all(bool(value.isfinite().all()) for value in [*scores, *pl_module.state_dict().values()])
        return trainer.strategy.reduce_boolean_decision(finite)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict["best_model_score"] is None:  # no epoch was selectable so far
            return
        # Lightning forgets the best score where a folder was moved or renamed, and would then replace best.ckpt.
        best = str(Path(str(self.dirpath)) / "best.ckpt")
        moved = {
            "dirpath": self.dirpath,
            "best_k_models": {best: state_dict["best_model_score"]},
            "kth_best_model_path": best,
            "best_model_path": best,
        }
        super().load_state_dict({**state_dict, **moved})


class LastCheckpoint(ModelCheckpoint):
    """Keeps the state of training after every epoch in `last.ckpt`, to continue from.

    Lightning's own `save_last` keeps only epochs that were better than all before. It comes after `BestCheckpoint` in
    the list of callbacks, so that it knows what that one chose. What Lightning leaves out is whether training was to
    stop; a run that was killed between its last epoch and its record would train one more.

    Args:
        folder: Where it lies.
        options: Options that decide what is trained, which a continued run must not change.
    """

    def __init__(self, folder: Path, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(dirpath=folder, filename="last", save_on_train_epoch_end=True, enable_version_counter=False)
        self._options = dict(options or {})
        self._stopped = False

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["should_stop"] = trainer.should_stop
        checkpoint["options"] = self._options

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        # Checkpoints of an earlier version have neither.
        self._stopped = checkpoint.get("should_stop", False)
        before = checkpoint.get("options", self._options)
        for name, value in self._options.items():
            if before.get(name) != value:
                raise UserError(
                    f"{name} must be what the run was started with, {str(before.get(name))[:100]}, and config.yaml now "
                    f"says {str(value)[:100]}: put the former value back, or start a new run."
                )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        trainer.should_stop = trainer.should_stop or self._stopped


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes each checkpoint beside its place and renames it.

    Lightning writes it to the system's temporary folder, from where it is copied if that is another disk: a kill during
    the copy leaves half a `last.ckpt`, and nothing to resume from.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        path = Path(path)
        temporary = path.with_name(f".{path.name}")  # the next save takes over what a kill left here
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                torch.save(checkpoint, temporary)
            except RuntimeError as error:  # PyTorch does not pass on what the system said
                with suppress(OSError):
                    temporary.unlink()
                raise OSError(str(error).partition("\n")[0]) from error
            temporary.replace(path)
