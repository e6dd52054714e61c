"""Studies as their users run them: `fer train study=...`, started again, killed in processes of their own, reported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from fer_lightning.files import conf_dir

SMALL = ["data.size=300", "trainer.limit_train_batches=1.0", "logger=none", "callbacks=[]"]
STUDIES = sorted(path.stem for path in (conf_dir() / "study").glob("psysfa_table*.yaml"))


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "fer_lightning", *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def run(folder: Path, *arguments: str) -> str:
    process = start(folder, *arguments)
    told, _ = process.communicate(timeout=600)
    assert process.returncode == 0, told
    return told


def records(folder: Path) -> dict[str, int]:
    """When each run of a study ended, in nanoseconds."""
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("outputs/studies/*/*/metrics.json")}


def test_a_study_goes_on_shares_its_runs_and_is_reported(fer, fer_undrawn, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    study = ["budget=smoke", *SMALL, "trainer.max_epochs=1"]
    assert fer_undrawn("train", "study=psysfa_table8", *study, "seed=0", "ablation=psysfa_full") == 0
    told = capsys.readouterr().out
    assert "fer report outputs/studies/psysfa_ablations_synthetic_smoke" in told
    before = records(tmp_path)
    assert set(before) == {"psysfa_full_seed0"}
    assert fer_undrawn("train", "study=psysfa_table7", *study, "seed=0", "ablation=psysfa_band_low,psysfa_full") == 0
    after = records(tmp_path)
    assert set(after) == {"psysfa_full_seed0", "psysfa_band_low_seed0"}
    assert after["psysfa_full_seed0"] == before["psysfa_full_seed0"]
    config = (tmp_path / "outputs/studies/psysfa_ablations_synthetic_smoke/psysfa_full_seed0/config.yaml").read_text()
    assert "report:" not in config

    assert fer("report", "outputs/studies", "--to", "told", "--wandb", "disabled") == 0
    (table,) = tmp_path.glob("told/psysfa_net/psysfa_table7*/accuracy.csv")
    comparison = pd.read_csv(table).set_index("row")
    run = json.loads(
        (tmp_path / "outputs/studies/psysfa_ablations_synthetic_smoke/psysfa_band_low_seed0/metrics.json").read_text()
    )
    assert (run["study"], run["budget"], run["variant"]["ablation"]) == ("psysfa_table7", "smoke", "psysfa_band_low")
    assert float(comparison.loc["Low-frequency only", "mean"]) == pytest.approx(
        run["splits"]["test"]["accuracy"], abs=1e-5
    )
    assert comparison.loc["Low-frequency only", "published"] == pytest.approx(0.928)
    assert comparison.loc["High-frequency only", "mean"] == "not run"


def test_the_optimism_of_a_selection_is_measured_and_reported(fer, fer_undrawn, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    study = ["study=selection_optimism", "budget=smoke", *SMALL, "data.batch_size=64", "baseline=resnet", "seed=0"]
    assert fer_undrawn("train", *study, "trainer.max_epochs=2,1") == 0
    shown = capsys.readouterr().out
    assert "ResNet, 1 epoch " in shown and "ResNet, 2 epochs" in shown and "must" not in shown
    folder = "outputs/studies/selection_optimism_synthetic_smoke"
    assert (
        set(records(tmp_path)) == {"resnet_1epochs_seed0", "resnet_2epochs_seed0"} and f"fer report {folder}" in shown
    )
    assert fer("report", folder, "--to", "reports", "--wandb", "disabled") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "the best of all epochs scores" in shown
    [page] = tmp_path.glob("reports/selection_optimism*/index.html")
    assert "What selection on the test split adds" in page.read_text()
    runs = pd.read_csv(page.with_name("runs.csv")).set_index("run")
    history = pd.read_csv(tmp_path / folder / "resnet_2epochs_seed0" / "history.csv")
    assert runs.loc["resnet_2epochs_seed0", "test/best_epoch"] == pytest.approx(history["test/accuracy"].max())


@pytest.mark.slow
def test_a_killed_study_loses_at_most_an_epoch_and_repeats_nothing(tmp_path):
    command = ["train", "study=psysfa_table8", "budget=smoke", *SMALL, "trainer.max_epochs=3", "seed=0"]
    process = start(tmp_path, *command)
    while not records(tmp_path) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = records(tmp_path)
    assert 1 <= len(before) < 5
    run(tmp_path, *command)
    after = records(tmp_path)
    assert len(after) == 5
    assert {name: after[name] for name in before} == before


@pytest.mark.slow
@pytest.mark.parametrize("study", STUDIES)
def test_every_table_smokes(study, tmp_path):
    run(tmp_path, "train", f"study={study}", "budget=smoke", "data=synthetic", *SMALL, "seed=0")
    told = run(tmp_path, "report", "outputs/studies", "--to", "told", "--wandb", "disabled")
    (table,) = tmp_path.glob(f"told/psysfa_net/{study}*/accuracy.csv")
    assert "not run" not in table.read_text(), told
