from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import optuna
import pandas as pd
import pytest
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from fer_lightning.commands import sweep
from fer_lightning.commands.sweep import report_sweep
from fer_lightning.files import conf_dir
from fer_lightning.search.report import trial_table
from fer_lightning.training.wandb_logger import WandbRunLogger

SPACE = {"optimizer.lr": FloatDistribution(1e-5, 1e-2, log=True), "model": CategoricalDistribution(["resnet", "vit"])}


def make_study(values: list[float | None], direction: str = "minimize") -> optuna.Study:
    """A study with a trial of each value; None fails it."""
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(study_name="monday", direction=direction, sampler=sampler)
    for value in values:
        trial = study.ask(SPACE)
        if value is None:
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, value)
    return study


def config(logger: str) -> DictConfig:
    """What a sweeper has: nothing of a run is known, so that `output_dir` cannot be resolved."""
    return OmegaConf.create(
        {
            "selection": {"monitor": "val/loss"},
            "output_dir": "${hydra:runtime.output_dir}",
            "logger": OmegaConf.load(conf_dir() / "logger" / f"{logger}.yaml"),
            "hydra": {"sweeper": {"sampler": {"_target_": "optuna.samplers.TPESampler", "seed": 3}, "pruner": None}},
        }
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "my monday"


def test_leaves_the_trials_the_best_one_and_pictures(folder):
    study = make_study([1.5, None, 0.25, 1.25])
    report_sweep(study, folder, config("csv"))
    trials = pd.read_csv(folder / "trials.csv")
    assert list(trials) == ["number", "state", "value", "optimizer.lr", "model", "seconds"]
    assert trials["state"].tolist() == ["complete", "fail", "complete", "complete"]
    assert trials["value"].tolist()[2:] == [0.25, 1.25]
    assert trials["optimizer.lr"].tolist() == [trial.params["optimizer.lr"] for trial in study.trials]
    assert json.loads((folder / "best.json").read_text()) == {
        "study": "monday",
        "objective": "val/loss",
        "direction": "minimize",
        "trials": {"complete": 3, "fail": 1},
        "best": {"trial": 2, "value": 0.25, "parameters": study.best_params, "folder": str(folder / "2")},
        "sampler": {"_target_": "optuna.samplers.TPESampler", "seed": 3},
        "pruner": None,
    }
    pictures = {path.stem for path in (folder / "figures").glob("*.png")}
    assert pictures == {"fitness", "importances", "slices", "parallel_coordinates"}


@pytest.mark.parametrize("direction, order", [("minimize", [4, 1, 3, 0, 6]), ("maximize", [5, 2, 6, 0, 3])])
def test_prints_the_five_best_trials_and_how_to_train_the_best(folder, capsys, monkeypatch, direction, order):
    monkeypatch.chdir(folder.parent)
    (folder / "conf" / "experiment").mkdir(parents=True)
    (folder / "conf" / "experiment" / "best.yaml").touch()
    report_sweep(make_study([0.5, 0.2, 0.8, 0.4, 0.1, 0.9, 0.6], direction), folder, config("none"))
    printed = capsys.readouterr().out
    (heading,) = [line for line in printed.splitlines() if line.startswith("┃ trial")]
    assert [int(cell) for cell in heading.strip("┃").split("┃")[1:]] == order
    assert "Train best: fer train --config-dir 'my monday/conf' experiment=best\n" in printed
    assert "Look at it: fer dashboard --search 'my monday'\n" in printed


def test_a_sweep_without_a_complete_trial_is_reported_too(folder, capsys):
    report_sweep(make_study([None, None]), folder, config("none"))
    printed = capsys.readouterr().out
    assert "No trial is complete" in printed and "Train best" not in printed
    assert json.loads((folder / "best.json").read_text())["best"] is None
    assert len(pd.read_csv(folder / "trials.csv")) == 2


def test_conditional_and_pruned_trials_have_their_row():
    study = make_study([1.0])
    trial = study.ask({**SPACE, "model.depth": FloatDistribution(1, 2)})
    trial.report(0.75, step=1)
    study.tell(trial, state=TrialState.PRUNED)
    table = trial_table(study)
    assert table["state"].tolist() == ["complete", "pruned"]
    assert table["value"].tolist() == [1.0, 0.75]
    assert table["model.depth"].isna().tolist() == [True, False]


REPORT = """
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from test_sweep import config, make_study
from fer_lightning.commands.sweep import report_sweep

study = make_study([1.5, None, 0.25])
for _ in range(2):  # the second time as a sweep that is finished already
    report_sweep(study, Path(sys.argv[2]), config("wandb"))
"""


@pytest.mark.slow
def test_a_single_wandb_run_in_the_group_of_the_trials_shows_the_sweep(folder):
    command = [sys.executable, "-c", REPORT, str(Path(__file__).parent), str(folder)]
    environment = {"HOME": str(folder.parent), "PATH": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (logged,) = (folder / "wandb").glob("offline-run-*")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(logged)]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    records = [json.loads(line) for line in found.stdout.splitlines()]
    (run,) = [record["run"] for record in records if record["type"] == "run"]
    assert (run["run_group"], run["display_name"], run["job_type"]) == ("my monday", "search my monday", "search")
    summary = {}
    for record in records:
        if record["type"] == "summary":
            summary.update(record["summary"]["update"])
    assert (summary["best/trial"], summary["best/value"]) == (2, 0.25)
    assert (summary["trials/complete"], summary["trials/fail"]) == (2, 1)
    assert summary["best/model"] in ("resnet", "vit")
    pictures = {path.name.split("_0_")[0] for path in (logged / "files/media/images/figures").iterdir()}
    assert pictures == {"fitness", "importances", "slices", "parallel_coordinates"}
    (table,) = (logged / "files/media/table").glob("trials*.json")
    assert [row[:3] for row in json.loads(table.read_text())["data"]] == [
        [0, "complete", 1.5],
        [1, "fail", None],
        [2, "complete", 0.25],
    ]
    assert [record["exit"].get("exit_code", 0) for record in records if record["type"] == "exit"] == [0]


def test_a_wandb_run_is_ended_whatever_happens(folder, monkeypatch):
    ends = []

    def fails(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr(WandbRunLogger, "log_hyperparams", fails)
    monkeypatch.setattr(WandbRunLogger, "close", lambda self, failed: ends.append(failed))
    with pytest.raises(OSError, match="disk full"):
        report_sweep(make_study([1.0]), folder, config("wandb"))
    assert ends == [True]


def test_no_logger_but_wandb_is_built(folder, monkeypatch):
    monkeypatch.delattr(sweep, "build")
    report_sweep(make_study([1.0, 2.0]), folder, config("tensorboard"))
