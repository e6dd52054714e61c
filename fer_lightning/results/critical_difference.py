"""Which of many variants differ in rank: Friedman's test and Nemenyi's critical difference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import friedmanchisquare, studentized_range

from fer_lightning.errors import UserError


@dataclass(frozen=True)
class CriticalDifference:
    """Ranks of K variants over N blocks.

    Attributes:
        ranks: Mean rank by variant, best first; 1 is best, equal scores share the mean of their ranks.
        blocks: N.
        friedman_p: p of Friedman's test that all variants rank alike; 1 where every block is one tie.
        critical: Mean ranks that differ by less are not told apart (Nemenyi).
        groups: Largest sets of neighbouring variants that are not told apart, each with at least two, best first.
        alpha: Level of `critical`.
    """

    ranks: pd.Series
    blocks: int
    friedman_p: float
    critical: float
    groups: list[list[str]]
    alpha: float


def critical_difference(scores: pd.DataFrame, alpha: float = 0.05) -> CriticalDifference:
    """Ranks variants within each block and finds the differences in mean rank that mean something.

    Args:
        scores: One row a block, one column a variant; higher is better.
        alpha: Level of the test.

    Raises:
        UserError: There are fewer than three variants or two blocks, or a score is missing.

    Source: Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7, 2006, section 3.2.2.

    Readings:
        - Blocks in the paper are data sets. Seeds on one data set serve too, but then the result speaks of seeds on
          that data set alone.
    """
    if scores.shape[0] < 2 or scores.shape[1] < 3:
        raise UserError(
            f"Ranks of {scores.shape[1]} variants over {scores.shape[0]} blocks (seeds or data sets) cannot be tested: "
            "at least 3 variants with 2 blocks are needed."
        )
    if scores.isna().to_numpy().any():
        missing = [f"{variant} in block {block}" for block, variant in scores.isna().stack().loc[lambda gap: gap].index]
        raise UserError(
            f"Ranks need every score, and these are missing: {', '.join(missing)}; run them or leave them out."
        )
    blocks, count = scores.shape
    ranked = scores.rank(axis=1, ascending=False)
    ranks = ranked.mean().sort_values(kind="stable")
    tied = (ranked.nunique(axis=1) == 1).all()
    friedman_p = 1.0 if tied else float(friedmanchisquare(*scores.to_numpy().T).pvalue)
    # Demšar divides the quantile of the studentized range by the root of 2.
    unit = np.sqrt(count * (count + 1) / (6 * blocks)) / np.sqrt(2)
    critical = float(studentized_range.ppf(1 - alpha, count, np.inf) * unit)
    return CriticalDifference(ranks, blocks, friedman_p, critical, _groups(ranks, critical), alpha)


def _groups(ranks: pd.Series, critical: float) -> list[list[str]]:
    groups: list[list[str]] = []
    last = 0
    for first in range(len(ranks)):
        end = int(np.flatnonzero(ranks - ranks.iloc[first] < critical)[-1]) + 1
        if end - first > 1 and end > last:
            groups.append(list(ranks.index[first:end]))
            last = end
    return groups
