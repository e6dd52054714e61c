"""Wrapper of Optuna samplers whose resumed searches equal uninterrupted ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState


class RepeatableSampler(BaseSampler):
    """Sampler in which every trial has its own random stream, determined by its number and the seed.

    Optuna's samplers keep their random state in memory: a resumed search would draw its first points again, and two
    processes with the same seed would draw the same points.

    Args:
        make: Function that creates the sampler from a seed.
        seed: Seed of the search.
    """

    def __init__(self, make: Callable[..., BaseSampler], seed: int) -> None:
        self._make = make
        self._seed = seed
        self._number = -1
        self._sampler = make(seed=seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._of(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._of(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._of(trial).sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._of(trial).before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._of(trial).after_trial(study, trial, state, values)

    def _of(self, trial: FrozenTrial) -> BaseSampler:
        if trial.number != self._number:
            seed = np.random.SeedSequence([self._seed, trial.number]).generate_state(1)[0]
            self._sampler, self._number = self._make(seed=int(seed)), trial.number
        return self._sampler
