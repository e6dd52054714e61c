from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp, ttest_rel
from statsmodels.formula.api import mixedlm, ols
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import DescrStatsW

from fer_lightning.results.intervals import (
    POWER,
    PooledDifferences,
    accuracy_interval,
    detectable_difference,
    mean_over_seeds,
    pool_differences,
    seeds_to_detect,
)


def wilson(correct: int, total: int, z: float) -> tuple[float, float]:
    """The closed form of Wilson (1927)."""
    share = correct / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return centre - half, centre + half


@pytest.mark.parametrize("correct, total", [(8, 10), (2550, 3589), (10, 10), (0, 10)])
def test_agrees_with_the_closed_form(correct, total):
    assert accuracy_interval(correct, total) == pytest.approx(wilson(correct, total, z=1.959963984540054), abs=1e-12)


def test_agrees_with_a_value_worked_out_by_hand():
    # 8 of 10: centre (0.8 + 0.19207) / 1.38415 = 0.71674, half width 1.41603 * sqrt(0.016 + 0.0096036) = 0.22658.
    assert accuracy_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=5e-5)


def test_a_higher_level_is_wider():
    assert accuracy_interval(80, 100, level=0.99)[0] == pytest.approx(wilson(80, 100, z=2.5758293035489004)[0])


@pytest.mark.parametrize("correct, total", [(0, 0), (11, 10), (-1, 10)])
def test_refuses_impossible_counts(correct, total):
    with pytest.raises(ValueError):
        accuracy_interval(correct, total)


def test_the_mean_over_seeds_by_hand():
    # 0.58, 0.60, 0.65: mean 0.61, sd sqrt((9 + 1 + 16) / 2) / 100 = 0.0360555; t(0.975, 2) = 4.302653.
    found = mean_over_seeds([0.58, 0.60, 0.65])
    assert (found.n, found.mean) == (3, pytest.approx(0.61))
    assert found.sd == pytest.approx(0.0360555, abs=1e-7)
    half = 4.302653 * 0.0360555 / math.sqrt(3)
    assert (found.low, found.high) == pytest.approx((0.61 - half, 0.61 + half), abs=1e-6)


def test_the_interval_over_seeds_agrees_with_statsmodels():
    scores = [0.61, 0.64, 0.58, 0.66, 0.63]
    found = mean_over_seeds(scores, level=0.9)
    assert (found.low, found.high) == pytest.approx(DescrStatsW(scores).tconfint_mean(alpha=0.1))


def test_one_seed_has_no_spread():
    found = mean_over_seeds([0.6])
    assert (found.n, found.mean) == (1, 0.6)
    assert all(map(math.isnan, (found.sd, found.low, found.high)))


def test_equal_seeds_have_an_interval_of_no_width():
    found = mean_over_seeds([0.5, 0.5, 0.5])
    assert (found.sd, found.low, found.high) == (0, 0.5, 0.5)


def test_no_maximum_over_seeds_is_told():
    scores = [0.58, 0.60, 0.65]
    assert max(scores) not in vars(mean_over_seeds(scores)).values()


def scores_by_seed(variants: int, seeds: int, sd: float = 0.01) -> pd.DataFrame:
    """Scores of variants that differ by 0.02 each, on seeds that differ more than their residuals."""
    rng = np.random.default_rng(0)
    of_seed = rng.normal(0.5, 0.03, seeds)
    scores = of_seed + 0.02 * np.arange(variants)[:, None] + rng.normal(0, sd, (variants, seeds))
    cells = itertools.product([f"v{variant}" for variant in range(variants)], range(seeds))
    return pd.DataFrame(cells, columns=["variant", "seed"]).assign(accuracy=scores.ravel())


def test_two_variants_give_the_paired_t_test():
    runs = scores_by_seed(2, 4)
    first, second = (runs.loc[runs["variant"] == name, "accuracy"].to_numpy() for name in ("v1", "v0"))
    paired, row = ttest_rel(first, second), pool_differences(runs, "v0", "accuracy").table.loc["v1"]
    assert row["p"] == pytest.approx(paired.pvalue)
    assert (row["low"], row["high"]) == pytest.approx(tuple(paired.confidence_interval()))


def test_the_pooled_estimates_are_those_of_the_mixed_model():
    runs = scores_by_seed(4, 6)
    runs["accuracy"] *= 100  # variances near 0 are a boundary for the optimiser
    pooled = pool_differences(runs, "v0", "accuracy")
    mixed = mixedlm("accuracy ~ variant", runs, groups="seed").fit(reml=True)
    assert pooled.df == 15 and pooled.sd == pytest.approx((2 * mixed.scale) ** 0.5, rel=1e-4)
    for name, row in pooled.table.iterrows():
        term = f"variant[T.{name}]"
        assert row["difference"] == pytest.approx(mixed.params[term])
        assert row["se"] == pytest.approx(mixed.bse[term], rel=1e-4)


