"""A run as a trial of a search: it tells every epoch's score, and ends early where the search gives it up."""

from __future__ import annotations

import pytorch_lightning as pl
from optuna import Study
from optuna.trial import Trial


class TrialReport(pl.Callback):
    """Reports the validation score of every epoch to the storage of a search, and asks it whether to go on.

    Args:
        study: The search, with the pruner that decides.
        trial_id: Of the trial in its storage.
        monitor: The metric to report.
    """

    def __init__(self, study: Study, trial_id: int, monitor: str) -> None:
        self._trial = Trial(study, trial_id)
        self._monitor = monitor
        self.pruned = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # A run that was killed between its pruning and the end would otherwise train one more epoch.
        if self._told():
            self._ask(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._trial.report(float(trainer.callback_metrics[self._monitor]), trainer.current_epoch)
            if trainer.current_epoch + 1 != trainer.max_epochs:
                self._ask(trainer)

    def _told(self) -> bool:
        return bool(self._trial.storage.get_trial(self._trial._trial_id).intermediate_values)

    def _ask(self, trainer: pl.Trainer) -> None:
        self.pruned = bool(self._trial.should_prune())  # NumPy's, which no checkpoint may hold
        trainer.should_stop = trainer.should_stop or self.pruned
