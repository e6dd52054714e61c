from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import auc, confusion_matrix, roc_auc_score

CLASSES = ["angry", "sad", "happy", "contempt"]

LOG = """
import json, sys
from pathlib import Path
import numpy as np, pandas as pd
from fer_lightning.training.wandb_logger import WandbRunLogger
from fer_lightning.training.wandb_report import log_run

folder = Path(sys.argv[1])
for mode in ("offline", "disabled"):
    logger = WandbRunLogger(str(folder), mode, "project", None, None, None, [], 5, False)
    log_run(
        logger.experiment,
        folder,
        json.loads((folder / "metrics.json").read_text()),
        pd.read_parquet(folder / "predictions.parquet"),
        ["angry", "sad", "happy", "contempt"],
        "test",
        [(np.full((48, 48, 1), 40 * number, np.uint8), f"caption {number}") for number in range(3)],
        with_checkpoint=True,
    )
    logger.close(failed=False)
"""


@pytest.fixture(scope="module")
def predictions() -> pd.DataFrame:
    """Test rows among which the last class never occurs."""
    random = np.random.default_rng(0)
    targets = random.integers(0, 3, 400)
    scores = np.exp(random.normal(size=(400, 4)) + np.eye(4)[targets])
    table = pd.DataFrame(scores / scores.sum(axis=1, keepdims=True), columns=[f"prob_{name}" for name in CLASSES])
    return table.assign(id=[str(row) for row in range(400)], split="test", target=targets)


@pytest.fixture(scope="module")
def folder(predictions: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder, logged to W&B offline."""
    home = tmp_path_factory.mktemp("report")
    folder = home / "run"
    (folder / "figures").mkdir(parents=True)
    (folder / "checkpoints").mkdir()
    image = bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
        "0000000a49444154789c6360000000020001e221bc330000000049454e44ae426082"
    )
    for name in ("curves", "roc_test"):
        (folder / "figures" / f"{name}.png").write_bytes(image)
    for name in ("best", "last"):
        (folder / "checkpoints" / f"{name}.ckpt").write_bytes(b"weights")
    (folder / "config.yaml").write_text("seed: 0\n")
    (folder / "history.csv").write_text("epoch\n1\n")
    predictions.to_parquet(folder / "predictions.parquet")
    scores = {"precision": 0.5, "recall": 0.25, "f1": 1 / 3, "support": 100}
    test = {"n": 400, "accuracy": 0.7, "accuracy_low": 0.65, "accuracy_high": 0.74}
    metrics = {
        "protocol": {"dataset": "fer2013"},
        "best_epoch": 7,
        "timing": {"fit_seconds": 12.5},
        "calibration": {"temperature": 1.3, "fitted_on": "val", "test": {"ece": 0.05, "ece_scaled": 0.02}},
        "elsewhere": {"ferplus": {"accuracy": 0.6, "left_out": {}}, "rafdb": {"missing": "No RAF-DB was found."}},
        "splits": {"test": {**test, "per_class": dict.fromkeys(CLASSES, scores)}},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    done = subprocess.run(
        [sys.executable, "-c", LOG, str(folder)],
        env={**environment, "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def records(folder: Path) -> list[dict]:
    (run,) = (folder / "wandb").glob("offline-run-*")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(run)]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    return [json.loads(line) for line in found.stdout.splitlines()]


@pytest.fixture(scope="module")
def summary(records: list[dict]) -> dict:
    merged: dict = {}
    for record in records:
        if record["type"] == "summary":
            merged.update(record["summary"]["update"])
    return merged


def table(folder: Path, summary: dict, key: str) -> pd.DataFrame:
    """The table that W&B stored under a key, read from `files/media/`."""
    (run,) = (folder / "wandb").glob("offline-run-*")
    content = json.loads((run / "files" / summary[f"{key}.path"]).read_text())
    return pd.DataFrame(content["data"], columns=content["columns"])


def test_the_confusion_chart_holds_the_counts(folder, summary, predictions):
    stored = table(folder, summary, "test/confusion_matrix_table")
    probabilities = predictions[[f"prob_{name}" for name in CLASSES]].to_numpy()
    expected = confusion_matrix(predictions["target"], probabilities.argmax(axis=1), labels=range(4))
    assert stored["nPredictions"].tolist() == expected.ravel().tolist()
    assert stored["Actual"].tolist() == np.repeat(CLASSES, 4).tolist()
    assert stored["Predicted"].tolist() == CLASSES * 4


def test_the_roc_chart_has_a_curve_of_the_right_area_for_each_class_that_occurs(folder, summary, predictions):
    stored = table(folder, summary, "test/roc_table")
    assert sorted(stored["class"].unique()) == sorted(CLASSES[:3])
    for index, name in enumerate(CLASSES[:3]):
        curve = stored[stored["class"] == name]
        expected = roc_auc_score(predictions["target"] == index, predictions[f"prob_{name}"])
        assert auc(curve["x"], curve["y"]) == pytest.approx(expected, abs=5e-3)


def test_the_precision_recall_chart_spans_all_recalls(folder, summary):
    stored = table(folder, summary, "test/precision_recall_table")
    assert stored.groupby("class")["x"].agg(["min", "max"]).to_numpy().tolist() == [[0, 1]] * 3
    assert len(stored) <= 3 * 200


def test_the_table_of_classes(folder, summary):
    stored = table(folder, summary, "test/classes")
    assert stored.columns.tolist() == ["class", "support", "precision", "recall", "f1"]
    assert stored.to_numpy().tolist() == [[name, 100, 0.5, 0.25, pytest.approx(1 / 3)] for name in CLASSES]


def test_images_lie_in_the_media_folder(folder, summary):
    (run,) = (folder / "wandb").glob("offline-run-*")
    assert summary["test/misclassified.captions"] == ["caption 0", "caption 1", "caption 2"]
    assert all((run / "files" / name).is_file() for name in summary["test/misclassified.filenames"])
    for name in ("curves", "roc_test"):
        stored = run / "files" / summary[f"figures/{name}.path"]
        assert stored.read_bytes() == (folder / "figures" / f"{name}.png").read_bytes()


def test_the_summary_holds_the_scores(records, summary):
    expected = {
        "test/n": 400,
        "test/accuracy": 0.7,
        "test/accuracy_low": 0.65,
        "test/accuracy_high": 0.74,
        "best_epoch": 7,
        "timing/fit_seconds": 12.5,
        "temperature": 1.3,
        "test/ece_scaled": 0.02,
        "elsewhere/ferplus/accuracy": 0.6,
        "elsewhere/rafdb/missing": None,
    }
    assert {name: summary.get(name) for name in expected} == expected
    configs = [record["config"]["update"] for record in records if record["type"] == "config"]
    assert {"dataset": "fer2013"} in [config.get("protocol") for config in configs]


def test_the_record_is_an_artifact_that_refers_to_the_files_in_the_run_folder(folder, records):
    artifacts = [record["artifact"] for record in records if record["type"] == "artifact"]
    (artifact,) = [artifact for artifact in artifacts if artifact["type"] == "run-record"]
    stored = {entry["path"]: entry["local_path"] for entry in artifact["manifest"]["contents"]}
    names = ["config.yaml", "metrics.json", "predictions.parquet", "history.csv", "checkpoints/best.ckpt"]
    names += ["figures/curves.png", "figures/roc_test.png"]
    assert stored == {name: str(folder.resolve() / name) for name in names}
