"""Problems on which samplers are compared: their optimum is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, FloatDistribution

from fer_lightning.search.cec2017 import Landscape, cec2017
from fer_lightning.search.landscapes import ackley, rastrigin, rosenbrock, sphere
from fer_lightning.search.tuning_surface import LOWEST, NOISE, OPTIMUM, tuning_loss, tuning_space


@dataclass(frozen=True)
class Problem:
    """A function to minimise.

    Attributes:
        name: For tables.
        space: What may be chosen.
        value: The function without noise, of a choice for each name in `space`.
        optimum: Where it is lowest.
        lowest: Its value there.
        noise: Standard deviation of the normal noise that is added to what a sampler sees.
    """

    name: str
    space: Mapping[str, BaseDistribution]
    value: Callable[[Mapping[str, Any]], float]
    optimum: Mapping[str, Any]
    lowest: float
    noise: float

    def observe(self, params: Mapping[str, Any], seed: int, number: int) -> float:
        """What a sampler is told of `params`.

        Args:
            params: A choice for each name in `space`.
            seed: Seed of the study.
            number: Of the trial; with `seed` it decides the noise, whatever else was drawn.
        """
        return self.value(params) + self.noise * float(np.random.default_rng([seed, number]).standard_normal())

    def regret(self, params: Mapping[str, Any]) -> float:
        """How much worse than the optimum `params` are, without noise."""
        return self.value(params) - self.lowest


def _boxed(name: str, landscape: Landscape, optimum: np.ndarray, bound: float, lowest: float) -> Problem:
    """A function of a vector, in a cube around the origin."""
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
    """The optimum lies at random in the inner four fifths of the cube, at the same place in every study.

    In the middle it would be found by any sampler that shrinks towards it.
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
