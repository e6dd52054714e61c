"""There is no GPU where most of this runs: the CPU stands in for it."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
import torch

from fer_lightning import benchmark_gpu
from fer_lightning.training.checkpoints import load_net


def test_without_a_gpu_one_sentence_says_so(fer, tmp_path, capsys):
    if torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")
    assert fer("benchmark", "device=cuda", "model=hafem", f"hydra.run.dir={tmp_path}") == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1 and "device=cuda: PyTorch finds no GPU here" in told[0]
    assert not (tmp_path / "benchmark.csv").exists()


@pytest.fixture
def benchmark(fer, tmp_path, monkeypatch, capsys):
    """Runs it on the CPU; returns what was printed, the table and the record."""
    monkeypatch.setattr(benchmark_gpu, "find_gpu", lambda: torch.device("cpu"))

    def run(*options: str):
        assert fer("benchmark", "device=cuda", "rounds=2", "count=3", *options, f"hydra.run.dir={tmp_path}") == 0
        record = json.loads((tmp_path / "benchmark.json").read_text())
        return capsys.readouterr().out, pd.read_csv(tmp_path / "benchmark.csv"), record

    return run


def test_an_architecture_is_timed_untrained_beside_the_claim(benchmark):
    printed, table, record = benchmark("model=resnet", "data.image_size=32", "data.channels=3")
    assert table["precision"].tolist() == ["float32", "float16"] and (table["n"] == 6).all()
    assert np.allclose(table["fps"], 1000 / table["median_ms"], rtol=1e-2)
    assert re.search(r"HAFEM's claim\D+52\b", printed) and "NVIDIA RTX 3090" in printed
    assert record["input"] == [1, 3, 32, 32] and record["net"]["parameters"] > 1e6
    assert record["hardware"]["device"] == "cpu" and len(record["results"]) == 2


def test_a_trained_net_takes_its_own_pictures(benchmark, trained_run):
    _, _, record = benchmark(f"checkpoint={trained_run}")
    assert record["input"] == [1, 1, 32, 32]
    weights = sum(value.numel() for value in load_net(trained_run).net.parameters())
    assert record["net"]["parameters"] == weights


def test_a_net_that_is_not_there(fer, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(benchmark_gpu, "find_gpu", lambda: torch.device("cpu"))
    assert fer("benchmark", "device=cuda", "checkpoint=hafen", f"hydra.run.dir={tmp_path}") == 2
    assert "hafen does not exist" in capsys.readouterr().err
