"""`fer audit` on pictures with planted copies, and training without them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from fer_lightning.results.run_record import RunRecord


@pytest.fixture(scope="module")
def leaky(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny dataset, where two test pictures are copies of training pictures, one of them with another label."""
    root = tmp_path_factory.mktemp("leaky") / "data"
    shutil.copytree(tiny_folder, root)
    shutil.copy(root / "train" / "happy" / "3.png", root / "test" / "happy" / "0.png")
    shutil.copy(root / "train" / "sad" / "5.png", root / "test" / "happy" / "1.png")
    return root


@pytest.fixture
def options(tiny: list[str], leaky: Path) -> list[str]:
    return [option for option in tiny if not option.startswith("data.root")] + [f"data.root={leaky}"]


def test_writes_a_report(options, fer, tmp_path, capsys):
    data = [option for option in options if option.startswith("data")]
    assert fer("audit", *data, f"hydra.run.dir={tmp_path}") == 0
    found = json.loads((tmp_path / "audit.json").read_text())
    assert found["pairs"]["exact"] == 2 and found["conflicting_pairs"]["exact"] == 1
    assert found["evaluation_images_with_a_copy_in_training"][1]["exact"] == 2
    assert found["blank"] == found["bad"] == [] and found["groups"] is None
    listed = pd.read_csv(tmp_path / "duplicates.csv")
    exact = listed[listed["kind"] == "exact"]
    assert {frozenset(pair) for pair in exact[["first_id", "second_id"]].to_numpy()} == {
        frozenset(("train/happy/3.png", "test/happy/0.png")),
        frozenset(("train/sad/5.png", "test/happy/1.png")),
    }
    assert "2 (13.3%)" in capsys.readouterr().out
    for name in ("copies", "conflicts"):
        assert cv2.imread(str(tmp_path / f"{name}.png")) is not None


def test_a_run_is_scored_on_the_clean_part_too(options, fer, tmp_path, capsys):
    run = tmp_path / "run"
    assert fer("train", *options, "trainer.max_epochs=1", f"hydra.run.dir={run}") == 0
    assert "test_clean" in capsys.readouterr().out
    record = RunRecord.read(run)
    scores, predictions = record.metrics["splits"], record.predictions
    assert list(scores) == ["val", "test", "test_clean"]
    assert scores["test"]["n"] == 15 and scores["test_clean"]["n"] == 13
    kept = predictions[
        (predictions["split"] == "test") & ~predictions["id"].isin(["test/happy/0.png", "test/happy/1.png"])
    ]
    columns = [name for name in predictions if name.startswith("prob_")]
    right = kept[columns].to_numpy().argmax(axis=1) == kept["target"]
    assert scores["test_clean"]["accuracy"] == pytest.approx(np.mean(right))
    assert fer("evaluate", f"checkpoint={run}", "trainer=cpu", f"hydra.run.dir={tmp_path / 'again'}") == 0
    again = RunRecord.read(tmp_path / "again").metrics["splits"]
    assert again["test_clean"]["accuracy"] == pytest.approx(scores["test_clean"]["accuracy"])


def test_training_without_leaks_has_nothing_to_clean(options, fer_undrawn, tmp_path):
    run = tmp_path / "run"
    assert fer_undrawn("train", *options, "trainer.max_epochs=1", "data.drop_leaked=exact", f"hydra.run.dir={run}") == 0
    metrics = RunRecord.read(run).metrics
    assert list(metrics["splits"]) == ["val", "test"]
    assert metrics["protocol"]["counts"] == {"train": 40, "val": 18, "test": 15}
    assert "without the 2 training rows that have an exact copy in validation or test" in metrics["protocol"]["split"]
