from __future__ import annotations

import pytest
import torch

from fer_lightning.training.saving import AtomicCheckpoints, BestAndLast


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
    before = BestAndLast(tmp_path / "old", "val/accuracy", "max")
    best = str(tmp_path / "old" / "best.ckpt")
    before.best_model_score = before.kth_value = torch.tensor(0.8)
    before.best_k_models = {best: torch.tensor(0.8)}
    before.kth_best_model_path = before.best_model_path = best
    before.last_model_path = str(tmp_path / "old" / "last.ckpt")

    after = BestAndLast(tmp_path / "new", "val/accuracy", "max")
    after.load_state_dict(before.state_dict())
    moved = str(tmp_path / "new" / "best.ckpt")
    assert after.best_k_models == {moved: torch.tensor(0.8)}
    assert (after.kth_best_model_path, after.best_model_path) == (moved, moved)
    assert after.last_model_path == str(tmp_path / "new" / "last.ckpt")
    # The very rule by which Lightning decides whether best.ckpt is replaced.
    trainer = type("Trainer", (), {"strategy": type("S", (), {"reduce_boolean_decision": staticmethod(bool)})})
    assert not after.check_monitor_top_k(trainer, torch.tensor(0.7))
    assert after.check_monitor_top_k(trainer, torch.tensor(0.9))
