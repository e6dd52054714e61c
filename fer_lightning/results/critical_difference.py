"""Friedman's test and Nemenyi's critical difference of the mean ranks of several variants."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import friedmanchisquare, studentized_range

from fer_lightning.errors import UserError


@dataclass(frozen=True)
class CriticalDifference:
    """Mean ranks of K variants over N blocks.

    Attributes:
        ranks: Mean rank by variant, best first; 1 is best, equal scores share the mean of their ranks.
        blocks: Number N of blocks.
        friedman_p: p-value of Friedman's test that all variants rank alike; 1 if all scores of each block are equal.
        critical: Nemenyi's critical difference of two mean ranks.
        groups: Largest sets of neighbouring variants whose ranks differ by less than `critical`, at least two each,
            best first.
        alpha: Significance level of `critical`.
    """

    ranks: pd.Series
    blocks: int
    friedman_p: float
    critical: float
    groups: list[list[str]]
    alpha: float


def critical_difference(scores: pd.DataFrame, alpha: float = 0.05) -> CriticalDifference:
    """Ranks variants within each block and tests the differences of their mean ranks.

    Args:
        scores: A row per block, a column per variant; higher is better.
        alpha: Significance level.

    Raises:
        UserError: There are fewer than three variants or two blocks, or a score is missing.

    Source: Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7, 2006, section 3.2.2.

    Readings:
        - Blocks in the paper are data sets. With seeds of one data set as blocks, the result holds for it only.
    """
    if scores.shape[0] < 2 or scores.shape[1] < 3:
        raise UserError(
            f"A test of ranks needs at least 3 variants over 2 blocks (seeds or data sets); got {scores.shape[1]} over "
            f"{scores.shape[0]}."
        )
    if scores.isna().to_numpy().any():
        missing = [f"{variant} in block {block}" for block, variant in scores.isna().stack().loc[lambda gap: gap].index]
        raise UserError(f"A test of ranks needs every score; missing: {', '.join(missing)}: run them, or omit them.")
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
