from __future__ import annotations

import math
from types import SimpleNamespace

import optuna
import pytest
import pytorch_lightning as pl
import torch
from optuna.pruners import NopPruner, ThresholdPruner
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from fer_lightning.training import callbacks as history_module
from fer_lightning.training.callbacks import (
    AtomicCheckpoints,
    BestCheckpoint,
    EarlyStopping,
    History,
    LastCheckpoint,
    SeedEveryBatch,
    StopAfterDivergence,
    TrialReport,
)


def make_trainer(epoch: int, world_size: int = 1) -> SimpleNamespace:
    return SimpleNamespace(
        current_epoch=epoch,
        max_epochs=3,
        world_size=world_size,
        is_global_zero=True,
        optimizers=[SimpleNamespace(param_groups=[{"lr": 0.7}])],
        callback_metrics={"val/accuracy": 0.25, "train/loss": 2.0},
        loggers=[],
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


def draw(seed: int = 0, epoch: int = 0, batch: int = 0, rank: int = 0) -> float:
    trainer = SimpleNamespace(current_epoch=epoch, global_rank=rank)
    module = SimpleNamespace(device=torch.device("cpu"))
    SeedEveryBatch(seed).on_train_batch_start(trainer, module, None, batch)
    return float(torch.rand(()))


def test_the_place_alone_decides():
    first = draw(seed=3, epoch=2, batch=5)
    torch.rand(100)
    assert draw(seed=3, epoch=2, batch=5) == first


def test_every_part_of_the_place_counts():
    places = [
        {},
        {"seed": 1},
        {"epoch": 1},
        {"batch": 1},
        {"rank": 1},
        {"epoch": 1, "batch": 1},
        {"seed": 1, "rank": 1},
    ]
    assert len({draw(**place) for place in places}) == len(places)


@pytest.mark.parametrize(("loss", "stopped"), [(3.0, False), (float("nan"), True), (float("inf"), True)])
def test_stops_when_the_loss_is_no_number(loss, stopped):
    metrics = {"train/loss": torch.tensor(loss)}
    trainer = SimpleNamespace(callback_metrics=metrics, current_epoch=0, is_global_zero=True, should_stop=False)
    StopAfterDivergence().on_train_epoch_end(trainer, None)
    assert trainer.should_stop is stopped


@pytest.mark.parametrize(("waited", "stopped"), [(0, False), (1, False), (2, True)])
def test_what_had_stopped_stays_stopped(waited, stopped):
    callback = EarlyStopping("val/accuracy", "max", patience=2)
    callback.load_state_dict({**callback.state_dict(), "wait_count": waited})
    trainer = SimpleNamespace(should_stop=False)
    callback.on_train_start(trainer, None)
    assert trainer.should_stop is stopped


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


def test_a_kill_while_saving_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "checkpoints" / "last.ckpt"
    files = AtomicCheckpoints()
    files.save_checkpoint({"epoch": 1}, path)

    class Killed(BaseException):
        pass

    def half(checkpoint, place):
        place.write_bytes(b"half a file")
        raise Killed

    whole = torch.save
    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(Killed):
        files.save_checkpoint({"epoch": 2}, path)
    assert torch.load(path, weights_only=True) == {"epoch": 1}
    monkeypatch.setattr(torch, "save", whole)
    files.save_checkpoint({"epoch": 2}, path)
    assert torch.load(path, weights_only=True) == {"epoch": 2}
    assert [child.name for child in path.parent.iterdir()] == ["last.ckpt"]


def test_a_moved_run_remembers_its_best_score(tmp_path):
    before = BestCheckpoint(tmp_path / "old", "val/accuracy", "max")
    best = str(tmp_path / "old" / "best.ckpt")
    before.best_model_score = before.kth_value = torch.tensor(0.8)
    before.best_k_models = {best: torch.tensor(0.8)}
    before.kth_best_model_path = before.best_model_path = best

    after = BestCheckpoint(tmp_path / "new", "val/accuracy", "max")
    after.load_state_dict(before.state_dict())
    moved = str(tmp_path / "new" / "best.ckpt")
    assert after.best_k_models == {moved: torch.tensor(0.8)}
    assert (after.kth_best_model_path, after.best_model_path) == (moved, moved)
    # The very rule by which Lightning decides whether best.ckpt is replaced.
    trainer = type("Trainer", (), {"strategy": type("S", (), {"reduce_boolean_decision": staticmethod(bool)})})
    assert not after.check_monitor_top_k(trainer, torch.tensor(0.7))
    assert after.check_monitor_top_k(trainer, torch.tensor(0.9))


class Net(pl.LightningModule):
    """Trains nothing to speak of, and scores what it is told to, epoch by epoch."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.scores = scores

    def training_step(self, batch, batch_index):
        return self.layer(batch[0]).mean()

    def validation_step(self, batch, batch_index):
        self.log("val/accuracy", self.scores[self.current_epoch])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_the_best_epoch_and_the_last_one_are_kept(tmp_path):
    callbacks = [BestCheckpoint(tmp_path, "val/accuracy", "max"), LastCheckpoint(tmp_path)]
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=4,
        callbacks=callbacks,
        plugins=[AtomicCheckpoints()],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    loader = DataLoader(TensorDataset(torch.ones(2, 1)))
    trainer.fit(Net([0.3, 0.5, 0.5, 0.4]), loader, loader)
    saved = {path.name: torch.load(path, weights_only=True) for path in tmp_path.iterdir()}
    assert {name: checkpoint["epoch"] for name, checkpoint in saved.items()} == {"best.ckpt": 1, "last.ckpt": 3}
    states = saved["last.ckpt"]["callbacks"].values()
    assert [state["best_model_score"] for state in states if state["monitor"]] == [0.5]


class Waiting(Net):
    """May be selected from its third epoch on."""

    @property
    def selectable(self):
        return self.current_epoch >= 2


def test_epochs_that_may_not_be_selected_are_not_kept_even_where_training_stopped_among_them(tmp_path):
    loader = DataLoader(TensorDataset(torch.ones(2, 1)))
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    for epochs, kept in ((1, {"last.ckpt": 0}), (5, {"best.ckpt": 3, "last.ckpt": 4})):
        callbacks = [BestCheckpoint(tmp_path, "val/accuracy", "max"), LastCheckpoint(tmp_path)]
        trainer = pl.Trainer(accelerator="cpu", max_epochs=epochs, callbacks=callbacks, **quiet)
        last = tmp_path / "last.ckpt"
        trainer.fit(Waiting([0.9, 0.8, 0.3, 0.5, 0.4]), loader, loader, ckpt_path=last if last.is_file() else None)
        saved = {path.name: torch.load(path, weights_only=True)["epoch"] for path in tmp_path.iterdir()}
        assert saved == kept


class Diverging(Net):
    """Its weights and its scores are numbers only in the epochs that are named."""

    def __init__(self, finite_weights: set[int], finite_scores: set[int]) -> None:
        super().__init__([0.1, 0.2, 0.3, 0.4])
        self.finite_weights, self.finite_scores = finite_weights, finite_scores

    def validation_step(self, batch, batch_index):
        with torch.no_grad():
            self.layer.weight.fill_(1.0 if self.current_epoch in self.finite_weights else torch.inf)
        self.log("val/loss", 1.0 if self.current_epoch in self.finite_scores else torch.nan)
        self.log("val/accuracy", self.scores[self.current_epoch])


@pytest.mark.parametrize(
    ("finite_weights", "finite_scores", "kept"),
    [({0, 1, 2, 3}, {0, 1, 2, 3}, 3), ({0, 1}, {0, 1, 2, 3}, 1), ({0, 1, 2, 3}, {0}, 0), ({1}, {2}, None)],
)
def test_epochs_that_diverged_are_passed_over(finite_weights, finite_scores, kept, tmp_path):
    loader = DataLoader(TensorDataset(torch.ones(2, 1)))
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=4, callbacks=[BestCheckpoint(tmp_path, "val/accuracy", "max")], **quiet
    )
    trainer.fit(Diverging(finite_weights, finite_scores), loader, loader)
    saved = [torch.load(path, weights_only=True)["epoch"] for path in tmp_path.glob("best.ckpt")]
    assert saved == ([] if kept is None else [kept])
