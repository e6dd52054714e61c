from __future__ import annotations

import re

import pandas as pd
import pytest


def options_of_data_and_net(tiny: list[str]) -> list[str]:
    return [option for option in tiny if option.startswith(("data", "model"))]


def test_every_round_measures_everything(tiny, fer, tmp_path, capsys):
    options = ["part=training", "rounds=2", "batches=3", f"hydra.run.dir={tmp_path}"]
    assert fer("bench", *options_of_data_and_net(tiny), *options) == 0
    rates = pd.read_csv(tmp_path / "bench.csv", index_col="round")
    assert list(rates) == ["fer train", "plain loop", "net alone", "loader alone"]
    assert len(rates) == 2 and (rates > 0).all(axis=None)
    ratio = (rates["fer train"] / rates["plain loop"]).median()
    told = re.search(r"train : plain loop\D+([\d.]+) x", capsys.readouterr().out)
    assert told and float(told[1]) == pytest.approx(ratio, abs=0.01)
    assert not (tmp_path / "latency.csv").exists()


def test_more_batches_than_an_epoch_has_are_refused(tiny, fer, tmp_path, capsys):
    assert fer("bench", *options_of_data_and_net(tiny), "part=training", "batches=6", f"hydra.run.dir={tmp_path}") == 2
    assert "batches=6 is more than an epoch: use 5 at most" in capsys.readouterr().err


def test_latency_of_hafem_with_and_without_attention(fer, tmp_path, capsys):
    options = ["part=latency", "~latency.nets.hafem_224px", "latency.rounds=3", f"hydra.run.dir={tmp_path}"]
    assert fer("bench", *options) == 0
    times = pd.read_csv(tmp_path / "latency.csv", index_col="round")
    whole, bare = "hafem_lite_48px", "hafem_lite_48px without attention"
    assert list(times) == [whole, bare] and len(times) == 3
    told = re.search(r"hafem_lite_48px : without attention\D+([\d.]+) x", capsys.readouterr().out)
    assert told and float(told[1]) == pytest.approx((times[whole] / times[bare]).median(), abs=0.001)
    assert not (tmp_path / "bench.csv").exists()


def test_an_unknown_part_is_told(fer, tmp_path, capsys):
    assert fer("bench", "part=speed", f"hydra.run.dir={tmp_path}") == 2
    assert "part=speed is unknown: use one of training, latency, search, all" in capsys.readouterr().err


def test_without_a_part_nothing_is_measured(fer, tmp_path, capsys):
    assert fer("bench", f"hydra.run.dir={tmp_path}") == 0
    listed = capsys.readouterr().out
    assert all(f"fer bench part={name}" in listed for name in ("training", "latency", "search", "all"))
    assert "twenty minutes" in listed
    assert not list(tmp_path.glob("*.csv"))
