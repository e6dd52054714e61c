from __future__ import annotations

import math

import pytest
from statsmodels.stats.weightstats import DescrStatsW

from fer_lightning.results.intervals import accuracy_interval, mean_over_seeds


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
