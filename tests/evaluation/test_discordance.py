from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest, chi2

from fer_lightning.evaluation.discordance import compare_images


def correct(both: int, only_first: int, only_second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    first = [True] * (both + only_first) + [False] * (only_second + neither)
    second = [True] * both + [False] * only_first + [True] * only_second + [False] * neither
    return np.array(first), np.array(second)


def test_exact_by_hand():
    # 8 to 2 of 10: 2 * (1 + 10 + 45) / 1024 = 0.109375.
    found = compare_images(*correct(50, 8, 2, 40))
    assert (found.only_first, found.only_second) == (8, 2)
    assert found.p == pytest.approx(0.109375)
    assert found.odds_ratio == 4


def test_exact_agrees_with_scipys_sign_test():
    found = compare_images(*correct(1000, 341, 270, 500))
    assert found.p == pytest.approx(binomtest(341, 611).pvalue)


def test_many_discordant_images_use_chi_squared():
    # (|700 - 600| - 1)^2 / 1300 = 7.5392.
    found = compare_images(*correct(0, 700, 600, 0))
    assert found.p == pytest.approx(chi2.sf(99**2 / 1300, 1))
    assert found.p == pytest.approx(binomtest(700, 1300).pvalue, rel=0.01)


def test_the_interval_holds_the_odds_at_the_edge_of_the_sign_test():
    found = compare_images(*correct(3, 30, 12, 5))
    assert found.low < 30 / 12 < found.high
    for odds in (found.low, found.high):
        side = "greater" if odds == found.low else "less"
        assert binomtest(30, 42, odds / (1 + odds), alternative=side).pvalue == pytest.approx(0.025, abs=1e-6)


@pytest.mark.filterwarnings("error")
def test_identical_predictions_are_not_told_apart():
    found = compare_images(*correct(6, 0, 0, 4))
    assert found.p == 1
    assert math.isnan(found.odds_ratio) and math.isnan(found.low)


def test_one_sided_discordance_has_infinite_odds():
    found = compare_images(*correct(6, 3, 0, 4))
    assert found.p == 0.25
    assert found.odds_ratio == found.high == math.inf
    assert math.isfinite(found.low)
