from __future__ import annotations

from math import pi, sin
from pathlib import Path

import numpy as np
import pytest

from fer_lightning.search import cec2017 as module

POINTS = (np.zeros(10), np.arange(10) * 10 - 45.0, np.full(10, -100.0))

# opfunu 1.0.4, whose F3 and F8 they are, given the data of F4 and F9.
OPFUNU = {
    4: (5901.65645308614, 3733.993356660157, 107653.26407543576),
    9: (914.3051969072873, 910.9674523605013, 1027.1584939219674),
}


def loops(number: int, x: np.ndarray, shift: np.ndarray, matrix: np.ndarray) -> float:
    """The published C code, line by line."""
    scale = {4: 2.048 / 100, 9: 5.12 / 100}[number]
    z = [sum(matrix[i][j] * scale * (x[j] - shift[j]) for j in range(10)) for i in range(10)]
    if number == 4:
        z = [value + 1 for value in z]
        return 400 + sum(100 * (z[i] ** 2 - z[i + 1]) ** 2 + (z[i] - 1) ** 2 for i in range(9))
    w = [1 + value / 4 for value in z]
    total = sin(pi * w[0]) ** 2 + (w[9] - 1) ** 2 * (1 + sin(2 * pi * w[9]) ** 2)
    return 900 + total + sum((w[i] - 1) ** 2 * (1 + 10 * sin(pi * w[i] + 1) ** 2) for i in range(9))


@pytest.mark.parametrize("number", [4, 9])
def test_the_optimum_is_the_published_shift(number):
    function, optimum = module.cec2017(number)
    published = {4: (32.51072501414955, 71.36522464052086), 9: (-24.85625428, 42.40954301)}[number]
    np.testing.assert_allclose(optimum[[0, 9]], published, rtol=1e-8)
    assert function(optimum) == pytest.approx(100 * number, abs=1e-12)


@pytest.mark.parametrize("number", [4, 9])
def test_values_of_another_implementation(number):
    function, _ = module.cec2017(number)
    assert [function(x) for x in POINTS] == pytest.approx(OPFUNU[number], rel=1e-12)


@pytest.mark.parametrize("number", [4, 9])
def test_values_of_a_literal_loop(number):
    shift, *matrix = np.loadtxt(Path(module.__file__).with_name(f"cec2017_f{number}.txt"))
    x = np.random.default_rng(0).uniform(-100, 100, 10)
    function, _ = module.cec2017(number)
    assert function(x) == pytest.approx(loops(number, x, shift, matrix), rel=1e-12)


@pytest.mark.parametrize("number", [4, 9])
def test_the_matrix_has_the_condition_that_the_book_names(number):
    _, *matrix = np.loadtxt(Path(module.__file__).with_name(f"cec2017_f{number}.txt"))
    assert np.linalg.cond(np.array(matrix)) == pytest.approx(2, rel=1e-12)
