from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fer_lightning.results.collect import collect_runs
from fer_lightning.studies.facts import study_facts

RIGHT = np.arange(200) < 150
MORE = {
    "epochs": 4,
    "preprocessing": {"image_size": 48, "channels": 1, "align": False},
    "timing": {"fit_seconds": 5400.0},
    "hardware": {"device": "cpu", "processor": "Some CPU", "threads": 1, "precision": "bf16-mixed"},
}


def write(folder: Path, write_record, name: str, seed: int, images: int = 20, **changes: object) -> None:
    write_record(folder / f"{name}{seed}", [f"ablation={name}"], seed, RIGHT)
    path = folder / f"{name}{seed}" / "metrics.json"
    metrics = {**json.loads(path.read_text()), **MORE, **changes}
    metrics["splits"]["test_clean"]["n"] = 190
    path.write_text(json.dumps(metrics))
    pd.DataFrame({"epoch": [1.0], "images": [images]}).to_csv(path.with_name("history.csv"), index=False)


def facts(folder: Path, budget: str | None = "pilot", expected: int | None = 8) -> dict[str, str]:
    runs = collect_runs(folder)
    return study_facts(runs[runs["split"] == "test"], budget, expected)


def test_what_a_reader_must_know(tmp_path, write_record):
    for name, seed in (("a", 0), ("a", 1), ("b", 0)):
        write(tmp_path, write_record, name, seed)
    assert facts(tmp_path) == {
        "Data": "fer2013 (csv), 2 classes, single label",
        "Protocol": "official; best epoch chosen on validation (carved); scored once on PublicTest; "
        "fingerprint fer2013",
        "Training images": "50",
        "Test images": "200, of which 190 are clean: without an exact copy in training",
        "Budget": "pilot: 4 epochs, each of 40 % of the training images",
        "Pictures": "48 x 48, grey",
        "Parameters": "1e-05 million",
        "Seeds": "0, 1 (1 row); 0 (1 row)",
        "Runs": "3 of 8",
        "Hardware": "cpu Some CPU on 1 thread, bf16-mixed",
        "Commit": "abc",
        "Hours": "4.5 of training",
    }


def test_what_differs_is_told_with_all_its_values(tmp_path, write_record):
    write(tmp_path, write_record, "a", 0)
    write(tmp_path, write_record, "gan", 0, images=50, epochs=8, commit="def")
    told = facts(tmp_path, budget=None, expected=None)
    assert told["Budget"] == "4 epochs, each of 40 % of the training images (all rows: 4 to 8 epochs, 40 to 100 %)"
    assert told["Commit"] == "abc; def"
    assert (told["Seeds"], told["Runs"]) == ("0", "2")


def test_each_data_set_is_told(tmp_path, write_record):
    for dataset in ("fer2013", "rafdb"):
        write_record(tmp_path / dataset, [f"data={dataset}"], 0, RIGHT, dataset)
    told = facts(tmp_path)
    assert told["Test images"].startswith("fer2013: 200, ") and "; rafdb: 200" in told["Test images"]
    assert "fingerprint rafdb" in told["Protocol"]


def test_folds_are_told_as_folds(tmp_path, write_record):
    for fold, images in enumerate((200, 200, 160)):
        write(tmp_path, write_record, f"fold{fold}_", 0)
        path = tmp_path / f"fold{fold}_0" / "metrics.json"
        metrics = json.loads(path.read_text())
        metrics["protocol"] |= {"split": f"folds, fold {fold}", "counts": {"train": 50, "test": images}}
        metrics["overrides"] = [f"data.fold={fold}", "ablation=a"]
        path.write_text(json.dumps(metrics))
    told = facts(tmp_path)
    assert told["Protocol"].startswith("3 folds, the first: folds, fold 0; best epoch")
    assert told["Test images"].startswith("160 to 200, of which 190 are clean")
    assert (told["Training images"], told["Seeds"]) == ("50", "0")


@pytest.mark.parametrize("budget", ["pilot", None])
def test_records_that_know_little(tmp_path, write_record, budget):
    write_record(tmp_path / "a0", ["ablation=a"], 0, RIGHT)
    told = facts(tmp_path, budget)
    assert told.get("Budget") == budget and "Hardware" not in told and "Hours" not in told


def test_epochs_whose_images_were_not_counted_have_no_share(tmp_path, write_record):
    write(tmp_path, write_record, "a", 0)
    (tmp_path / "a0" / "history.csv").write_text("epoch,images\n1,\n2,\n")
    assert facts(tmp_path)["Budget"] == "pilot: 4 epochs"
