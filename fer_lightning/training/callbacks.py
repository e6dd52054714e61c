"""Callbacks of a training: history, seeding, early stopping, divergence, trial reports, figures and checkpoints."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from matplotlib.figure import Figure
from optuna import Study
from optuna.trial import Trial
from pytorch_lightning import callbacks
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger

from fer_lightning.errors import UserError
from fer_lightning.evaluation.efficiency import peak_memory
from fer_lightning.files import writing
from fer_lightning.plots.style import save_figures
from fer_lightning.plots.text import duration
from fer_lightning.training.checkpoints import check_last

log = logging.getLogger(__name__)


class History(pl.Callback):
    """Collects one row of scalars per epoch; checkpoints hold the rows, so that a resumed run has all of them.

    Attributes:
        rows: One dict per finished epoch with `epoch` (from 1), `lr` (after its last batch), `train_seconds` (without
            validation), `images` (training images of the epoch, all processes together), `seconds` (with validation)
            and every metric logged in it.
        started: Whether training has begun in this process.
    """

    def __init__(self) -> None:
        self.started = False
        self.rows: list[dict[str, float]] = []
        self._began = 0.0
        self._seconds = 0.0
        self._since = 0.0
        self._images = 0
        self._lr = 0.0
        self._first = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.started = True

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._images = 0
        self._seconds = 0.0
        self._began = self._since = perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not self.rows and trainer.is_global_zero and (trainer.max_epochs or 0) > 0:
            self._estimate(trainer, batch_idx + 1)
        self._images += len(batch[-1])
        self._lr = float(trainer.optimizers[0].param_groups[0]["lr"])

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._seconds += _clock() - self._since

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._since = perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._seconds += _clock() - self._since  # all of it where nothing was validated
        row = {
            "epoch": float(trainer.current_epoch + 1),
            "lr": self._lr,
            "train_seconds": self._seconds,
            "seconds": perf_counter() - self._began,
            "images": float(self._images * trainer.world_size),
        }
        row.update({name: float(value) for name, value in sorted(trainer.callback_metrics.items())})
        self.rows.append(row)
        for logger in trainer.loggers:
            cost = {"lr": row["lr"], "images_per_second": row["images"] / row["train_seconds"]}
            cost |= {"epoch": trainer.current_epoch, **peak_memory(pl_module.device)}
            logger.log_metrics(cost, trainer.fit_loop.total_batch_idx)
        if trainer.is_global_zero:
            scores = ", ".join(f"{name} {row[name]:.4f}" for name in _LOGGED if name in row)
            epochs = self._epochs_after(trainer)
            left = f"; about {duration(epochs * row['seconds'])} left" if epochs else ""
            log.info("epoch %d/%s: %s%s", row["epoch"], trainer.max_epochs, scores, left)

    def _estimate(self, trainer: pl.Trainer, batches: int) -> None:
        """Logs the expected time of all epochs, measured on the batches after the first one, which takes longer."""
        if batches == 1:
            self._first = perf_counter()
        elif batches == _MEASURED and trainer.num_training_batches >= 2 * _MEASURED:
            each = (perf_counter() - self._first) / (batches - 1)
            epochs = self._epochs_after(trainer) + 1
            log.info(
                "time    about %s of training for %d epoch%s, by the first %d batches; validation is not included",
                duration(each * epochs * trainer.num_training_batches),
                epochs,
                "s" if epochs != 1 else "",
                batches,
            )

    @staticmethod
    def _epochs_after(trainer: pl.Trainer) -> int:
        return max((trainer.max_epochs or 0) - trainer.current_epoch - 1, 0)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = list(state_dict["rows"])


def _clock() -> float:
    if torch.cuda.is_initialized():  # the last steps may still be in the queue of the GPU
        torch.cuda.synchronize()
    return perf_counter()


_MEASURED = 20  # batches
_LOGGED = ("train/loss", "train/accuracy", "val/loss", "val/accuracy")


class SeedEveryBatch(pl.Callback):
    """Seeds torch from (seed, epoch, batch, rank) before each batch.

    A resumed run then draws the same random numbers, such as those of dropout and mixup.

    Args:
        seed: Seed of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        place = [self.seed, trainer.current_epoch, batch_idx, trainer.global_rank]
        seed = int(np.random.SeedSequence(place).generate_state(1)[0])
        # torch.manual_seed also formats the call stack for each kind of device that is not used.
        (torch.default_generator if pl_module.device.type == "cpu" else torch).manual_seed(seed)


