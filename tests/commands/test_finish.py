from __future__ import annotations

import json

import pandas as pd
import pytest

from fer_lightning.results.calibration import calibrate
from fer_lightning.results.run_record import RunRecord

DRAWN = ["+data@elsewhere.synthetic=synthetic", "elsewhere.synthetic.size=140"]


@pytest.fixture
def drawn(tmp_path):
    return [*DRAWN, f"elsewhere.synthetic.cache_dir={tmp_path / 'cache'}"]


def test_a_run_is_scored_on_other_data_as_well(fer, tiny, drawn, tmp_path, trained_run, capsys, monkeypatch):
    """Missing data and the training data are skipped; evaluating the network logs the same as training it."""
    monkeypatch.setenv("FER_RAFDB_ROOT", "/nowhere")  # as for data=rafdb
    options = ["+data@elsewhere.rafdb=rafdb", "+data@elsewhere.folder=folder"]
    folder = tmp_path / "run"
    assert fer("train", *tiny, "trainer.max_epochs=1", *drawn, *options, f"hydra.run.dir={folder}") == 0
    found = json.loads((folder / "metrics.json").read_text())["elsewhere"]
    assert list(found) == ["synthetic", "rafdb"]
    assert found["rafdb"]["missing"].startswith("No RAF-DB was found at elsewhere.rafdb.root=/nowhere")
    told = " ".join(capsys.readouterr().out.split())
    assert told.count("elsewhere.rafdb is skipped") == 1 and "On other data, test" in told
    there = found["synthetic"]
    assert there["protocol"]["dataset"] == "synthetic" and there["protocol"]["classes"] == ["happy", "sad", "surprise"]
    assert set(there["left_out"]) == {"angry", "disgust", "fear", "neutral"}
    assert there["n"] == there["protocol"]["counts"]["test"] - sum(there["left_out"].values())
    assert (there["seen"], there["same_pictures"]) == (0, 0)

    again = tmp_path / "again"
    common = ["trainer=cpu", "trainer.precision=32-true", "trainer.enable_progress_bar=false"]
    assert fer("evaluate", *common, *drawn, f"checkpoint={folder}", f"hydra.run.dir={again}") == 0
    assert json.loads((again / "metrics.json").read_text())["elsewhere"] == {"synthetic": there}


def test_the_record_of_a_run_holds_its_temperature(trained_run):
    record = RunRecord.read(trained_run)
    classes = record.metrics["protocol"]["classes"]
    assert record.metrics["calibration"] == calibrate(record.predictions, classes)
    assert record.metrics["elsewhere"] == {}
    for name in ("ece", "loss"):
        assert record.metrics["calibration"]["test"][name] == pytest.approx(
            record.metrics["splits"]["test"][name], abs=1e-5
        )
    assert pd.read_parquet(trained_run / "predictions.parquet").equals(record.predictions)