def test_with_missing_runs_they_are_those_of_least_squares():
    runs = scores_by_seed(4, 5).drop([6, 7, 13, 19])
    pooled = pool_differences(runs, "v1", "accuracy", level=0.9)
    fit = ols("accuracy ~ C(variant, Treatment('v1')) + C(seed)", runs).fit()
    of_variants = fit.params.index.str.contains("variant")
    assert pooled.df == fit.df_resid and list(pooled.table.index) == ["v0", "v2", "v3"]
    np.testing.assert_allclose(pooled.table["p"], fit.pvalues[of_variants])
    np.testing.assert_allclose(pooled.table[["low", "high"]], fit.conf_int(0.1)[of_variants])


@pytest.mark.parametrize("runs", [scores_by_seed(3, 1), scores_by_seed(3, 3, sd=0)], ids=["one seed", "no residual"])
def test_nothing_is_pooled_without_residuals(runs):
    assert pool_differences(runs, "v0", "accuracy") is None


def test_pooled_intervals_cover_at_their_level_and_are_shorter_than_paired_ones():
    pooled, noise = simulated([1, 1, 1, 1, 1], 200)
    covered = [(each.table["low"] < 0) & (each.table["high"] > 0) for each in pooled]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)
    assert np.mean([each.sd_low < 2**0.5 < each.sd_high for each in pooled]) == pytest.approx(0.95, abs=0.03)
    paired = [mean_over_seeds((each[1] - each[0]).tolist()) for each in noise]
    widths = [(each.table["high"] - each.table["low"]).mean() for each in pooled]
    assert np.mean(widths) < 0.7 * np.mean([each.high - each.low for each in paired])


def test_pooled_intervals_are_too_narrow_for_a_variant_that_spreads_more():
    pooled, _ = simulated([0.7, 0.2, 2.8, 1, 1, 0.5, 1.5, 0.9, 0.4, 2], 100)
    covered = np.mean([(each.table["low"] < 0) & (each.table["high"] > 0) for each in pooled], axis=0)
    assert covered[1] == pytest.approx(0.8, abs=0.08)
    assert covered.mean() == pytest.approx(0.96, abs=0.02)


def simulated(sds: list[float], rounds: int) -> tuple[list[PooledDifferences], np.ndarray]:
    """Pooled differences of variants that do not differ, with these standard deviations, and their scores."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(rounds, 1, 3)) + rng.normal(size=(rounds, len(sds), 3)) * np.array(sds)[:, None]
    runs = scores_by_seed(len(sds), 3)
    return [pool_differences(runs.assign(accuracy=each.ravel()), "v0", "accuracy") for each in noise], noise


@pytest.mark.parametrize("seeds, tests", [(2, 1), (3, 4), (3, 9), (10, 7)])
def test_the_power_is_that_of_simulated_studies(seeds, tests):
    level = 0.05 / tests
    difference = detectable_difference(2 / seeds**0.5, seeds - 1, level)
    studies = np.random.default_rng(0).normal(difference, 2, (50_000, seeds))
    assert (ttest_1samp(studies, 0, axis=1).pvalue < level).mean() == pytest.approx(POWER, abs=0.008)


def test_the_power_agrees_with_statsmodels():
    effect = detectable_difference(1 / 8**0.5, 7, 0.01, power=0.9)
    assert TTestPower().power(effect, nobs=8, alpha=0.01) == pytest.approx(0.9, abs=1e-5)


def test_a_table_of_cohen():
    # Cohen (1988), table 2.4.1: at 0.05 and power 0.8, d = 0.5 takes 64 in each of two groups: 126 degrees of freedom.
    assert detectable_difference((2 / 64) ** 0.5, 126, 0.05) == pytest.approx(0.5, abs=0.005)


@pytest.mark.parametrize("difference, sd", [(0.01, 0.0157), (0.05, 0.01), (0.01, 0.15)])
def test_as_few_seeds_as_are_needed(difference, sd):
    count = seeds_to_detect(difference, sd, 0.01)
    assert detectable_difference(sd / count**0.5, count - 1, 0.01) <= difference
    assert count == 2 or detectable_difference(sd / (count - 1) ** 0.5, count - 2, 0.01) > difference
