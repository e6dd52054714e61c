from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

QUICK = ["faithfulness.steps=4", "faithfulness.random_maps=2", "shap_samples=20"]


@pytest.fixture(scope="module")
def explained(trained_run, fer, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("explained") / "run"
    assert fer("explain", f"checkpoint={trained_run}", *QUICK, "n=9", "split=test", f"hydra.run.dir={folder}") == 0
    return folder


def test_faces_of_the_data_leave_pictures_and_numbers(explained):
    pictures = {path.stem for path in explained.glob("*.png")}
    assert pictures == {"gradcam", "shap", "features", "faithfulness"}
    assert all(cv2.imread(str(explained / f"{name}.png")).std() > 10 for name in pictures)
    told = json.loads((explained / "explanation.json").read_text())
    assert "gradient explainer" in told["shap"] and "compared with 42 training faces of folder" in told["shap"]
    assert [sentence.split()[0] for sentence in told["verdict"]] == ["Grad-CAM", "SHAP"]


def test_faces_are_balanced_and_named(explained):
    faces = pd.read_csv(explained / "faces.csv")
    assert faces["true"].value_counts().tolist() == [3, 3, 3]
    assert faces["face"].nunique() == 9
    probabilities = faces.filter(like="prob_")
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert (probabilities.columns[probabilities.to_numpy().argmax(1)] == "prob_" + faces["predicted"]).all()


def test_areas_of_every_face_and_map_are_written(explained):
    areas = pd.read_csv(explained / "faithfulness.csv")
    assert len(areas) == 9 * 2 * 2
    assert areas[["area", "area_moved", "area_noise"]].to_numpy().min() > 0
    summary = pd.read_csv(explained / "faithfulness_summary.csv")
    assert len(summary) == 2 * 2 * 2 and (summary["n"] == 9).all()
    own = areas[(areas["map"] == "SHAP") & (areas["score"] == "insertion")]
    row = summary.query("map == 'SHAP' and score == 'insertion' and random == 'noise'").iloc[0]
    assert row["difference"] == pytest.approx((own["area"] - own["area_noise"]).mean())


def test_a_small_square_picture_is_a_face(trained_run, tiny_folder, fer, tmp_path):
    picture = tiny_folder / "test" / "happy" / "0.png"
    none = ["shap=none", "faithfulness.steps=0"]
    assert fer("explain", f"checkpoint={trained_run}", f"image={picture}", *none, f"hydra.run.dir={tmp_path}") == 0
    assert {path.stem for path in tmp_path.glob("*.png")} == {"gradcam", "features"}
    assert pd.read_csv(tmp_path / "faces.csv")["true"].isna().all()


@pytest.mark.slow
def test_pictures_reach_wandb(trained_run, tiny_folder, fer, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    picture = tiny_folder / "test" / "happy" / "0.png"
    options = [f"image={picture}", "shap=none", "faithfulness.steps=0", "logger=wandb"]
    assert fer("explain", f"checkpoint={trained_run}", *options, f"hydra.run.dir={tmp_path}") == 0
    assert {path.parent.name for path in tmp_path.glob("wandb/*/files/media/images/explain/*.png")} == {"explain"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["checkpoint=null"], "checkpoint=... is missing"),
        (["shap=deep"], "shap=deep is unknown: use one of gradient, partition, none."),
        (["split=all"], "split=all is unknown"),
        (["crop=round"], "crop=round is unknown"),
        (["n=0"], "n must be at least 1; got 0."),
        (["image=no_such.jpg"], "no_such.jpg"),
    ],
)
def test_mistakes_are_told_in_a_sentence(options, message, trained_run, fer, tmp_path, capfd):
    assert fer("explain", f"checkpoint={trained_run}", *options, f"hydra.run.dir={tmp_path}") == 2
    error = capfd.readouterr().err
    assert message in error and "Traceback" not in error
