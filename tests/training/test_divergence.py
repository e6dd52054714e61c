from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from fer_lightning.training.divergence import StopAfterDivergence


@pytest.mark.parametrize(("loss", "stopped"), [(3.0, False), (float("nan"), True), (float("inf"), True)])
def test_stops_when_the_loss_is_no_number(loss, stopped):
    metrics = {"train/loss": torch.tensor(loss)}
    trainer = SimpleNamespace(callback_metrics=metrics, current_epoch=0, is_global_zero=True, should_stop=False)
    StopAfterDivergence().on_train_epoch_end(trainer, None)
    assert trainer.should_stop is stopped
