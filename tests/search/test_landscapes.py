from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import rosen

from fer_lightning.search.landscapes import ackley, levy, rastrigin, rosenbrock, sphere

FUNCTIONS = (sphere, rosenbrock, rastrigin, ackley, levy)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_lowest_at_the_origin(function):
    assert function(np.zeros(6)) == pytest.approx(0, abs=1e-14)
    rng = np.random.default_rng(0)
    assert min(function(z) for z in rng.uniform(-5, 5, (200, 6))) > 0


@pytest.mark.parametrize(
    ("function", "z", "expected"),
    [
        (sphere, (1, 2), 5),
        (rosenbrock, (0, 1), 100),
        (rosenbrock, (-1, -1), 1),
        (rastrigin, (0.5, 0), 0.25 + 10 + 10),
        (rastrigin, (1, -2), 5),
        (ackley, (1, 1), 20 - 20 * np.exp(-0.2)),
        (ackley, (0.5, 0), 20 - 20 * np.exp(-0.1 / np.sqrt(2)) + np.e - 1),
        (levy, (4, 0), 1 + 10 * np.sin(1) ** 2),
        (levy, (0, 2), 0.25),
        (levy, (2, 0), 1 + 0.25 * (1 + 10 * np.cos(1) ** 2)),
    ],
)
def test_values_computed_by_hand(function, z, expected):
    assert function(np.array(z, float)) == pytest.approx(expected, rel=1e-12)


def test_rosenbrock_is_the_one_of_scipy():
    z = np.random.default_rng(0).normal(size=7)
    assert rosenbrock(z) == pytest.approx(rosen(z + 1), rel=1e-12)
