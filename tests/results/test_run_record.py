from __future__ import annotations

import json
import subprocess

import numpy as np
import pandas as pd
import pytest
import torch

from fer_lightning import files
from fer_lightning.errors import UserError
from fer_lightning.evaluation.efficiency import describe_hardware
from fer_lightning.files import write_whole
from fer_lightning.results import run_record as record_module
from fer_lightning.results.metrics_schema import identity
from fer_lightning.results.run_record import RunRecord, describe_commit, describe_software, predicted_arrays

PROTOCOL = {
    "dataset": "fer2013",
    "release": "csv",
    "classes": ["happy", "sad"],
    "label_rule": "single label",
    "split": "official",
    "selection": "carved",
    "test": "PublicTest",
    "counts": {"train": 50, "val": 20, "test": 1},
    "fingerprint": "abc",
}


def make_record() -> RunRecord:
    return RunRecord(
        metrics={
            "seed": 3,
            "overrides": [],
            **identity([]),
            "model": "ResNet",
            "parameters": 10,
            "commit": "abc",
            "protocol": PROTOCOL,
            "splits": {"test": {"accuracy": 0.5}},
        },
        predictions=pd.DataFrame(
            {"id": ["a"], "split": ["test"], "target": [1], "prob_happy": [0.25], "prob_sad": [0.75]}
        ),
        history=pd.DataFrame({"epoch": [1.0], "val/accuracy": [0.5]}),
    )


def test_reads_what_it_wrote(tmp_path):
    record = make_record()
    record.write(tmp_path / "run")
    again = RunRecord.read(tmp_path / "run")
    assert again.metrics == record.metrics
    pd.testing.assert_frame_equal(again.predictions, record.predictions)
    pd.testing.assert_frame_equal(again.history, record.history)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "history.csv",
        "metrics.json",
        "predictions.parquet",
    ]


def test_metrics_come_last_and_are_plain_json(tmp_path, monkeypatch):
    order = []

    def note(path, write):
        order.append(path.name)
        return write_whole(path, write)

    for module in (record_module, files):
        monkeypatch.setattr(module, "write_whole", note)
    make_record().write(tmp_path)
    assert order[-1] == "metrics.json"
    assert json.loads((tmp_path / "metrics.json").read_text())["seed"] == 3


def test_a_folder_without_metrics_holds_no_finished_run(tmp_path):
    with pytest.raises(UserError, match=r"metrics\.json"):
        RunRecord.read(tmp_path)


def test_software_and_hardware():
    assert describe_software()["numpy"] == np.__version__
    hardware = describe_hardware(torch.device("cpu"), "32-true")
    assert hardware["device"] == "cpu"
    assert hardware["threads"] == torch.get_num_threads()
    assert "gpu" not in hardware


def test_commit_is_unknown_without_git(monkeypatch):
    def no_git(*arguments, **options):
        raise OSError("git is not installed")

    monkeypatch.setattr(subprocess, "run", no_git)
    assert describe_commit() == "unknown"


def test_takes_one_split_in_the_order_of_the_classes_whatever_the_order_of_the_columns():
    table = pd.DataFrame(
        {
            "id": ["a", "b", "c"],
            "split": ["val", "test", "test"],
            "prob_sad": [0.3, 0.2, 0.9],
            "target": [0, 1, 0],
            "prob_angry": [0.7, 0.8, 0.1],
        }
    )
    targets, probabilities = predicted_arrays(table, ["angry", "sad"], "test")
    assert targets.tolist() == [1, 0]
    assert np.array_equal(probabilities, [[0.8, 0.2], [0.1, 0.9]])
