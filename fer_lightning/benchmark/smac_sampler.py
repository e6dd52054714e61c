"""SMAC3 as an Optuna sampler of the benchmark (`pip install 'fer_lightning[smac]'`).

M. Lindauer et al., *SMAC3: A Versatile Bayesian Optimization Package for Hyperparameter Optimization*, JMLR 23, 2022: a
random forest with expected improvement of the logarithm, after a Sobol design whose size follows the number of trials.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from ConfigSpace import Categorical, ConfigurationSpace, Float, Integer
from ConfigSpace.hyperparameters import Hyperparameter
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState
from smac import HyperparameterOptimizationFacade, Scenario
from smac.runhistory.dataclasses import TrialInfo, TrialValue


class SMACSampler(BaseSampler):
    """Proposals of SMAC's facade for hyperparameter optimisation, one trial at a time, to minimise.

    Readings:
        - Each configuration is evaluated once (`deterministic=True`), as by the other samplers. SMAC could repeat the
          best ones to average out noise, at the price of fewer configurations.

    Args:
        n_trials: Number of trials of the study.
        space: Distribution of each parameter; floats and integers without steps.
        seed: Seed of SMAC.
    """

    def __init__(self, n_trials: int, space: Mapping[str, BaseDistribution], seed: int) -> None:
        self._space = dict(space)
        logging.getLogger("smac").setLevel(logging.ERROR)  # it warns when little of a small space is left
        self._folder = TemporaryDirectory()  # SMAC always writes its history
        configs = ConfigurationSpace(seed=seed)
        configs.add([_hyperparameter(name, distribution) for name, distribution in space.items()])
        scenario = Scenario(
            configs, deterministic=True, n_trials=n_trials, seed=seed, output_directory=self._folder.name
        )
        self._smac = HyperparameterOptimizationFacade(scenario, _never, logging_level=False)
        self._asked: TrialInfo | None = None

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The whole space."""
        return self._space

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """SMAC's next configuration."""
        self._asked = self._smac.ask()
        params = dict(self._asked.config)
        return {name: value.item() if isinstance(value, np.generic) else value for name, value in params.items()}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Not used, since the space is known.

        Raises:
            ValueError: The parameter is not in the space.
        """
        raise ValueError(f"{param_name} is not in the space.")

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Reports the value to SMAC."""
        assert self._asked is not None and values is not None
        self._smac.tell(self._asked, TrialValue(cost=values[0]))


def _never(config: Any, seed: int = 0) -> float:
    """Target function, which SMAC wants but does not call when it is asked."""
    raise NotImplementedError


def _hyperparameter(name: str, distribution: BaseDistribution) -> Hyperparameter:
    if isinstance(distribution, CategoricalDistribution):
        return Categorical(name, distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    make = Integer if isinstance(distribution, IntDistribution) else Float
    return make(name, (distribution.low, distribution.high), log=distribution.log)