class StopAfterDivergence(pl.Callback):
    """Stops training when the loss is not finite; the best epoch so far is kept and scored."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not torch.isfinite(trainer.callback_metrics["train/loss"]):
            if trainer.is_global_zero:
                log.warning(
                    "Training diverged in epoch %d and is stopped: lower optimizer.lr.", trainer.current_epoch + 1
                )
            trainer.should_stop = True


class EarlyStopping(callbacks.EarlyStopping):
    """Lightning's early stopping, which also holds for a resumed run.

    A run that was killed between its early stop and the writing of its record would otherwise train one more epoch when
    it is resumed.

    Args:
        monitor: Metric to watch.
        mode: `"max"` or `"min"`.
        patience: Epochs without a better value after which training stops.
    """

    def __init__(self, monitor: str = "val/accuracy", mode: str = "max", patience: int = 10) -> None:
        super().__init__(monitor=monitor, mode=mode, patience=patience)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.wait_count >= self.patience:
            trainer.should_stop = True


class TrialReport(pl.Callback):
    """Reports the validation score of every epoch to a search, and stops a trial that its pruner ends.

    Args:
        study: The search, with the pruner that decides.
        trial_id: Id of the trial in the storage of the search.
        monitor: Metric that is reported.
    """

    def __init__(self, study: Study, trial_id: int, monitor: str) -> None:
        self._trial = Trial(study, trial_id)
        self._monitor = monitor
        self.pruned = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # A run that was killed between its pruning and the end would otherwise train one more epoch.
        if self._trial.storage.get_trial(self._trial._trial_id).intermediate_values:
            self._prune(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._trial.report(float(trainer.callback_metrics[self._monitor]), trainer.current_epoch)
            if trainer.current_epoch + 1 != trainer.max_epochs:
                self._prune(trainer)

    def _prune(self, trainer: pl.Trainer) -> None:
        self.pruned = bool(self._trial.should_prune())  # not NumPy's bool, which no checkpoint may hold
        trainer.should_stop = trainer.should_stop or self.pruned


def show_picture(trainer: pl.Trainer, folder: Path, name: str, key: str, figure: Figure) -> None:
    """Saves a figure as `figures/<name>.png` in the run folder, and logs it to W&B and TensorBoard under a key."""
    [path] = save_figures(folder / "figures", {name: figure})
    step = trainer.fit_loop.total_batch_idx
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(key, [str(path)], step)
        elif isinstance(logger, TensorBoardLogger):
            logger.experiment.add_figure(key, figure, step)


class BestCheckpoint(ModelCheckpoint):
    """Saves the weights of the best epoch in `best.ckpt`, among the epochs that the module calls `selectable`.

    An epoch is skipped if it was not validated, or if its score, its validation loss or one of its weights is not
    finite: Lightning would keep it until a better one comes.

    Args:
        folder: Folder of the file.
        monitor: Metric that epochs are selected by; the earliest one wins a tie.
        mode: `"max"` or `"min"`.
    """

    def __init__(self, folder: Path | str, monitor: str = "val/accuracy", mode: str = "max") -> None:
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

    def require_selected(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Checks that an epoch of the history was selected.

        Raises:
            UserError: No epoch could be selected; the message names the reason.
        """
        if self.best_model_path:
            return
        for row in rows:
            losses = {name: row[name] for name in ("train/loss", "val/loss") if name in row}
            if not all(map(math.isfinite, losses.values())):
                values = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
                raise UserError(
                    f"Training diverged in epoch {row['epoch']:.0f} ({values}), and no epoch before it can be used: "
                    "lower optimizer.lr."
                )
        if any(self.monitor in row for row in rows):
            raise UserError(
                f"No epoch can be selected: none has a {self.monitor} that is a number and belongs to an epoch that "
                "trained the network. Select by another metric, such as selection.monitor=val/accuracy, or train "
                "longer."
            )
        raise UserError(
            f"No epoch was trained and validated: {len(rows)} epochs were trained, and trainer.check_val_every_n_epoch "
            "must not be more."
        )

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
    """Saves the state of training after every epoch in `last.ckpt`, from which a run is resumed.

    Lightning's `save_last` saves only epochs that improve on all before. This callback comes after `BestCheckpoint` in
    the list, so that it stores what that one chose. It also stores whether training was about to stop, which Lightning
    omits: a run that was killed between its last epoch and its record would otherwise train one more.

    Args:
        folder: Folder of the file.
        options: Options that decide what is trained, which a resumed run must not change.
    """

    def __init__(self, folder: Path | str, options: Mapping[str, Any] | None = None) -> None:
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
        # Checkpoints of earlier versions have neither key.
        self._stopped = checkpoint.get("should_stop", False)
        before = checkpoint.get("options", self._options)
        for name, value in self._options.items():
            if before.get(name) != value:
                raise UserError(
                    f"{name} must be what the run was started with, {str(before.get(name))[:100]}; config.yaml now has "
                    f"{str(value)[:100]}: restore the former value, or start a new run."
                )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        trainer.should_stop = trainer.should_stop or self._stopped


def fit_from_last(
    trainer: pl.Trainer,
    classifier: pl.LightningModule,
    datamodule: pl.LightningDataModule,
    folder: Path,
    history: History,
) -> None:
    """Trains from `last.ckpt` in a folder of checkpoints if it exists, otherwise from the beginning.

    Raises:
        UserError: A checkpoint is damaged or does not match. Errors after the start of `history` are not converted.
    """
    last = folder / "last.ckpt"
    resumed = last.exists()
    if resumed:
        check_last(folder, classifier)
    try:
        trainer.fit(classifier, datamodule=datamodule, ckpt_path=last if resumed else None, weights_only=True)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        if not resumed or history.started:
            raise
        message = " ".join(str(error).split())[:200]
        raise UserError(
            f"{last} is damaged ({type(error).__name__}: {message}), so the run cannot be resumed: remove {folder} "
            "to start this run from the beginning."
        ) from error


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes each checkpoint to a temporary file beside it, which is then renamed.

    Lightning writes to the system's temporary folder and copies the file if that is another disk: a kill during the
    copy would leave a truncated `last.ckpt`, from which nothing can be resumed.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        path = Path(path)
        temporary = path.with_name(f".{path.name}")  # overwritten by the next save if a kill leaves it here
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                torch.save(checkpoint, temporary)
            except RuntimeError as error:  # PyTorch does not pass on the system's error
                with suppress(OSError):
                    temporary.unlink()
                raise OSError(str(error).partition("\n")[0]) from error
            temporary.replace(path)
