"""Real searches: Hydra multiruns whose trials are real trainings."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from fer_lightning.results.run_record import RunRecord

SPACE = ["optimizer.lr=tag(log,interval(1e-3,1e-1))", "data.batch_size=int(interval(4,8))"]


def search(quick: list[str], folder: Path, *options: str) -> list[str]:
    return [
        "-m",
        *quick,
        "hydra/sweeper=optuna",
        "hydra.sweeper.population=2",
        "hydra.sweeper.lease=2",
        "selection.monitor=val/loss",
        "selection.mode=min",
        f"hydra.sweep.dir={folder}",
        *options,
    ]


@pytest.fixture(scope="module")
def quick(tiny: list[str]) -> list[str]:
    return [*tiny, "trainer.max_epochs=2", *SPACE]


def study_of(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name=folder.name, storage=f"sqlite:///{folder / 'study.db'}")


def asked_and_told(folder: Path) -> list[tuple[dict[str, object], object]]:
    return [(trial.params, trial.value) for trial in study_of(folder).trials]


@pytest.fixture(scope="module")
def finished(quick, fer, tmp_path_factory) -> Path:
    """Folder of a finished search of five trials, that is two and a half generations. Do not write to it."""
    folder = tmp_path_factory.mktemp("sweeps") / "whole"
    assert fer("train", *search(quick, folder, "hydra.sweeper.n_trials=5")) == 0
    return folder


def test_a_storage_that_finds_no_room_is_a_sentence(quick, fer, tmp_path, monkeypatch, capsys):
    def fail(*_: object) -> None:
        raise optuna.exceptions.StorageInternalError from sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(optuna.Study, "ask", lambda *_, **__: fail())
    assert fer("train", *search(quick, tmp_path / "s", "hydra.sweeper.n_trials=2")) == 2
    error = capsys.readouterr().err
    assert "database or disk is full. Free disk space" in error and "Traceback" not in error


def test_every_trial_is_a_run_that_was_told_to_the_study(finished):
    trials = study_of(finished).trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 5
    assert len({tuple(trial.params.values()) for trial in trials}) == 5  # a rate may be at its bound twice
    for trial in trials:
        record = RunRecord.read(finished / str(trial.number))
        assert record.metrics["splits"]["val"]["loss"] == pytest.approx(trial.value)
        typed = record.metrics["overrides"]
        assert f"data.batch_size={trial.params['data.batch_size']}" in typed and f"trial={trial.number}" in typed
        assert list(trial.intermediate_values) == [0, 1]
        assert min(trial.intermediate_values.values()) == pytest.approx(trial.value, rel=1e-4)


def test_a_search_never_sees_the_test_split(finished):
    for number in range(5):
        record = RunRecord.read(finished / str(number))
        assert list(record.metrics["splits"]) == ["val"]
        assert set(record.metrics["calibration"]) == {"temperature", "fitted_on", "tau"}
        assert record.metrics["elsewhere"] == {}
        assert set(record.predictions["split"]) == {"val"}
        assert not list((finished / str(number) / "figures").glob("*test*"))


def test_the_best_trial_can_be_trained_from_its_file(finished, fer_undrawn, tmp_path):
    best = study_of(finished).best_trial
    assert fer_undrawn("train", "--config-dir", finished / "conf", "experiment=best", f"hydra.run.dir={tmp_path}") == 0
    record = RunRecord.read(tmp_path)
    assert record.metrics["splits"]["val"]["loss"] == pytest.approx(best.value)
    assert list(record.metrics["splits"]) == ["val", "test"]


def test_what_the_search_found_is_drawn_and_listed(finished):
    assert {path.name for path in (finished / "figures").glob("*.png")} >= {"fitness.png", "parallel_coordinates.png"}
    assert (finished / "trials.csv").read_text().count("\n") == 6
    assert json.loads((finished / "best.json").read_text())["best"]["trial"] == study_of(finished).best_trial.number


def test_the_command_goes_on_to_more_trials_and_repeats_none(finished, quick, fer_undrawn, tmp_path):
    folder = tmp_path / "whole"
    shutil.copytree(finished, folder)
    written = {path: path.stat().st_mtime for path in folder.glob("*/metrics.json")}
    assert fer_undrawn("train", *search(quick, folder, "hydra.sweeper.n_trials=6")) == 0
    assert asked_and_told(folder)[:5] == asked_and_told(finished) and len(asked_and_told(folder)) == 6
    assert all(path.stat().st_mtime == when for path, when in written.items()) and len(written) == 5


def start(quick: list[str], folder: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "fer_lightning", "train", *search(quick, folder, *options)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, "the search ended before it could be killed"
        time.sleep(0.02)


@pytest.mark.slow
def test_killed_in_mid_generation_and_resumed_is_the_same_search(finished, quick, fer, tmp_path):
    folder = tmp_path / "whole"
    process = start(quick, folder, "hydra.sweeper.n_trials=5")
    wait_for(lambda: (folder / "3" / "checkpoints" / "last.ckpt").exists(), process)  # of generation 1: 2 and 3
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "3" / "metrics.json").exists()
    # As if the process had been killed once more, between asking for a trial and hearing what to try.
    study_of(folder).ask()
    assert fer("train", *search(quick, folder, "hydra.sweeper.n_trials=5")) == 0
    assert asked_and_told(folder) == asked_and_told(finished)


@pytest.mark.slow  # two processes are tried fast in test_sweep_postgres.py
def test_two_live_sweepers_share_the_work(quick, tmp_path):
    folder = tmp_path / "shared"
    processes = [start(quick, folder, "hydra.sweeper.n_trials=4") for _ in range(2)]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    trials = [trial for trial in study_of(folder).trials if trial.number < 4]
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 4
    assert len({trial.user_attrs["owner"] for trial in trials}) == 2
    assert len(list(folder.glob("*/metrics.json"))) == 4


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["hydra.sweeper.seed=1"], "seed"),
        (["hydra.sweeper.population=3"], "population"),
        (["hydra/sweeper/sampler=mboa", "hydra.sweeper.sampler.variant=scent"], "variant"),
        (["data.batch_size=int(interval(4,9))"], "other ranges"),
        (["model.dropout=interval(0,0.5)"], "other ranges"),
        (["trainer.max_epochs=3"], "trainer.max_epochs=2"),
        (["selection.monitor=val/accuracy", "selection.mode=max"], "minimize"),
    ],
)
def test_a_resume_that_contradicts_is_refused(finished, quick, fer, capsys, options, told):
    before = (finished / "trials.csv").read_text()
    assert fer("train", *search(quick, finished, "hydra.sweeper.n_trials=7", *options)) == 2
    assert told in capsys.readouterr().err
    assert len(study_of(finished).trials) == 5 and (finished / "trials.csv").read_text() == before


def test_trials_that_diverge_are_failures_and_not_chosen(quick, fer_undrawn, tmp_path):
    folder = tmp_path / "diverging"
    options = ["hydra/sweeper/sampler=random", "hydra.sweeper.n_trials=3", "optimizer.lr=choice(0.01,1e30)"]
    assert fer_undrawn("train", *search(quick, folder, *options, "hydra.sweeper.seed=1")) == 0
    states = {trial.params["optimizer.lr"]: trial.state for trial in study_of(folder).trials}
    assert states == {"0.01": TrialState.COMPLETE, "1e+30": TrialState.FAIL}


def test_a_mistake_of_the_user_ends_the_search_with_its_sentence_and_can_be_mended(
    quick, fer_undrawn, tmp_path, capsys
):
    folder = tmp_path / "mistaken"
    assert fer_undrawn("train", *search(quick, folder, "hydra.sweeper.n_trials=9", "data.val_fraction=2")) == 2
    told = capsys.readouterr().err
    assert "the last 3 trials failed" in told and "val_fraction" in told
    assert [trial.state for trial in study_of(folder).trials] == [TrialState.FAIL] * 3
    assert fer_undrawn("train", *search(quick, folder, "hydra.sweeper.n_trials=4")) == 0
    assert [trial.state for trial in study_of(folder).trials] == [TrialState.FAIL] * 3 + [TrialState.COMPLETE]


def test_a_search_without_any_result_is_no_success(quick, fer, tmp_path, capsys):
    options = ["hydra.sweeper.n_trials=1", "data.batch_size=interval(4,8)"]  # a float
    assert fer("train", *search(quick, tmp_path / "none", *options)) == 2
    assert "no trial of none was completed" in capsys.readouterr().err


@pytest.mark.slow
def test_a_choice_that_fits_no_other_choice_fails_alone(quick, fer, tmp_path):
    folder = tmp_path / "unfitting"
    # optimizer.momentum exists with sgd alone.
    options = ["hydra.sweeper.n_trials=4", "optimizer=sgd,adamw", "optimizer.momentum=interval(0.5,0.9)"]
    assert fer("train", *search(quick, folder, *options, "hydra.sweeper.max_failures=4")) == 0
    states = {(trial.params["optimizer"], trial.state) for trial in study_of(folder).trials}
    assert states == {("sgd", TrialState.COMPLETE), ("adamw", TrialState.FAIL)}


@pytest.mark.parametrize(
    ("pruner", "sampler"),
    [
        pytest.param("median", "random", marks=pytest.mark.slow),
        pytest.param("hyperband", "random", marks=pytest.mark.slow),
        pytest.param("hyperband", "mboa", marks=pytest.mark.slow),
    ],
)
def test_trials_that_fall_behind_are_pruned(pruner, sampler, quick, fer_undrawn, tmp_path):
    folder = tmp_path / "pruned"
    options = [
        f"hydra/sweeper/pruner={pruner}",
        f"hydra/sweeper/sampler={sampler}",
        "hydra.sweeper.n_trials=7",
        "trainer.max_epochs=4",
        "optimizer.lr=choice(1e-5,0.3)",  # whatever the seed and the processor, the latter's loss is many times as high
        *(["hydra.sweeper.pruner.n_startup_trials=2"] if pruner == "median" else []),
        *(["hydra.sweeper.pruner.reduction_factor=2"] if pruner == "hyperband" else []),
    ]
    assert fer_undrawn("train", *search(quick, folder, *options)) == 0
    trials = study_of(folder).trials
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED]
    assert pruned and {trial.state for trial in trials} == {TrialState.PRUNED, TrialState.COMPLETE}
    assert all(len(trial.intermediate_values) < 4 for trial in pruned)
    assert not any((folder / str(trial.number) / "metrics.json").exists() for trial in pruned)


@pytest.mark.parametrize("sampler", ["tpe", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gp", "cmaes"))])
def test_every_sampler_searches(sampler, quick, fer_undrawn, tmp_path):
    folder = tmp_path / sampler
    options = [f"hydra/sweeper/sampler={sampler}", "hydra.sweeper.n_trials=2"]
    assert fer_undrawn("train", *search(quick, folder, *options)) == 0
    assert all(trial.state == TrialState.COMPLETE for trial in study_of(folder).trials)


def test_groups_are_searched_too(tiny, fer_undrawn, tmp_path):
    folder = tmp_path / "groups"
    options = ["hydra.sweeper.n_trials=2", "optimizer=adamw,sgd", "augment=choice(none,light)", "trainer.max_epochs=1"]
    assert fer_undrawn("train", *search(tiny, folder, *options)) == 0
    for trial in study_of(folder).trials:
        typed = RunRecord.read(folder / str(trial.number)).metrics["overrides"]
        assert f"optimizer={trial.params['optimizer']}" in typed
    told = (folder / "conf" / "experiment" / "best.yaml").read_text()
    assert f"override /optimizer: {study_of(folder).best_trial.params['optimizer']}" in told


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["hydra/sweeper=optuna"], "a search needs an option with several values"),
        (["hydra/sweeper=optuna", "hydra.sweeper.n_trials=0", *SPACE], "n_trials must be at least 1; got 0."),
        (
            ["hydra/sweeper=optuna", "hydra.sweeper.sampler.variant=papre", *SPACE],
            "variant=papre is unknown: use one of",
        ),
        (["hydra/sweeper=optuna", "+newgroup.x=1", *SPACE], "Unknown option 'newgroup'"),
        (["hydra/sweeper=optuna", "selection.monitor=val/los", *SPACE], "selection.monitor=val/los"),
        (["hydra/sweeper=optuna", "augment=none,lihgt"], "lihgt"),
        (["hydra/sweeper=optuna", "optimizer.lr=interval(2,1)"], "cannot be searched"),
        (["trial=3", "seed=0,1"], "set by the sweeper only"),
    ],
)
def test_what_makes_no_search_is_told(tiny, fer, tmp_path, capsys, options, told):
    assert fer("train", "-m", *tiny, *options, f"hydra.sweep.dir={tmp_path / 'none'}") == 2
    error = capsys.readouterr().err
    assert told in error and "Traceback" not in error


def test_a_trial_is_no_option_of_a_run(tiny, fer, tmp_path, capsys):
    assert fer("train", *tiny, "trial=3", f"hydra.run.dir={tmp_path}") == 2
    assert "set by the sweeper only" in capsys.readouterr().err


def test_a_folder_with_quotes_in_its_name(quick, fer_undrawn, tmp_path, monkeypatch):
    folder = tmp_path / "it's mine" / "sweep"
    folder.parent.mkdir()
    monkeypatch.chdir(folder.parent)
    assert fer_undrawn("train", *search(quick, Path("sweep"), "hydra.sweeper.n_trials=1")) == 0
    assert (folder / "0" / "metrics.json").is_file()


def test_a_study_of_the_paper_runs(tiny, fer_undrawn, tmp_path):
    folder = tmp_path / "study"
    options = [option for option in tiny if not option.startswith(("model", "trainer.max_epochs", "data.batch_size"))]
    smaller = ["hydra.sweeper.n_trials=1", "trainer.limit_train_batches=1.0"]
    command = ["train", "study=psysfa_mboa", "budget=smoke", *options, *smaller, f"hydra.sweep.dir={folder}"]
    assert fer_undrawn(*command) == 0
    (trial,) = study_of(folder).trials
    assert set(trial.params) == {"optimizer.lr", "data.batch_size", "model.dropout", "model.num_filters"}
    assert 1e-5 <= trial.params["optimizer.lr"] <= 1e-2 and 8 <= trial.params["model.num_filters"] <= 32
    assert RunRecord.read(folder / "0").metrics["model"] == "PsySFANet"
