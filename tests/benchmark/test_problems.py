from __future__ import annotations

from itertools import product
from math import exp, pi, sin
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize_scalar, rosen

from fer_lightning.benchmark import problems as module
from fer_lightning.benchmark.problems import (
    LOWEST,
    OPTIMUM,
    PROBLEMS,
    ackley,
    levy,
    rastrigin,
    rosenbrock,
    sphere,
    tuning_loss,
    tuning_space,
)

FUNCTIONS = (sphere, rosenbrock, rastrigin, ackley, levy)
POINTS = (np.zeros(10), np.arange(10) * 10 - 45.0, np.full(10, -100.0))
# opfunu 1.0.4, whose F3 and F8 they are, given the data of F4 and F9.
OPFUNU = {
    4: (5901.65645308614, 3733.993356660157, 107653.26407543576),
    9: (914.3051969072873, 910.9674523605013, 1027.1584939219674),
}


def drawn(space, rng):
    """A choice at random."""
    return {name: rng.uniform(distribution.low, distribution.high) for name, distribution in space.items()}


def test_the_names():
    assert list(PROBLEMS) == [
        *(f"{function}_{d}" for d in (4, 10) for function in ("sphere", "rosenbrock", "rastrigin", "ackley")),
        "cec2017_f4",
        "cec2017_f9",
        "tuning",
    ]


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_optimum_lies_in_the_space_and_nothing_drawn_is_better(name):
    problem = PROBLEMS[name]
    assert problem.name == name
    assert list(problem.space) == list(problem.optimum)
    assert all(distribution._contains(problem.optimum[axis]) for axis, distribution in problem.space.items())
    assert problem.value(problem.optimum) == pytest.approx(problem.lowest, abs=1e-12)
    assert problem.regret(problem.optimum) == pytest.approx(0, abs=1e-12)
    rng = np.random.default_rng(0)
    for _ in range(50):
        params = drawn(problem.space, rng)
        assert problem.regret(params) > 0
        assert problem.regret(params) == problem.value(params) - problem.lowest


def test_a_shifted_function_is_the_function_around_its_optimum():
    problem = PROBLEMS["rastrigin_10"]
    assert len(problem.space) == 10
    optimum = np.array(list(problem.optimum.values()))
    assert np.abs(optimum).max() <= 0.8 * 5.12 and np.abs(optimum).min() > 1e-3
    z = np.random.default_rng(1).uniform(-1, 1, 10)
    params = dict(zip(problem.space, optimum + z))
    assert problem.value(params) == pytest.approx(rastrigin(z), rel=1e-9)


def test_shifts_differ_between_problems():
    first = {problem.optimum["x0"] for problem in PROBLEMS.values() if "x0" in problem.optimum}
    assert len(first) == 10


def test_without_noise_the_value_is_seen():
    problem = PROBLEMS["sphere_4"]
    params = drawn(problem.space, np.random.default_rng(0))
    assert problem.observe(params, 0, 3) == problem.value(params)


def test_noise_is_normal_and_decided_by_seed_and_number():
    problem = PROBLEMS["tuning"]
    seen = [problem.observe(problem.optimum, seed, number) for seed in range(40) for number in range(25)]
    assert np.mean(seen) == pytest.approx(0.9, abs=0.001)
    assert np.std(seen) == pytest.approx(0.01, rel=0.08)
    assert len(set(seen)) == 1000
    assert problem.observe(problem.optimum, 3, 7) == seen[3 * 25 + 7]


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
def test_landscapes_have_values_computed_by_hand(function, z, expected):
    assert function(np.array(z, float)) == pytest.approx(expected, rel=1e-12)


def test_rosenbrock_is_the_one_of_scipy():
    z = np.random.default_rng(0).normal(size=7)
    assert rosenbrock(z) == pytest.approx(rosen(z + 1), rel=1e-12)


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
