"""How long things take, and how sure that is on a machine that does other things meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import quantile_test

FEWEST_ROUNDS = 6  # with fewer not even their extremes enclose the median in 95 of 100 cases


@dataclass(frozen=True)
class Ratio:
    """How many times longer one thing takes than another.

    Attributes:
        median: Of the rounds.
        low: Lower end of its 95 % interval; NaN for fewer than `FEWEST_ROUNDS` rounds.
        high: Upper end.
    """

    median: float
    low: float
    high: float


def summarise_times(times: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Medians and 95th percentiles.

    Args:
        times: One row a measurement: `milliseconds`, and what was measured.
        by: Columns that say what was measured.

    Returns:
        One row for each, in the order of their first measurement: `by`, `median_ms`, `p95_ms`, `fps` (frames per
        second at the median time) and `n`.
    """
    groups = times.groupby(by, sort=False)["milliseconds"]
    table = groups.agg(
        median_ms="median",
        p95_ms=lambda values: values.quantile(0.95),
        fps=lambda values: 1000 / values.median(),
        n="size",
    )
    return table.reset_index()


def ratio_of_rounds(times: pd.Series, reference: pd.Series) -> Ratio:
    """Compares two things that were timed in the same rounds, so that what disturbs a round disturbs both.

    Args:
        times: Milliseconds of one, indexed by round, several a round.
        reference: Milliseconds of the other, in the same rounds.

    Returns:
        The median over rounds of the ratio of the two medians of a round, with the interval that order statistics give
        without assuming a distribution.

    Source: Conover, "Practical nonparametric statistics", 3rd edition, 1999, section 3.2.
    """
    ratios = (times.groupby(level=0).median() / reference.groupby(level=0).median()).to_numpy(np.float64)
    if len(ratios) < FEWEST_ROUNDS:
        return Ratio(float(np.median(ratios)), float("nan"), float("nan"))
    interval = quantile_test(ratios, q=float(np.median(ratios)), p=0.5).confidence_interval(0.95)
    return Ratio(float(np.median(ratios)), float(interval.low), float(interval.high))
