from __future__ import annotations

import math
import time

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binom
from torch import nn

from fer_lightning.benchmark.latency import (
    FEWEST_ROUNDS,
    PRECISIONS,
    WARM_UP,
    peak_memory,
    ratio_of_rounds,
    summarise_times,
    time_net,
)


def test_medians_and_percentiles_are_those_of_numpy():
    rng = np.random.default_rng(0)
    values = {("b", "whole"): rng.gamma(2, 5, 101), ("a", "whole"): rng.gamma(2, 9, 40), ("b", "cpu"): rng.random(7)}
    times = pd.concat(
        [pd.DataFrame({"who": who, "stage": stage, "milliseconds": found}) for (who, stage), found in values.items()]
    )
    table = summarise_times(times, ["who", "stage"])
    assert list(zip(table["who"], table["stage"])) == list(values)
    for (_, row), found in zip(table.iterrows(), values.values()):
        assert row["median_ms"] == pytest.approx(np.median(found))
        assert row["p95_ms"] == pytest.approx(np.percentile(found, 95))
        assert row["fps"] == pytest.approx(1000 / np.median(found))
        assert row["n"] == len(found)


def by_round(medians: list[float], spread: float) -> pd.Series:
    """Three measurements a round, whose median is given."""
    rows = [(number, median + step) for number, median in enumerate(medians) for step in (-spread, 0.0, 100 * spread)]
    index, values = zip(*rows)
    return pd.Series(values, index=index)


def test_the_ratio_is_that_of_each_round():
    """A round twice as slow for both leaves the ratio alone; that of the overall medians would move."""
    reference = by_round([10, 10, 20, 40, 10, 10, 80], 0.5)
    ratio = ratio_of_rounds(by_round([31, 30, 60, 120, 30, 29, 240], 3.0), reference)
    assert ratio.median == pytest.approx(3.0)
    assert (ratio.low, ratio.high) == (pytest.approx(2.9), pytest.approx(3.1))


@pytest.mark.parametrize("rounds", [6, 20, 25])
def test_the_interval_consists_of_order_statistics(rounds):
    """The ranks are the innermost ones whose tails hold 2.5 % at most, by the binomial distribution."""
    ratios = np.random.default_rng(rounds).permutation(np.linspace(2, 4, rounds))
    found = ratio_of_rounds(by_round(list(10 * ratios), 0.1), by_round([10.0] * rounds, 0.1))
    below = max(k for k in range(rounds // 2) if binom.cdf(k, rounds, 0.5) <= 0.025)
    ordered = np.sort(ratios)
    assert found.low == pytest.approx(ordered[below]) and found.high == pytest.approx(ordered[rounds - 1 - below])


def test_few_rounds_have_no_interval():
    ratio = ratio_of_rounds(by_round([20.0] * (FEWEST_ROUNDS - 1), 1), by_round([10.0] * (FEWEST_ROUNDS - 1), 1))
    assert ratio.median == 2 and math.isnan(ratio.low) and math.isnan(ratio.high)


class Slow(nn.Module):
    """Waits longer without autocast, and remembers in what it computed."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.seen: list[torch.dtype] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        assert torch.is_inference_mode_enabled() and not self.training
        logits = self.layer(image)
        self.seen.append(logits.dtype)
        time.sleep(0.008 if logits.dtype == torch.float32 else 0.002)
        return logits


def test_every_round_times_each_precision_once():
    net = Slow()
    times = time_net(net.train(), [torch.zeros(1, 3)], torch.device("cpu"), range(9))
    assert times["precision"].tolist() == list(PRECISIONS) * 9
    assert net.seen[-18:] == [torch.float32, torch.float16] * 9 and len(net.seen) == 2 * (WARM_UP + 9)
    medians = times.groupby("precision")["milliseconds"].median()
    assert medians["float32"] >= 7.9 and 1.9 <= medians["float16"] < medians["float32"]


def test_peak_memory_is_that_of_a_gpu():
    assert peak_memory(torch.device("cpu")) is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_gpu_is_waited_for():
    device = torch.device("cuda")
    net = nn.Sequential(*(nn.Conv2d(64, 64, 3, padding=1) for _ in range(20)))
    times = time_net(net, [torch.zeros(1, 64, 256, 256)], device, range(10))
    image, started = torch.zeros(1, 64, 256, 256, device=device), time.perf_counter()
    with torch.inference_mode():
        net(image)
        torch.cuda.synchronize()
    whole = 1000 * (time.perf_counter() - started)
    assert times.loc[times["precision"] == "float32", "milliseconds"].median() == pytest.approx(whole, rel=0.5)
    assert peak_memory(device) > 64 * 256 * 256 * 4 / 1e6
