from __future__ import annotations

import math
from itertools import product

import pytest

from fer_lightning.evaluation.effect_size import cliffs_delta, cohens_dz


def test_dz_by_hand():
    # 1, 2, 3: mean 2, sd 1.
    assert cohens_dz([1, 2, 3]) == pytest.approx(2)
    assert cohens_dz([-1, 1]) == 0


def test_dz_without_variance():
    assert cohens_dz([0.0, 0.0]) == 0
    assert math.isnan(cohens_dz([0.6 - 0.5, 0.7 - 0.6]))  # equal but for rounding
    assert math.isnan(cohens_dz([0.1]))


@pytest.mark.parametrize(
    "first, second",
    [([3, 4], [1, 2]), ([1, 2], [3, 4]), ([1, 2, 3], [2, 2]), ([0.61, 0.64, 0.6], [0.6, 0.62, 0.59, 0.63])],
)
def test_cliffs_delta_counts_every_pair(first, second):
    pairs = [(a > b) - (a < b) for a, b in product(first, second)]
    assert cliffs_delta(first, second) == pytest.approx(sum(pairs) / len(pairs))
