from __future__ import annotations

import numpy as np
import pytest

from fer_lightning.search.landscapes import rastrigin
from fer_lightning.benchmark.problems import PROBLEMS


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
