"""Runs that are killed and continued: whatever the options, the same history, weights and predictions."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from fer_lightning.commands.stored_config import _moved, with_paths_from_here
from fer_lightning.errors import UserError
from fer_lightning.training.callbacks import SeedEveryBatch
from fer_lightning.training.classifier import ExpressionClassifier

# Options that keep a state between epochs, or change what an epoch is.
OPTIONS = {
    "plateau": "optimizer=sgd scheduler=plateau scheduler.patience=0 +trainer.check_val_every_n_epoch=2",
    "hafem": "loss=hafem loss.variation_weight=0.01 callbacks=ema mixing.mixup_alpha=0.4 mixing.cutmix_alpha=1 "
    "trainer.accumulate_grad_batches=2 +trainer.max_steps=11",
    "gan": "procedure=gan procedure.gan_epochs=2 scheduler=plateau scheduler.patience=0 "
    "procedure.generator.width=4 procedure.discriminator.width=4",
    **{f"{name} schedule": f"scheduler={name}" for name in ("one_cycle", "warmup_cosine", "constant")},
    **{f"{name} optimizer": f"optimizer={name}" for name in ("adam", "adamw", "sgd")},
    **{f"{name} loss": f"loss={name}" for name in ("cross_entropy", "distribution_aware", "hafem")},
    "every plateau": "scheduler=plateau scheduler.patience=0 scheduler.factor=0.3",
    "gan and schedule": "procedure=gan procedure.gan_epochs=1 scheduler=one_cycle callbacks=generated_faces",
    "ema": "callbacks=ema callbacks.ema.decay=0.9",
    "ema and plateau": "callbacks=ema scheduler=plateau scheduler.patience=0",
    "early stopping": "callbacks=early_stopping callbacks.early_stopping.patience=2 selection.monitor=val/ece "
    "selection.mode=min",
    "stopped before its minimum": "callbacks=early_stopping callbacks.early_stopping.patience=1 optimizer.lr=0.1 "
    "+trainer.min_epochs=4",
    "gradcam": "callbacks=gradcam callbacks.gradcam.every_n_epochs=1 callbacks.gradcam.faces=2",
    "balanced": "data.sampler=balanced augment=strong loss.class_weights=inverse",
    "mixing": "mixing.mixup_alpha=0.4 mixing.cutmix_alpha=0.4 mixing.probability=0.7",
    "max_steps": "+trainer.max_steps=13",
    "max_steps without epochs": "+trainer.max_steps=13 trainer.max_epochs=-1",
    "min_steps": "+trainer.min_steps=18 callbacks=early_stopping callbacks.early_stopping.patience=1 optimizer.lr=0.1",
    "max_time": "+trainer.max_time=00:01:00:00",
    "part of the batches": "trainer.limit_train_batches=3",
    "share of the batches": "trainer.limit_train_batches=0.5",
    "accumulated": "trainer.accumulate_grad_batches=3 scheduler=warmup_cosine",
    "sanity": "trainer.num_sanity_val_steps=2 scheduler=plateau scheduler.patience=0",
    "seldom validated": "+trainer.check_val_every_n_epoch=3 scheduler=plateau scheduler.patience=0",
    "clipped values": "trainer.gradient_clip_val=0.01 +trainer.gradient_clip_algorithm=value",
    "not clipped": "trainer.gradient_clip_val=-1",
    "half precision": "trainer.precision=bf16-mixed",
    "workers": "data.num_workers=2 augment=strong",
}
# Several states at once, within a few seconds.
QUICK = "loss=hafem callbacks=ema mixing.cutmix_alpha=1 scheduler=plateau scheduler.patience=0 trainer.max_epochs=3"


class Killed(BaseException):
    """As little of the process runs on as after a SIGKILL."""


@pytest.fixture
def train(tiny, fer, monkeypatch):
    """`train(folder, options, killed_at=None)`: `fer train` without its figures, killed before (epoch, batch)."""
    monkeypatch.setattr("fer_lightning.commands.finish.show_record", lambda *_: None)
    seed = SeedEveryBatch.on_train_batch_start
    without_model = [option for option in tiny if not option.startswith("model")]

    def run(folder: Path, options: list[str], killed_at: tuple[int, int] | None = None) -> None:
        def kill(callback, trainer, module, batch, batch_index):
            if (trainer.current_epoch, batch_index) == killed_at:
                raise Killed
            seed(callback, trainer, module, batch, batch_index)

        monkeypatch.setattr(SeedEveryBatch, "on_train_batch_start", kill)
        start = without_model if options[0].startswith("model=") else tiny
        arguments = [f"resume={folder}"] if folder.is_dir() else [*start, *options, f"hydra.run.dir={folder}"]
        if killed_at is None:
            assert fer("train", *arguments) == 0
        else:
            with pytest.raises(Killed):
                fer("train", *arguments)
            assert not (folder / "metrics.json").exists()

    return run


def test_a_run_that_was_killed_ends_as_one_that_was_not(train, tmp_path, assert_same_run):
    options = QUICK.split()
    train(tmp_path / "whole", options)
    train(tmp_path / "killed", options, killed_at=(2, 2))
    train(tmp_path / "killed", options)
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_a_run_that_was_killed_thrice_ends_as_one_that_was_not(name, train, tmp_path, assert_same_run):
    options = OPTIONS[name].split()
    train(tmp_path / "whole", options)
    for place in ((0, 1), (1, 0), (2, 1)):  # before anything was saved, between two epochs, and amid one
        train(tmp_path / "killed", options, killed_at=place)
    train(tmp_path / "killed", options)
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.slow
def test_a_vote_that_was_killed_ends_as_one_that_was_not(trained_run, train, tmp_path, assert_same_run):
    options = ["model=weighted_voting", "procedure=vote", f"model.checkpoints=[{trained_run},{trained_run}]"]
    train(tmp_path / "whole", options)
    train(tmp_path / "killed", options, killed_at=(0, 0))
    train(tmp_path / "killed", options)
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.slow
def test_a_study_that_is_killed_ten_times_ends_as_one_that_was_not(tiny, fer, tmp_path, assert_same_run):
    study = {"defaults": ["shared/grid", "_self_"], "hydra": {"sweeper": {"params": {"optimizer.lr": "1e-2,1e-3"}}}}
    (tmp_path / "conf" / "study").mkdir(parents=True)
    text = "# @package _global_\n" + OmegaConf.to_yaml(OmegaConf.create(study))
    (tmp_path / "conf" / "study" / "tiny.yaml").write_text(text)

    def start(folder: str) -> multiprocessing.Process:
        places = [f"hydra.sweep.dir={tmp_path / folder}", "hydra.sweep.subdir=${hydra.job.num}"]
        command = ["train", "--config-dir", tmp_path / "conf", "study=tiny", *tiny, *places]
        process = multiprocessing.get_context("fork").Process(target=lambda: sys.exit(fer(*command)))
        process.start()
        return process

    began = time.monotonic()
    whole = start("whole")
    whole.join()
    seconds = time.monotonic() - began
    assert whole.exitcode == 0
    kills, moments = 0, np.random.default_rng(0)
    while kills < 10:
        process = start("killed")
        process.join(moments.uniform(0, seconds / 3))
        if not process.is_alive():  # done before the tenth kill: from the beginning
            assert process.exitcode == 0
            shutil.rmtree(tmp_path / "killed")
            continue
        process.kill()
        process.join()
        kills += 1
    process = start("killed")
    process.join()
    assert process.exitcode == 0
    for number in range(6):  # three seeds of two rates
        assert_same_run(tmp_path / "whole" / str(number), tmp_path / "killed" / str(number))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_epochs(train, tmp_path, monkeypatch):
    resident = []  # MB

    def measure(module: ExpressionClassifier) -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        resident.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)

    monkeypatch.setattr(ExpressionClassifier, "on_train_epoch_end", measure, raising=False)
    train(tmp_path / "run", ["trainer.max_epochs=200"])
    print(f"resident MB after epochs 1, 20, 100, 200: {[round(resident[epoch]) for epoch in (0, 19, 99, 199)]}")
    assert len(resident) == 200 and resident[-1] - resident[19] < 30


# What its config names


def test_only_the_folder_and_what_lies_in_it_moves():
    stored = {"output_dir": "/runs/fer", "data": {"root": "/runs/fer2013", "cache_dir": "/runs/fer/cache"}}
    stored |= {"note": "see /runs/fer", "checkpoints": ["/runs/fer/checkpoints/best.ckpt", "runs/fer", 3, None]}
    moved = _moved(stored, "/runs/fer", "/moved/fer")
    assert moved == {
        "output_dir": "/moved/fer",
        "data": {"root": "/runs/fer2013", "cache_dir": "/moved/fer/cache"},
        "note": "see /runs/fer",
        "checkpoints": ["/moved/fer/checkpoints/best.ckpt", "runs/fer", 3, None],
    }


def test_relative_paths_are_found_where_the_run_was_started(tmp_path, monkeypatch):
    there, run = tmp_path / "there", tmp_path / "run"
    for folder in (there / "faces", there / "old" / "one", run / ".hydra"):
        folder.mkdir(parents=True)
    OmegaConf.save({"hydra": {"runtime": {"cwd": str(there)}}}, run / ".hydra" / "hydra.yaml")
    monkeypatch.chdir(tmp_path)
    options = {"data": {"root": "faces", "cache_dir": "none"}, "model": {"checkpoints": ["old/one", "ferplus"]}}
    cfg = with_paths_from_here(OmegaConf.create(options), run)
    assert cfg.data == {"root": str(there / "faces"), "cache_dir": "none"}
    assert cfg.model.checkpoints == [str(there / "old" / "one"), "ferplus"]


def test_data_that_is_gone_is_a_sentence(tmp_path):
    cfg = OmegaConf.create({"data": {"root": "/gone/faces"}, "model": {}})
    with pytest.raises(UserError, match=r"data\.root=/gone/faces of this run no longer exists: restore the data"):
        with_paths_from_here(cfg, tmp_path)


@pytest.fixture
def edit(trained_run, tmp_path):
    """`edit(name, value)`: a run that lacks its record alone, with one option of its config edited."""

    def run(name: str, value: object) -> Path:
        shutil.copytree(trained_run, tmp_path / "run")
        (tmp_path / "run" / "metrics.json").unlink()
        cfg = OmegaConf.load(tmp_path / "run" / "config.yaml")
        OmegaConf.update(cfg, name, value)
        OmegaConf.save(cfg, tmp_path / "run" / "config.yaml")
        return tmp_path / "run"

    return run


def test_other_data_is_refused(edit, tiny_folder, tmp_path, capsys, fer):
    shutil.copytree(tiny_folder, tmp_path / "faces")
    next((tmp_path / "faces" / "train" / "sad").iterdir()).unlink()
    assert fer("train", f"resume={edit('data.root', str(tmp_path / 'faces'))}") == 2
    assert "The data must be what this run was started on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "before", "value"),
    [
        ("trainer.max_epochs", 4, 6),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ("trainer.max_epochs", 4, 2),
                ("optimizer.lr", 0.001, 0.1),
                ("data.batch_size", 8, 4),
                ("seed", 0, 1),
                ("scheduler.rise_share", 0.25, 0.5),
                ("mixing.mixup_alpha", 0.0, 0.5),
                ("selection.monitor", "val/accuracy", "val/macro_f1"),
            )
        ),
    ],
)
def test_options_that_were_edited_are_refused(name, before, value, edit, capsys, fer):
    assert fer("train", f"resume={edit(name, value)}") == 2
    message = f"{name} must be what the run was started with, {before}; config.yaml now has {value}: restore"
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_where_and_how_fast_a_run_is_computed_may_change(edit, trained_run, fer, assert_same_run):
    run = edit("data.num_workers", 1)
    assert fer("train", f"resume={run}") == 0
    assert_same_run(trained_run, run)
