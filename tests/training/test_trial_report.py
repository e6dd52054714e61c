from __future__ import annotations

import math

import optuna
import pytest
import pytorch_lightning as pl
import torch
from optuna.pruners import NopPruner, ThresholdPruner
from torch import nn
from torch.utils.data import DataLoader

from fer_lightning.training.trial_report import TrialReport


class Scores(pl.LightningModule):
    """Trains nothing worth it, and scores in each epoch what it was told to."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.net = nn.Linear(1, 1)
        self.scores = scores

    def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
        return self.net(batch).sum()

    def validation_step(self, batch: torch.Tensor, index: int) -> None:
        self.log("val/loss", self.scores[self.current_epoch])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.01)


def train(study: optuna.Study, trial_id: int, scores: list[float]) -> tuple[TrialReport, pl.Trainer]:
    report = TrialReport(study, trial_id, "val/loss")
    trainer = pl.Trainer(
        max_epochs=len(scores),
        accelerator="cpu",
        callbacks=[report],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=1,
    )
    loader = DataLoader(torch.ones(2, 1))
    trainer.fit(Scores(scores), loader, loader)
    return report, trainer


def asked(pruner: optuna.pruners.BasePruner) -> tuple[optuna.Study, int]:
    study = optuna.create_study(pruner=pruner)
    return study, study.ask()._trial_id


def test_every_epoch_reaches_the_search_and_nothing_else_does():
    study, trial_id = asked(NopPruner())
    report, trainer = train(study, trial_id, [3.0, 1.0, 2.0])
    assert study.trials[0].intermediate_values == {0: 3.0, 1: 1.0, 2: 2.0}
    assert not report.pruned and trainer.current_epoch == 3


def test_a_pruned_run_ends_after_the_epoch():
    study, trial_id = asked(ThresholdPruner(upper=5.0))
    report, trainer = train(study, trial_id, [1.0, 9.0, 1.0, 1.0])
    assert report.pruned and trainer.current_epoch == 2
    assert study.trials[0].intermediate_values == {0: 1.0, 1: 9.0}


def test_a_run_that_is_trained_already_is_not_pruned():
    study, trial_id = asked(ThresholdPruner(upper=5.0))
    report, _ = train(study, trial_id, [1.0, 9.0])
    assert not report.pruned


def test_a_run_killed_after_its_pruning_trains_no_more():
    study, trial_id = asked(ThresholdPruner(upper=5.0))
    train(study, trial_id, [9.0, 1.0, 1.0])
    report, trainer = train(study, trial_id, [9.0, 1.0, 1.0])
    assert report.pruned and trainer.global_step == 0


def test_a_diverged_epoch_is_reported_as_it_is():
    study, trial_id = asked(NopPruner())
    train(study, trial_id, [1.0, math.nan])
    assert math.isnan(study.trials[0].intermediate_values[1])


@pytest.mark.parametrize("number", [3])
def test_an_unknown_trial_is_an_error(number):
    study, _ = asked(NopPruner())
    with pytest.raises(KeyError):
        TrialReport(study, number, "val/loss")
