from __future__ import annotations

from itertools import product
from math import exp

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from fer_lightning.search.tuning_surface import LOWEST, OPTIMUM, tuning_loss, tuning_space


def test_the_optimum_is_a_choice_that_can_be_made():
    assert all(distribution._contains(OPTIMUM[name]) for name, distribution in tuning_space().items())
    assert tuning_loss(OPTIMUM) == LOWEST == 0.9


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"learning_rate": OPTIMUM["learning_rate"] * 10}, 0.7 * (1 - exp(-1.5))),
        ({"learning_rate": OPTIMUM["learning_rate"] / 10}, 0.7 * (1 - exp(-1.5))),
        ({"dropout": 0.44}, 3 * 0.1**2),
        # Half the filters: 0.1 for one octave, and 12 filters want 0.12 less dropout.
        ({"num_filters": 12}, 0.1 + 3 * 0.12**2),
        # Twice the batch: 0.05 for one octave, and the rate is half an octave too low.
        ({"batch_size": 48}, 0.05 + 0.7 * (1 - exp(-1.5 * (0.5 * np.log10(2)) ** 2))),
    ],
)
def test_values_computed_by_hand(change, expected):
    assert tuning_loss({**OPTIMUM, **change}) - LOWEST == pytest.approx(expected, rel=1e-9)


def test_no_choice_of_integers_is_better():
    """For each pair of integers, the best rate and dropout are found numerically."""
    best = {}
    for batch, filters in product(range(8, 65, 4), range(8, 33, 4)):
        pair = {"batch_size": batch, "num_filters": filters}
        fixed = {**OPTIMUM, **pair}
        decades = minimize_scalar(lambda e, f=fixed: tuning_loss({**f, "learning_rate": 10**e}), bounds=(-4, -2))
        fixed["learning_rate"] = 10**decades.x
        dropout = minimize_scalar(lambda p, f=fixed: tuning_loss({**f, "dropout": p}), bounds=(0.1, 0.5))
        best[batch, filters] = dropout.fun
    assert min(best, key=best.get) == (24, 24)
    assert best[24, 24] == pytest.approx(LOWEST, abs=1e-9)
