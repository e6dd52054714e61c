"""Confidence intervals of accuracies and of means over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, t


def accuracy_interval(correct: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of an accuracy.

    It covers the sampling of the test images, not the variance of the seed.

    Args:
        correct: Number of images classified correctly.
        total: Number of images.
        level: Confidence level in 0..1.

    Returns:
        Lower and upper end, in 0..1.

    Raises:
        ValueError: `total` is below 1 or `correct` lies outside 0..total.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927.
    """
    if total < 1:
        raise ValueError(f"An accuracy over {total} images has no interval.")
    interval = binomtest(correct, total).proportion_ci(confidence_level=level, method="wilson")
    return float(interval.low), float(interval.high)


@dataclass(frozen=True)
class SeedMean:
    """Mean of a score over seeds.

    Attributes:
        n: Number of seeds.
        mean: Mean score.
        sd: Sample standard deviation, with n - 1; NaN for one seed.
        low: Lower end of Student's t interval of the mean; NaN for one seed.
        high: Upper end.
    """

    n: int
    mean: float
    sd: float
    low: float
    high: float


def mean_over_seeds(scores: Sequence[float], level: float = 0.95) -> SeedMean:
    """Mean, standard deviation and Student's t interval of a score over seeds.

    The interval covers the variance of the seed on these test images, not the sampling of the images, see
    `accuracy_interval`. Its width is 0 if all scores are equal.

    Args:
        scores: Scores, one per seed, at least one.
        level: Confidence level in 0..1.

    Source: Student, "The probable error of a mean", Biometrika 6, 1908.
    """
    values = np.asarray(scores, dtype=np.float64)
    mean, n = float(values.mean()), len(values)
    if n < 2:
        return SeedMean(n, mean, float("nan"), float("nan"), float("nan"))
    sd = float(values.std(ddof=1))
    half = float(t.ppf((1 + level) / 2, n - 1)) * sd / n**0.5
    return SeedMean(n, mean, sd, mean - half, mean + half)
