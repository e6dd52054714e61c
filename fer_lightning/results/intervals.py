"""How sure a number is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, t


def accuracy_interval(correct: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of an accuracy.

    It covers only the chance of having drawn these test images, not that of the seed.

    Args:
        correct: Images classified correctly.
        total: Images classified.
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
    """A score over seeds.

    Attributes:
        n: Number of seeds.
        mean: Their mean, the only headline: the best of several seeds is an estimate of nothing.
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

    The interval covers the chance of the seed on these test images, not that of having drawn them, see
    `accuracy_interval`. With seeds that agree to the last digit its width is 0, which is no certainty.

    Args:
        scores: One score a seed, at least one.
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
