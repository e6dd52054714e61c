"""What released versions wrote opens to the same numbers; `tests/artifacts/README.md` says how it was made."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
import torch

from fer_lightning.data.samples import ImageFiles
from fer_lightning.data.store import PackedImages, pack
from fer_lightning.inference.classifier import open_classifier
from fer_lightning.results.collect import collect_runs
from fer_lightning.results.run_record import RunRecord
from fer_lightning.training.checkpoints import load_net

ARTIFACTS = Path(__file__).parent / "artifacts"
VERSIONS = sorted(path.name for path in ARTIFACTS.iterdir() if path.is_dir())
# Other processors add in another order; integers are rounded at other places.
TOLERANCE = {"net_int8.onnx": 0.05}
NETS = ("run", "run/checkpoints/best.ckpt", "net.safetensors", "net_half.safetensors", "net.onnx", "net_int8.onnx")


@pytest.fixture(params=VERSIONS)
def artifacts(request, tmp_path) -> Path:
    """A copy of what a version wrote, which may be continued."""
    return Path(shutil.copytree(ARTIFACTS / request.param, tmp_path / "artifacts"))


@pytest.fixture
def expected(artifacts) -> dict[str, Any]:
    """What the version that wrote the files read in them."""
    return json.loads((artifacts / "expected.json").read_text())


@pytest.fixture
def store(artifacts) -> Path:
    (images,) = artifacts.glob("cache/*/images.npy")
    return images.parent


@pytest.mark.parametrize("name", NETS)
def test_a_network_gives_the_same_probabilities(artifacts, expected, store, name):
    faces = PackedImages(store).batch(np.arange(8))
    classifier = open_classifier(str(artifacts / name), "auto", None)
    assert list(classifier.classes) == expected["classes"]
    assert classifier.card["temperature"] == pytest.approx(expected["temperature"])
    probabilities = classifier.probabilities(faces)
    np.testing.assert_allclose(probabilities, expected["probabilities"][name], atol=TOLERANCE.get(name, 1e-4))


def test_a_record_holds_the_same_scores(artifacts, expected):
    record = RunRecord.read(artifacts / "run")
    assert {split: scores["accuracy"] for split, scores in record.metrics["splits"].items()} == expected["accuracy"]
    assert record.metrics["calibration"]["temperature"] == expected["temperature"]
    assert record.history["val/loss"].tolist() == pytest.approx(expected["val/loss"], abs=1e-6)
    test = record.predictions.query("split == 'test'")
    predicted = test.filter(like="prob_").to_numpy().argmax(axis=1)
    assert (predicted == test["target"]).mean() == pytest.approx(expected["accuracy"]["test"])


def test_an_unfinished_run_goes_on_to_the_same_weights(artifacts, expected, fer_undrawn, monkeypatch):
    monkeypatch.chdir(artifacts)
    assert fer_undrawn("train", "resume=killed") == 0
    continued, whole = (load_net(Path(run)).net.state_dict() for run in ("killed", "run"))
    for name, weights in whole.items():
        torch.testing.assert_close(continued[name], weights, rtol=1e-3, atol=1e-4)
    assert RunRecord.read(Path("killed")).history["val/loss"].tolist() == pytest.approx(expected["val/loss"], abs=1e-3)


def test_a_search_goes_on(artifacts, expected, fer, monkeypatch):
    monkeypatch.chdir(artifacts)
    assert fer("train", *expected["search"]["command"], "hydra.sweeper.n_trials=5") == 0
    study = optuna.load_study(study_name="search", storage="sqlite:///search/study.db")
    params, values = expected["search"]["params"], expected["search"]["values"]
    assert [trial.params for trial in study.trials] == [pytest.approx(trial) for trial in params]
    assert [trial.value for trial in study.trials[:-1]] == values[:-1]
    # That version augmented image by image, with other random numbers.
    assert study.trials[-1].value == pytest.approx(values[-1], abs=0.02)
    assert pd.read_csv("search/trials.csv").shape[0] == 5


def test_the_runs_of_a_study_are_collected(artifacts, expected):
    runs = collect_runs(artifacts / "study").query("split == 'test'")
    assert runs["seed"].tolist() == [0, 1]
    assert runs["accuracy"].tolist() == expected["study"]


@pytest.mark.slow
def test_a_study_is_reported(artifacts, expected, fer, monkeypatch):
    monkeypatch.chdir(artifacts)
    assert fer("report", "study", "--to", "report", "--wandb", "disabled") == 0
    (path,) = Path("report").rglob("accuracy.csv")
    row = pd.read_csv(path).set_index("row").loc["ResNet model"]
    assert float(row["mean"]) == pytest.approx(np.mean(expected["study"]), abs=1e-4)


def test_a_packed_store_holds_the_same_pixels(artifacts, expected, store, tmp_path):
    packed = PackedImages(store).batch(np.arange(expected["store"]["images"]))
    assert hashlib.sha256(packed.tobytes()).hexdigest() == expected["store"]["sha256"]
    reader = ImageFiles(artifacts / "faces", tuple(expected["store"]["paths"]))
    again, bad = pack(reader, tmp_path / "again", 32, 1)
    assert not bad
    np.testing.assert_array_equal(again.batch(np.arange(len(reader))), packed)


def test_artifacts_are_small_and_name_no_machine():
    files = [path for path in ARTIFACTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 2_000_000
    for path in files:
        assert b"/home/" not in path.read_bytes(), path
