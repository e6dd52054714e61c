"""`corruptions=...` of `fer train` and `fer evaluate`, from the command line to the pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import OmegaConf

from fer_lightning.commands.train import _corruptions
from fer_lightning.results.run_record import RunRecord

LEVELS = [("clean", 0), *((name, severity) for name in ("eyes", "noise") for severity in range(1, 6))]


@pytest.fixture(scope="module")
def spoilt_run(fer, tiny, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("robustness") / "run"
    assert fer("train", *tiny, "trainer.max_epochs=1", "corruptions=[noise,eyes]", f"hydra.run.dir={folder}") == 0
    return folder


def test_training_ends_with_corrupted_pictures(spoilt_run):
    record = RunRecord.read(spoilt_run)
    table = pd.read_csv(spoilt_run / "robustness.csv")
    pd.testing.assert_frame_equal(record.robustness, table)
    assert list(zip(table["corruption"], table["severity"])) == LEVELS
    assert table["accuracy"][0] == pytest.approx(record.metrics["splits"]["test"]["accuracy"])
    told = record.metrics["robustness"]
    assert told["accuracy"]["noise"] == pytest.approx(table[6:]["accuracy"].mean())
    assert list(told["relative"]) == ["eyes", "noise", "mean"]
    assert {"robustness.png", "corruptions.png"} <= {path.name for path in (spoilt_run / "figures").iterdir()}
    # The record is whole once metrics.json is there.
    assert (spoilt_run / "metrics.json").stat().st_mtime_ns >= (spoilt_run / "robustness.csv").stat().st_mtime_ns


def test_evaluation_finds_the_same(fer, spoilt_run, tmp_path):
    options = [
        "trainer=cpu",
        "trainer.precision=32-true",
        f"hydra.run.dir={tmp_path}",
        "trainer.enable_progress_bar=false",
    ]
    assert fer("evaluate", f"checkpoint={spoilt_run}", "corruptions=noise", *options) == 0
    trained = RunRecord.read(spoilt_run).robustness.query("corruption != 'eyes'").reset_index(drop=True)
    pd.testing.assert_frame_equal(RunRecord.read(tmp_path).robustness, trained)


def test_nothing_is_scored_unasked(trained_run):
    assert RunRecord.read(trained_run).robustness is None
    assert "robustness" not in json.loads((trained_run / "metrics.json").read_text())
    assert not (trained_run / "robustness.csv").exists() and not (trained_run / "figures" / "robustness.png").exists()


@pytest.mark.parametrize(("trial", "scored"), [(None, ("blur",)), (3, ())])
def test_trials_are_left_out(trial, scored):
    assert _corruptions(OmegaConf.create({"corruptions": ["blur"], "data": {}, "trial": trial})) == scored


@pytest.mark.slow
def test_a_search_never_sees_the_test_split(fer, tiny, tmp_path):
    options = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=1", "corruptions=all", f"hydra.sweep.dir={tmp_path}"]
    assert fer("train", "-m", *tiny, "trainer.max_epochs=1", "optimizer.lr=interval(0.001,0.01)", *options) == 0
    assert len(list(tmp_path.rglob("metrics.json"))) == 1 and not list(tmp_path.rglob("robustness.csv"))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["corruptions=[blur,fog]"], "corruptions=fog is unknown: use one of all, eyes, mouth,"),
        (
            ["model=multimodal_fusion", "corruptions=all"],
            "corruptions must be empty for a net",
        ),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(fer, tiny, tmp_path, capsys, options, told):
    tiny = [option for option in tiny if "model" not in option]
    assert fer("train", *tiny, *options, f"hydra.run.dir={tmp_path / 'run'}") == 2
    assert told in capsys.readouterr().err and not (tmp_path / "run" / "checkpoints").exists()
