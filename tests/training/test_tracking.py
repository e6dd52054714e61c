from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from fer_lightning.results.run_record import RunRecord, predicted_arrays
from fer_lightning.results.selection_optimism import TRACKED, TrackedPredictions

# A net whose training draws random numbers of every kind: dropout, mixing and augmentation.
RANDOM = ["model.dropout=0.3", "mixing.mixup_alpha=0.4", "augment=light", "data.num_workers=1"]


@pytest.fixture(scope="module")
def tracked_run(tiny, fer_undrawn, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tracked") / "run"
    assert fer_undrawn("train", *tiny, *RANDOM, "track_test=true", f"hydra.run.dir={folder}") == 0
    return folder


def state_of(folder: Path, name: str) -> dict:
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)


def test_the_training_is_the_same_to_the_last_bit(tracked_run, tiny, fer_undrawn, tmp_path):
    assert fer_undrawn("train", *tiny, *RANDOM, f"hydra.run.dir={tmp_path}") == 0
    for name in ("best", "last"):
        plain, tracked = state_of(tmp_path, name), state_of(tracked_run, name)
        for part in ("state_dict", "optimizer_states"):
            torch.testing.assert_close(plain[part], tracked[part], rtol=0, atol=0)
    plain, tracked = RunRecord.read(tmp_path), RunRecord.read(tracked_run)
    columns = [name for name in plain.history if "seconds" not in name]
    assert not [name for name in columns if name.startswith("test/")] and not (tmp_path / TRACKED).exists()
    pd.testing.assert_frame_equal(plain.history[columns], tracked.history[columns])
    pd.testing.assert_frame_equal(plain.predictions, tracked.predictions)
    assert plain.metrics["splits"] == tracked.metrics["splits"]
    assert tracked.metrics["track_test"] is True and "track_test" not in plain.metrics
    assert plain.metrics["variant"] == tracked.metrics["variant"]


def test_scores_and_predictions_of_every_epoch(tracked_run):
    record, tracked = RunRecord.read(tracked_run), TrackedPredictions.read(tracked_run)
    history = record.history.set_index("epoch")
    assert tracked.epochs.tolist() == [1, 2, 3, 4] and tracked.predicted.dtype == np.uint8
    assert history["test/accuracy"].tolist() == pytest.approx(tracked.correct.mean(axis=1).tolist())
    # The selected epoch was scored on test once more, from its checkpoint.
    classes, best = record.metrics["protocol"]["classes"], record.metrics["best_epoch"]
    targets, probabilities = predicted_arrays(record.predictions, classes, "test")
    assert (tracked.targets == targets).all()
    assert (tracked.predicted[best - 1] == probabilities.argmax(axis=1)).all()
    final = record.metrics["splits"]["test"]
    for name in ("accuracy", "loss", "macro_f1", "auroc", "ece"):
        assert history.loc[best, f"test/{name}"] == pytest.approx(final[name], abs=1e-6)


def test_averaged_weights_are_those_that_are_scored(tiny, fer_undrawn, tmp_path):
    ema = ["callbacks=ema", "callbacks.ema.decay=0.5", "track_test=true", "trainer.max_epochs=2"]
    assert fer_undrawn("train", *tiny[:-1], *ema, f"hydra.run.dir={tmp_path}") == 0
    record = RunRecord.read(tmp_path)
    history = record.history.set_index("epoch")
    scores = record.metrics["splits"]["test"]
    assert history.loc[record.metrics["best_epoch"], "test/loss"] == pytest.approx(scores["loss"], abs=1e-6)


def test_a_stop_loses_no_epoch_before_it(tracked_run, tiny, fer_undrawn, tmp_path, monkeypatch, assert_same_run):
    class Killed(BaseException):
        pass

    def killed(self, trainer, *_):
        if trainer.current_epoch == 2:
            raise Killed

    command = ["train", *tiny, *RANDOM, "track_test=true", f"hydra.run.dir={tmp_path / 'here'}"]
    with monkeypatch.context() as patch:
        patch.setattr("fer_lightning.training.callbacks.StopAfterDivergence.on_train_epoch_end", killed)
        with pytest.raises(Killed):
            fer_undrawn(*command)
    assert TrackedPredictions.read(tmp_path / "here").epochs.tolist() == [1, 2]
    folder = shutil.move(tmp_path / "here", tmp_path / "there")
    assert fer_undrawn("train", f"resume={folder}") == 0
    assert_same_run(tracked_run, folder)
    whole, resumed = (TrackedPredictions.read(run) for run in (tracked_run, folder))
    assert (whole.epochs == resumed.epochs).all() and (whole.predicted == resumed.predicted).all()


def test_nothing_is_selected_on_test(tiny, fer, tmp_path, capsys):
    command = ["train", *tiny, "track_test=true", f"hydra.run.dir={tmp_path}"]
    assert fer(*command, "selection.monitor=test/accuracy") == 2
    assert "selection.monitor=test/accuracy is unknown" in capsys.readouterr().err
    stop = ["callbacks=early_stopping", "callbacks.early_stopping.monitor=test/accuracy"]
    with pytest.raises(RuntimeError, match="conditioned on metric `test/accuracy` which is not available"):
        fer(*[option for option in command if option != "callbacks=[]"], *stop)
    assert not (tmp_path / "metrics.json").exists()


def test_a_vote_and_a_trial_have_no_epochs_to_score(tiny, fer, trained_run, tmp_path, capsys):
    vote = ["model=weighted_voting", f"model.checkpoints=[{trained_run}]", "procedure=vote"]
    options = [option for option in tiny if not option.startswith("model")]
    assert fer("train", *options, *vote, "track_test=true", f"hydra.run.dir={tmp_path}") == 2
    assert "track_test=true scores each epoch of one training" in capsys.readouterr().err


def test_no_comparison_takes_a_tracked_run(tracked_run, trained_run, fer, tmp_path, capsys):
    sentence = "must be scored on the test split once; "
    for other in (trained_run, tmp_path / "evaluated"):
        if other != trained_run:  # nor does an evaluation hide where its net is from
            options = ["trainer=cpu", "logger=none", f"hydra.run.dir={other}"]
            assert fer("evaluate", f"checkpoint={tracked_run}", *options) == 0
            assert json.loads((other / "metrics.json").read_text())["track_test"] is True
        assert fer("compare", trained_run, tracked_run if other == trained_run else other) == 2
        assert sentence in capsys.readouterr().err
    for number, run in enumerate((trained_run, tracked_run)):
        shutil.copytree(run, tmp_path / "runs" / str(number))
    metrics = tmp_path / "runs" / "0" / "metrics.json"
    metrics.write_text(json.dumps({**json.loads(metrics.read_text()), "seed": 7}))
    assert fer("report", tmp_path / "runs", "--wandb", "disabled") == 2
    message = capsys.readouterr().err
    assert sentence in message and "Traceback" not in message
