from __future__ import annotations

from types import SimpleNamespace

import pytest

from fer_lightning.training import callbacks as history_module
from fer_lightning.training.callbacks import History


def make_trainer(epoch: int, world_size: int = 1) -> SimpleNamespace:
    return SimpleNamespace(
        current_epoch=epoch,
        max_epochs=3,
        world_size=world_size,
        is_global_zero=True,
        optimizers=[SimpleNamespace(param_groups=[{"lr": 0.7}])],
        callback_metrics={"val/accuracy": 0.25, "train/loss": 2.0},
    )


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand."""
    now = SimpleNamespace(value=100.0)
    monkeypatch.setattr(history_module, "perf_counter", lambda: now.value)
    return now


def run_epoch(history: History, trainer: SimpleNamespace, clock: SimpleNamespace) -> None:
    """Two batches of 8 images within three seconds, and five seconds of validation after which the rate falls."""
    history.on_train_epoch_start(trainer, None)
    clock.value += 3
    for place, rate in enumerate((0.6, 0.5)):
        trainer.optimizers[0].param_groups[0]["lr"] = rate
        history.on_train_batch_end(trainer, None, None, (range(8), range(8)), place)
    history.on_validation_start(trainer, None)
    clock.value += 5
    trainer.optimizers[0].param_groups[0]["lr"] = 0.05
    history.on_validation_end(trainer, None)
    history.on_train_epoch_end(trainer, None)


def test_a_row_an_epoch(clock):
    history = History()
    for epoch in range(2):
        run_epoch(history, make_trainer(epoch), clock)
    expected = {"lr": 0.5, "train_seconds": 3, "seconds": 8, "images": 16, "train/loss": 2.0, "val/accuracy": 0.25}
    assert history.rows == [{"epoch": 1, **expected}, {"epoch": 2, **expected}]


def test_images_of_all_processes_count(clock):
    history = History()
    run_epoch(history, make_trainer(0, world_size=4), clock)
    assert history.rows[0]["images"] == 64


def test_a_continued_run_has_all_rows(clock):
    before, after = History(), History()
    run_epoch(before, make_trainer(0), clock)
    after.load_state_dict(before.state_dict())
    run_epoch(after, make_trainer(1), clock)
    assert [row["epoch"] for row in after.rows] == [1, 2]
    assert len(before.rows) == 1
