from __future__ import annotations

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from fer_lightning.training.saving import AtomicCheckpoints, BestCheckpoint, LastCheckpoint


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
