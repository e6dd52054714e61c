"""Problems with known optima, on which samplers are compared; those of `tables` were measured, these are formulas.

**A synthetic surface** with the shape of a hyperparameter search: a formula over the four hyperparameters of
PsySFA-Net's search (its Table 2), not a measurement of a network, on which samplers can be compared with mixed,
logarithmic and noisy parameters.

**Classical test functions** of minimisation, shifted so that the minimum is 0 at `z = 0`. Each takes a vector `(d,)`
and returns a number. Source: the problem book of CEC 2017 (Awad, Ali, Liang, Qu and Suganthan, "Problem
Definitions and Evaluation Criteria for the CEC 2017 Special Session and Competition on Single Objective Bound
Constrained Real-Parameter Numerical Optimization", 2016), section "Definitions of the basic functions".

**Two problems of the CEC 2017 competition** in 10 dimensions, with the organisers' own shift and matrix.
`cec2017_f4.txt` and `cec2017_f9.txt` hold the first 10 numbers of `shift_data_<k>.txt` and the whole of
`M_<k>_D10.txt`, as published with the competition (https://github.com/P-N-Suganthan/CEC2017-BoundContrained). The
matrices are not pure rotations: their condition number is 2, as the problem book says.

Readings: the numbers of the functions are those of the book with F2 still counted, so F4 is Rosenbrock and F9 is Levy.
Copies of the published code scale F9 by 1 or by 5.12/100; the book's 5.12/100 is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

NOISE = 0.01
LOWEST = 0.9
OPTIMUM = {"learning_rate": 1e-3 * np.sqrt(24 / 32), "batch_size": 24, "dropout": 0.34, "num_filters": 24}
Landscape = Callable[[np.ndarray], float]


def tuning_space() -> dict[str, BaseDistribution]:
    """Ranges of Table 2."""
    return {
        "learning_rate": FloatDistribution(1e-5, 1e-2, log=True),
        "batch_size": IntDistribution(8, 64),
        "dropout": FloatDistribution(0.1, 0.5),
        "num_filters": IntDistribution(8, 32),
    }


def tuning_loss(params: Mapping[str, Any]) -> float:
    """A validation loss without noise, at least 0.9.

    With rate r, batch b, dropout p and n filters:

        a = log10(r / (0.001 sqrt(b / 32)))          distance to the best rate in decades
        loss = 0.9 + 0.7 (1 - exp(-1.5 a^2))         too slow or too fast: both end on a plateau
                   + 0.05 log2(b / 24)^2
                   + 3 (p - 0.3 - 0.01 (n - 20))^2   a larger net wants more dropout
                   + 0.1 log2(n / 24)^2

    No term is negative, and all are 0 only at `OPTIMUM`.

    Args:
        params: Values of `learning_rate`, `batch_size`, `dropout` and `num_filters`.
    """
    batch, filters = params["batch_size"], params["num_filters"]
    off = np.log10(params["learning_rate"] / (1e-3 * np.sqrt(batch / 32)))
    rate = 0.7 * (1 - np.exp(-1.5 * off**2))
    regularisation = 3 * (params["dropout"] - 0.3 - 0.01 * (filters - 20)) ** 2
    return float(LOWEST + rate + 0.05 * np.log2(batch / 24) ** 2 + regularisation + 0.1 * np.log2(filters / 24) ** 2)


def sphere(z: np.ndarray) -> float:
    """A bowl."""
    return float(np.sum(z**2))


def rosenbrock(z: np.ndarray) -> float:
    """A narrow, bent valley; d is 2 or more."""
    y = z + 1
    return float(np.sum(100 * (y[:-1] ** 2 - y[1:]) ** 2 + (y[:-1] - 1) ** 2))


def rastrigin(z: np.ndarray) -> float:
    """A bowl with regular local minima."""
    return float(np.sum(z**2 - 10 * np.cos(2 * np.pi * z) + 10))


def ackley(z: np.ndarray) -> float:
    """A plain with many local minima and a funnel."""
    distance = np.sqrt(np.mean(z**2))
    waves = np.mean(np.cos(2 * np.pi * z))
    return float(20 - 20 * np.exp(-0.2 * distance) + np.e - np.exp(waves))


def levy(z: np.ndarray) -> float:
    """Waves on a bowl.

    Readings: the book has `w = 1 + (z - 1) / 4`, whose minimum is not at the stated optimum `z = 0`; the code published
    with it has `w = 1 + z / 4`, which is used here.
    """
    w = 1 + z / 4
    first = np.sin(np.pi * w[0]) ** 2
    middle = np.sum((w[:-1] - 1) ** 2 * (1 + 10 * np.sin(np.pi * w[:-1] + 1) ** 2))
    last = (w[-1] - 1) ** 2 * (1 + np.sin(2 * np.pi * w[-1]) ** 2)
    return float(first + middle + last)


_FUNCTIONS: dict[int, tuple[Landscape, float]] = {4: (rosenbrock, 2.048 / 100), 9: (levy, 5.12 / 100)}


def cec2017(number: int) -> tuple[Landscape, np.ndarray]:
    """The function `F_k(x) = f(M s (x - o)) + 100 k` on the box [-100, 100]^10.

    Args:
        number: Number k, 4 (Rosenbrock) or 9 (Levy).

    Returns:
        The function of a vector `(10,)`, and its optimum o `(10,)`, where its value is 100 k.
    """
    function, scale = _FUNCTIONS[number]
    shift, *rows = np.loadtxt(Path(__file__).with_name(f"cec2017_f{number}.txt"))
    matrix = scale * np.array(rows)
    return lambda x: function(matrix @ (x - shift)) + 100 * number, shift


@dataclass(frozen=True)
class Problem:
    """A function to minimise.

    Attributes:
        name: Name in tables.
        space: Distribution of each parameter.
        value: Noise-free function of the parameters.
        optimum: Parameters of the minimum.
        lowest: Value at the minimum.
        noise: Standard deviation of the normal noise of an observation.
        repetitions: Function of the parameters that returns the values of repeated evaluations, of which an observation
            is one, in place of noise.
    """

    name: str
    space: Mapping[str, BaseDistribution]
    value: Callable[[Mapping[str, Any]], float]
    optimum: Mapping[str, Any]
    lowest: float
    noise: float
    repetitions: Callable[[Mapping[str, Any]], np.ndarray] | None = None

    def observe(self, params: Mapping[str, Any], seed: int, number: int) -> float:
        """Noisy value of parameters, as a sampler sees it.

        Args:
            params: Value of each parameter in `space`.
            seed: Seed of the study.
            number: Number of the trial; the noise depends on it and the seed only.
        """
        rng = np.random.default_rng([seed, number])
        if self.repetitions is not None:
            return float(rng.choice(self.repetitions(params)))
        return self.value(params) + self.noise * float(rng.standard_normal())

    def regret(self, params: Mapping[str, Any]) -> float:
        """Noise-free difference between the value of `params` and the minimum."""
        return self.value(params) - self.lowest


def _boxed(name: str, landscape: Landscape, optimum: np.ndarray, bound: float, lowest: float) -> Problem:
    """Problem of a function of a vector in a cube around the origin."""
    names = [f"x{axis}" for axis in range(len(optimum))]
    return Problem(
        name=name,
        space={axis: FloatDistribution(-bound, bound) for axis in names},
        value=lambda params: landscape(np.array([params[axis] for axis in names])),
        optimum=dict(zip(names, optimum.tolist())),
        lowest=lowest,
        noise=0.0,
    )


def _shifted(landscape: Landscape, dimensions: int, bound: float) -> Problem:
    """Problem with its optimum at a random place in the inner four fifths of the cube, the same in every study.

    Samplers that shrink towards the centre would find an optimum there.
    """
    name = f"{landscape.__name__}_{dimensions}"
    optimum = np.random.default_rng(list(name.encode())).uniform(-0.8 * bound, 0.8 * bound, dimensions)
    return _boxed(name, lambda x: landscape(x - optimum), optimum, bound, 0.0)


def _cec2017(number: int) -> Problem:
    landscape, optimum = cec2017(number)
    return _boxed(f"cec2017_f{number}", landscape, optimum, 100.0, 100.0 * number)


PROBLEMS = {
    problem.name: problem
    for problem in (
        *(
            _shifted(landscape, dimensions, bound)
            for dimensions in (4, 10)
            for landscape, bound in ((sphere, 5.12), (rosenbrock, 5.0), (rastrigin, 5.12), (ackley, 32.768))
        ),
        _cec2017(4),
        _cec2017(9),
        Problem("tuning", tuning_space(), tuning_loss, OPTIMUM, LOWEST, NOISE),
    )
}
