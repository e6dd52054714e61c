from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fer_lightning.results.collect import collect_runs
from fer_lightning.report.study_records import pooled_predictions, read_history, run_table

RIGHT = np.arange(200) < 150


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_record) -> Path:
    folder = tmp_path_factory.mktemp("study")
    for seed in (0, 1):
        write_record(folder / f"a{seed}", ["ablation=a"], seed, RIGHT if seed else ~RIGHT)
        path = folder / f"a{seed}" / "metrics.json"
        metrics = json.loads(path.read_text()) | {"best_epoch": 3, "epochs": 4, "timing": {"train_seconds": 2.5 + seed}}
        metrics["splits"]["val"] = {"accuracy": 0.6 + seed / 10}
        metrics["splits"]["test_clean"]["accuracy"] = 0.5
        path.write_text(json.dumps(metrics))
    return folder


def test_one_row_a_run_with_all_that_tables_need(folder):
    runs = collect_runs(folder)
    table = run_table(runs)
    assert table["variant"].tolist() == ["a", "a"] and table["seed"].tolist() == [0, 1]
    assert table["run"].tolist() == ["a0", "a1"]
    assert table["accuracy"].tolist() == [0.25, 0.75]
    assert table["val/accuracy"].tolist() == [0.6, 0.7]
    assert table["test_clean/accuracy"].tolist() == [0.5, 0.5]
    assert table["train_seconds"].tolist() == [2.5, 3.5]
    assert (table["best_epoch"] == 3).all() and (table["epochs"] == 4).all()
    assert {"accuracy_low", "accuracy_high", "recall/happy", "commit", "parameters", "dataset"} <= set(table)
    assert str(folder) not in table.to_csv()


def test_predictions_of_all_seeds_one_below_the_other(folder):
    runs = collect_runs(folder)
    targets, probabilities, classes = pooled_predictions(runs[runs["split"] == "test"])
    assert classes == ["happy", "sad"] and probabilities.shape == (400, 2)
    right = probabilities.argmax(axis=1) == targets
    assert (right[:200] == ~RIGHT).all() and (right[200:] == RIGHT).all()


def test_a_run_without_epochs_has_no_history(folder):
    assert read_history(str(folder / "a0")) is None
    pd.DataFrame({"epoch": [1.0]}).to_csv(folder / "a1" / "history.csv", index=False)
    history = read_history(str(folder / "a1"))
    assert history is not None and history["epoch"].tolist() == [1.0]
