"""Confidence intervals of accuracies, of means and differences over seeds, and the differences that seeds can show."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import nctdtrinc
from scipy.stats import binomtest, chi2, t

POWER = 0.8
_MOST_SEEDS = 100_000


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


@dataclass(frozen=True)
class PooledDifferences:
    """Differences of variants to a reference, estimated from all runs together.

    Attributes:
        table: A row per variant but the reference: `difference`, `se` (its standard error), `low` and `high` (its
            interval) and `p` (two-sided).
        df: Residual degrees of freedom.
        sd: Standard deviation over seeds of the difference of any two variants.
        sd_low: Lower end of its interval.
        sd_high: Upper end.
    """

    table: pd.DataFrame
    df: int
    sd: float
    sd_low: float
    sd_high: float


def pool_differences(runs: pd.DataFrame, reference: str, score: str, level: float = 0.95) -> PooledDifferences | None:
    """Differences of variants to a reference in the model `score = variant + seed + residual`.

    The residual variance is estimated from the runs of all variants: with 8 variants and 3 seeds it has 14 degrees of
    freedom, where a paired t-test has 2. Intervals and p-values cover the variance of the seed, not the sampling of
    the test images. With two variants they are those of the paired t-test.

    Args:
        runs: Columns `variant`, `seed` and the score, a row per run. Every variant shares a seed with the reference.
        reference: Name of the reference.
        score: Column of the score.
        level: Confidence level in 0..1.

    Returns:
        The estimates; None if no degree of freedom is left, or the residuals are 0.

    Source: Scheffé, "The analysis of variance", 1959, chapters 4 and 8.

    Readings:
        - Seeds are blocks with fixed effects. If all variants have the same seeds, estimates, intervals and p-values
          are those of the mixed model with a random intercept of the seed (REML, if its variance is estimated above 0),
          with exact t quantiles instead of normal ones, which are too small for few seeds. If not, only information
          between seeds is unused.
        - The residuals of all variants are assumed to be normal with one variance. Intervals of a variant whose scores
          spread more than those of the others are too narrow, and of one whose scores spread less, too wide: in
          simulations with 3 seeds and standard deviations from 0.2 to 2.8, those of the widest covered 80 % instead
          of 95 %, and all together 96 %.
        - Shrinking the variances instead of pooling them (Smyth, Stat. Appl. Genet. Mol. Biol. 3, 2004) covered 93 %
          in these simulations, with equal variances too: a table has too few variants to estimate the prior. The
          Bayesian correlated t-test models folds that share training images, which seeds do not have.
    """
    variants = pd.get_dummies(runs["variant"], dtype=float).drop(columns=reference)
    design = np.hstack([variants, pd.get_dummies(runs["seed"], dtype=float)])
    df = design.shape[0] - design.shape[1]
    if df < 1:
        return None
    scores = runs[score].to_numpy(np.float64)
    inverse = np.linalg.inv(design.T @ design)
    effects = inverse @ design.T @ scores
    variance = float(((scores - design @ effects) ** 2).sum()) / df
    # Smaller residuals are floating-point errors.
    if variance < 1e-24:
        return None
    table = pd.DataFrame({"difference": effects, "se": (variance * inverse.diagonal()) ** 0.5})[: variants.shape[1]]
    half = float(t.ppf((1 + level) / 2, df)) * table["se"]
    table["low"], table["high"] = table["difference"] - half, table["difference"] + half
    table["p"] = 2 * t.sf((table["difference"] / table["se"]).abs(), df)
    sd = (2 * variance) ** 0.5
    sd_high, sd_low = sd * (df / chi2.ppf([(1 - level) / 2, (1 + level) / 2], df)) ** 0.5
    return PooledDifferences(table.set_index(variants.columns), df, sd, float(sd_low), float(sd_high))


def detectable_difference(se: float, df: float, level: float, power: float = POWER) -> float:
    """Smallest true difference that a two-sided t-test finds with the given power.

    It depends on the spread of the runs and on their number, never on the difference that was observed.

    Args:
        se: Standard error of the difference; of a paired t-test, the standard deviation of the differences divided by
            the root of the number of pairs.
        df: Degrees of freedom of the standard error; of a paired t-test, the number of pairs minus 1.
        level: Significance level in 0..1. Holm's procedure over m tests asks 0.05 / m of the smallest p-value.
        power: Share of the experiments in which the test must find it.

    Returns:
        `se * d`, where d is the noncentrality at which Student's t with `df` degrees of freedom exceeds its quantile
        `1 - level / 2` with probability `power`; that of significance with the wrong sign is negligible.

    Source: Cohen, "Statistical power analysis for the behavioral sciences", 1988, chapter 2; that power must not be
    computed from the observed difference: Hoenig and Heisey, "The abuse of power", The American Statistician 55, 2001.
    """
    return se * float(nctdtrinc(df, 1 - power, t.isf(level / 2, df)))


def seeds_to_detect(difference: float, sd: float, level: float, power: float = POWER) -> int:
    """Number of seeds with which a paired t-test finds a true difference, from 2.

    Args:
        difference: True difference, above 0.
        sd: Standard deviation of the differences over seeds.
        level: Significance level, see `detectable_difference`.
        power: Share of the experiments in which the test must find it.
    """
    counts = range(2, _MOST_SEEDS)
    return counts[
        bisect_left(counts, -difference, key=lambda n: -detectable_difference(sd / n**0.5, n - 1, level, power))
    ]
