"""Modified Bobcat Optimization Algorithm (MBOA) of the PsySFA-Net paper as an Optuna sampler."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from fer_lightning.errors import UserError, require_known
from fer_lightning.search.encoding import Encoding, dimension_of
from fer_lightning.search.generation import VARIANTS, Log, Rules, plan, scatter
from fer_lightning.search.moves import SCHEDULES

log = logging.getLogger(__name__)

# User attribute of the study with the options that a resumed search must share.
ATTRIBUTE = "mboa"

# Versions of variants whose proposals have changed; a study without one was started with the first.
_VERSIONS = {"surrogate": 2}
_Space = tuple[tuple[str, BaseDistribution], ...]


@dataclass
class _Memory:
    """Cache of one study, which can be recomputed from its trials.

    Attributes:
        storage: Storage of the study.
        study: Id of the study in the storage.
        seed: Seed of the search.
        spaces: Search space by generation, cached when all earlier trials are finished.
        plans: Plan by generation and search space, cached likewise.
        points: Finished trials by number as points of a space; None for a trial without some parameter.
    """

    storage: BaseStorage
    study: int
    seed: int
    spaces: dict[int, dict[str, BaseDistribution]] = field(default_factory=dict)
    plans: dict[tuple[int, _Space], np.ndarray] = field(default_factory=dict)
    points: dict[_Space, dict[int, np.ndarray | None]] = field(default_factory=dict)


class MBOASampler(BaseSampler):
    """Modified Bobcat Optimization Algorithm, *PsySFA-Net* (`models/psysfa_net.py`), section 3.8, eqs. 13-19.

    Trial k is the move of bobcat k mod N in generation k div N. Generation 0 scatters the population (eqs. 13 and 14),
    odd ones explore (eqs. 15-17), even ones exploit (eqs. 18 and 19). A bobcat's position is its best completed
    trial, so the sampler has no state: a resumed or parallel search is the same search, and the trials of a generation
    may run at the same time and finish in any order. Unfinished trials of earlier generations are not waited for.

    Variants:
        - `"boa"`: the parent algorithm, one prey.
        - `"literal"`: the equations exactly as printed.
        - `"paper"`: the same moves in the unit cube, with the readings of `moves` and `generation`.
        - `"scent"`: not in the paper. Each bobcat draws many moves of `"paper"`, and a surrogate model of all trials
          selects one. Its gain over `"paper"` is due to the model.
        - `"surrogate"`: not in the paper. As `"scent"`, but half of the moves start at the best bobcat, and most
          change only some of the parameters, since a move of all of them seldom improves on a good trial. Up to 100
          trials, there are also moves to random points and of one parameter of the best, and the model is a Gaussian
          process with expected improvement.

    Readings (see also `moves` and `generation`):
        - The paper names 20 bobcats and 60 iterations, its pseudocode 10 and 5. With two evaluations an iteration, the
          former are 20 + 60 * 2 * 20 = 2,420 trainings.
        - The pseudocode moves the learning rate as log10, Table 2 bounds it linearly: here a parameter moves on a
          logarithmic scale if its distribution is logarithmic.
        - n of eq. 16 is not given: `num_prey`.

    Args:
        variant: Variant, see above.
        population: Number of bobcats, at least 2, or `"auto"`: `population_for(n_trials, variant)`.
        n_trials: Number of trials of the whole search, or None if unknown.
        num_prey: Number n of prey in eq. 16; `"boa"` uses one.
        gamma: Whether gamma of eq. 16 is drawn for each `"prey"` or for each `"dimension"` of it; `"literal"` always
            draws it for each prey.
        weight: W_exploration of eq. 16: `"inverse"`, `"linear"` (needs `n_trials`) or `"constant"`; not in `"boa"`.
        candidates: Number of candidate moves of a bobcat in `"paper"`, `"scent"` and `"surrogate"`.
        seed: Seed of all random numbers; if None, that of the resumed study, or a random one.

    Attributes:
        population: Number of bobcats.

    Raises:
        UserError: An option is out of range; or, at the first trial, the study was started with another seed,
            population or variant.
    """

    def __init__(
        self,
        *,
        variant: str = "paper",
        population: int | str = "auto",
        n_trials: int | None = None,
        num_prey: int = 3,
        gamma: str = "dimension",
        weight: str = "inverse",
        candidates: int = 30,
        seed: int | None = None,
    ) -> None:
        require_known("MBOA: variant", variant, VARIANTS)
        require_known("MBOA: gamma", gamma, ("dimension", "prey"))
        require_known("MBOA: weight", weight, SCHEDULES)
        if isinstance(population, str):
            require_known("MBOA: population", population, ("auto",))
            population = population_for(n_trials, variant)
        for option, number, least in (
            ("population", population, 2),
            ("num_prey", num_prey, 1),
            ("candidates", candidates, 1),
            ("n_trials", n_trials, 1),
            ("seed", seed, 0),
        ):
            if number is not None and number < least:
                raise UserError(f"MBOA: {option} must be at least {least}; got {number}.")
        if weight == "linear" and n_trials is None:
            raise UserError("MBOA: weight=linear needs n_trials, the number of trials over which the weight decreases.")
        self.population = population
        # Generation 0 is before the first iteration; each iteration has two generations.
        iterations = None if n_trials is None else max(1, -(-n_trials // population) // 2)
        self._rules = Rules(variant, population, num_prey, gamma, weight, candidates, iterations)
        self._seed = seed
        # Drawn here, so that all threads of a search use the same seed.
        self._drawn = int(np.random.default_rng().integers(2**31)) if seed is None else seed
        self._memory: _Memory | None = None

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Parameters that all completed trials of earlier generations share."""
        self._raise_error_if_multi_objective(study)
        memory = self._recall(study)
        generation = trial.number // self.population
        if generation == 0:
            return {}
        space = memory.spaces.get(generation)
        if space is None:
            earlier = self._earlier(study, generation)
            known = memory.spaces.get(generation - 1)
            new = earlier if known is None else earlier[-self.population :]
            space = _shared(new, known)
            if space is None:
                return {}
            if all(earlier_trial.state.is_finished() for earlier_trial in earlier):
                memory.spaces[generation] = space
        return dict(space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Parameters of a trial: the next position of its bobcat."""
        self._raise_error_if_multi_objective(study)
        memory = self._recall(study)
        generation, individual = divmod(trial.number, self.population)
        if generation == 0 or not search_space:
            return {
                name: self.sample_independent(study, trial, name, distribution)
                for name, distribution in search_space.items()
            }
        encoding = Encoding(search_space)
        space = tuple(search_space.items())
        points = memory.plans.get((generation, space))
        if points is None:
            earlier = self._earlier(study, generation)
            log = _read(earlier, space, encoding, study.direction, self.population, memory)
            points = plan(self._rules, memory.seed, generation, encoding, log)
            if all(earlier_trial.state.is_finished() for earlier_trial in earlier):
                memory.plans[generation, space] = points
        return encoding.decode(points[individual])

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Initial value of a trial's bobcat, for a parameter without completed trials."""
        self._raise_error_if_multi_objective(study)
        memory = self._recall(study)
        generation, individual = divmod(trial.number, self.population)
        dimension = dimension_of(param_distribution)
        return dimension.decode(scatter(self._rules, memory.seed, generation, param_name, dimension)[individual])

    def _earlier(self, study: Study, generation: int) -> list[FrozenTrial]:
        # From the storage: with a Hyperband pruner, the study has only the trials of one bracket, and no attributes.
        first = generation * self.population
        trials = study._storage.get_all_trials(study._study_id, deepcopy=False)
        return [trial for trial in trials if trial.number < first]

    def _recall(self, study: Study) -> _Memory:
        memory = self._memory
        if memory is None or memory.storage is not study._storage or memory.study != study._study_id:
            memory = self._memory = _Memory(study._storage, study._study_id, self._agree(study))
        return memory

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_memory": None}

    def _agree(self, study: Study) -> int:
        """Seed of the search; stores the options of a new study or compares those of a resumed one."""
        ours = {"variant": self._rules.variant, "population": self.population, "seed": self._drawn}
        version = {"version": number} if (number := _VERSIONS.get(self._rules.variant)) else {}
        storage, study_id = study._storage, study._study_id
        if ATTRIBUTE not in storage.get_study_user_attrs(study_id):
            storage.set_study_user_attr(study_id, ATTRIBUTE, {**ours, **version})
        # Read again: another process may have started the study at the same time.
        stored = storage.get_study_user_attrs(study_id)[ATTRIBUTE]
        for option, value in ours.items():
            if stored[option] != value and not (option == "seed" and self._seed is None):
                raise UserError(
                    f"MBOA: {option} must be {stored[option]}, with which the study {study.study_name} was started; "
                    f"got {value}: resume it with {option}={stored[option]}, or start another study."
                )
        if version and "version" not in stored:
            log.warning(
                "the study %s was started with version 1 of variant=%s; version %d proposes its further trials.",
                study.study_name,
                self._rules.variant,
                version["version"],
            )
        return stored["seed"]


def _shared(trials: list[FrozenTrial], space: dict[str, BaseDistribution] | None) -> dict[str, BaseDistribution] | None:
    """Distributions that the completed trials and a space share, by name; None if there are neither.

    Like Optuna's `intersection_search_space`, but continues from the intersection of earlier trials.
    """
    for trial in trials:
        if trial.state != TrialState.COMPLETE:
            continue
        if space is None:
            space = dict(sorted(trial.distributions.items()))
        else:
            space = {name: value for name, value in space.items() if trial.distributions.get(name) == value}
    return space


def _read(
    trials: list[FrozenTrial],
    space: _Space,
    encoding: Encoding,
    direction: StudyDirection,
    population: int,
    memory: _Memory,
) -> Log:
    """Trials that have all parameters of a space."""
    known = memory.points.setdefault(space, {})
    sign = -1.0 if direction == StudyDirection.MAXIMIZE else 1.0
    numbers, points, values, others = [], [], [], []
    for trial in trials:
        number = trial.number
        if number in known:
            point = known[number]
        else:
            inside = all(trial.distributions.get(name) == distribution for name, distribution in space)
            point = encoding.encode(trial.params) if inside else None
            if trial.state.is_finished():
                known[number] = point
        if point is None:
            continue
        value = trial.value if trial.state == TrialState.COMPLETE else None
        if value is not None and not math.isnan(value):
            numbers.append(number)
            points.append(point)
            values.append(sign * value)
        else:
            others.append(point)
    return Log(
        points=np.array(points).reshape(-1, len(space)),
        values=np.array(values),
        individuals=np.array(numbers, dtype=int) % population,
        others=np.array(others).reshape(-1, len(space)),
    )


def population_for(n_trials: int | None, variant: str = "paper") -> int:
    """Population size that performed best at a budget in our measurements.

    The paper names 20 bobcats in its text and 10 in its pseudocode, without a reason. Fewer bobcats give more
    generations for the same number of trials, which is better when trials are few.

    Args:
        n_trials: Number of trials of the whole search, or None if unknown.
        variant: Variant of MBOA.

    Returns:
        8 up to 60 trials, 12 up to 150, else 20, as in the text of the paper; half of it for up to 150 trials of
        `"surrogate"`, whose model learns from each generation.
    """
    if n_trials is None or n_trials > 150:
        return 20
    population = 8 if n_trials <= 60 else 12
    return population // 2 if variant == "surrogate" else population
