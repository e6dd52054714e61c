from __future__ import annotations

import math

import pytest
from scipy.stats import t
from statsmodels.stats.weightstats import DescrStatsW

from fer_lightning.evaluation.paired_seeds import compare_seeds

FIRST, SECOND = [0.60, 0.62, 0.61], [0.58, 0.61, 0.58]


def test_agrees_with_values_worked_out_by_hand():
    # Differences 0.02, 0.01, 0.03: mean 0.02, sd 0.01, t = 0.02 / (0.01 / sqrt 3) = 3.4641 with 2 degrees of freedom,
    # whose two-sided p is 1 - t / sqrt(t^2 + 2) = 1 - 3.4641 / sqrt(14) = 0.07418; t(0.975, 2) = 4.30265.
    found = compare_seeds(FIRST, SECOND)
    assert found.difference.mean == pytest.approx(0.02)
    assert found.difference.sd == pytest.approx(0.01)
    assert found.dz == pytest.approx(2)
    assert found.t_p == pytest.approx(0.07418, abs=5e-6)
    half = 4.30265 * 0.01 / math.sqrt(3)
    assert (found.difference.low, found.difference.high) == pytest.approx((0.02 - half, 0.02 + half), abs=1e-7)
    assert found.wilcoxon_p == 0.25  # two of the eight signings are as extreme


def test_agrees_with_statsmodels():
    first, second = [0.61, 0.64, 0.58, 0.66, 0.63], [0.60, 0.60, 0.59, 0.62, 0.61]
    differences = DescrStatsW([a - b for a, b in zip(first, second)])
    found = compare_seeds(first, second)
    assert found.t_p == pytest.approx(differences.ttest_mean()[1])
    assert (found.difference.low, found.difference.high) == pytest.approx(differences.tconfint_mean())


def test_wilcoxon_counts_signings():
    # Of 0.01, 0.02, 0.03, 0.04, -0.05 the negative one has rank 5; 10 of the 32 sets of ranks sum to 5 at most.
    found = compare_seeds([0.01, 0.02, 0.03, 0.04, -0.05], [0.0] * 5)
    assert found.wilcoxon_p == pytest.approx(2 * 10 / 32)


def test_swapping_turns_the_sign():
    there, back = compare_seeds(FIRST, SECOND), compare_seeds(SECOND, FIRST)
    assert back.difference.mean == -there.difference.mean
    assert back.dz == pytest.approx(-there.dz)
    assert back.t_p == pytest.approx(there.t_p)


def test_one_seed_has_a_difference_and_no_test():
    found = compare_seeds([0.6], [0.5])
    assert found.difference.mean == pytest.approx(0.1)
    assert all(map(math.isnan, (found.t_p, found.wilcoxon_p, found.dz, found.difference.low)))


@pytest.mark.filterwarnings("error")
def test_equal_scores_do_not_differ():
    found = compare_seeds([0.6, 0.7], [0.6, 0.7])
    assert (found.t_p, found.wilcoxon_p, found.dz) == (1, 1, 0)


@pytest.mark.filterwarnings("error")
def test_differences_without_variance_are_no_proof():
    found = compare_seeds([0.6, 0.7, 0.8], [0.5, 0.6, 0.7])
    assert math.isnan(found.t_p) and math.isnan(found.dz)
    assert found.wilcoxon_p == 0.25


def test_the_t_interval_and_the_p_agree():
    found = compare_seeds(FIRST, SECOND)
    share = t.cdf(found.difference.mean / (found.difference.sd / math.sqrt(3)), 2)
    assert found.t_p == pytest.approx(2 * (1 - share))
