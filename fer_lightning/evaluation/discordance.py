"""Do two variants differ, judged by the test images that only one of them gets right?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest
from statsmodels.stats.contingency_tables import mcnemar

EXACT_UP_TO = 1000


@dataclass(frozen=True)
class Discordance:
    """Two variants on the same test images.

    Attributes:
        only_first: Images that only the first gets right.
        only_second: Images that only the second gets right.
        p: Two-sided p of McNemar's test; 1 where no image tells them apart.
        odds_ratio: `only_first / only_second`; infinite where the latter is 0, NaN where both are.
        low: Lower end of its exact 95 % interval; NaN where both counts are 0.
        high: Upper end.
    """

    only_first: int
    only_second: int
    p: float
    odds_ratio: float
    low: float
    high: float


def compare_images(first_correct: np.ndarray, second_correct: np.ndarray) -> Discordance:
    """McNemar's test and the odds ratio of the discordant images.

    It covers the chance of having drawn these test images, not that of the seed: one run stands for each variant.

    Args:
        first_correct: Whether one variant is right, boolean `(N,)`.
        second_correct: The same for the other on the same images, `(N,)`.

    Source: McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
    Psychometrika 12, 1947; the interval from Clopper and Pearson's for the share of the first among the discordant
    images, Biometrika 26, 1934.

    Readings:
        - Exact (binomial) for up to 1,000 discordant images, chi-squared with continuity correction for more.
    """
    only_first = int((first_correct & ~second_correct).sum())
    only_second = int((~first_correct & second_correct).sum())
    discordant = only_first + only_second
    if discordant == 0:
        nothing = float("nan")
        return Discordance(0, 0, 1.0, nothing, nothing, nothing)
    p = mcnemar([[0, only_first], [only_second, 0]], exact=discordant <= EXACT_UP_TO).pvalue
    share = binomtest(only_first, discordant).proportion_ci(0.95, method="exact")
    odds = only_first / only_second if only_second else float("inf")
    return Discordance(only_first, only_second, float(p), odds, _odds(share.low), _odds(share.high))


def _odds(share: float) -> float:
    return float(share / (1 - share)) if share < 1 else float("inf")
