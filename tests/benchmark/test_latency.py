from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from fer_lightning.benchmark.latency import FEWEST_ROUNDS, ratio_of_rounds, summarise_times


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
