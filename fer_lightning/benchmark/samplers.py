"""One sampler on one problem: the unit of which the search benchmark is made."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from time import process_time

import numpy as np
import optuna
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, RandomSampler, TPESampler

from fer_lightning.search.mboa import MBOASampler
from fer_lightning.benchmark.problems import PROBLEMS


@dataclass(frozen=True)
class Contestant:
    """A sampler as the benchmark runs it; all options but the seed are the sampler's defaults.

    Attributes:
        make: From the seed of a study and the number of its trials.
        knows_the_end: Whether the number of trials changes what it does. One that does not can be read off a longer
            study at any point.
    """

    make: Callable[[int, int], BaseSampler]
    knows_the_end: bool


def _mboa(variant: str) -> Contestant:
    return Contestant(lambda seed, trials: MBOASampler(variant=variant, n_trials=trials, seed=seed), knows_the_end=True)


CONTESTANTS = {
    "mboa literal": _mboa("literal"),
    "mboa paper": _mboa("paper"),
    "mboa scent": _mboa("scent"),
    "boa": _mboa("boa"),
    "tpe": Contestant(lambda seed, trials: TPESampler(seed=seed), knows_the_end=False),
    "cmaes": Contestant(lambda seed, trials: CmaEsSampler(seed=seed), knows_the_end=False),
    "random": Contestant(lambda seed, trials: RandomSampler(seed=seed), knows_the_end=False),
    "gp": Contestant(lambda seed, trials: GPSampler(seed=seed), knows_the_end=False),
}


@dataclass(frozen=True)
class Course:
    """How a study went.

    Attributes:
        regret: `(trials,)`, after each trial the regret without noise of the trial that looked best so far.
        ask_seconds: `(trials,)`, CPU time in which the sampler chose.
    """

    regret: np.ndarray
    ask_seconds: np.ndarray


def compete(sampler: str, problem: str, seed: int, trials: int) -> Course:
    """Runs one study in memory, a trial at a time.

    Args:
        sampler: Its name in `CONTESTANTS`.
        problem: Name in `PROBLEMS` of what it minimises.
        seed: Of the sampler and of the noise.
        trials: Evaluations.
    """
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    task = PROBLEMS[problem]
    regret, seconds = np.empty(trials), np.empty(trials)
    best = np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(sampler=CONTESTANTS[sampler].make(seed, trials))
        for number in range(trials):
            started = process_time()
            trial = study.ask(dict(task.space))
            seconds[number] = process_time() - started
            seen = task.observe(trial.params, seed, number)
            study.tell(trial, seen)
            regret[number] = task.regret(trial.params) if seen < best else regret[number - 1]
            best = min(best, seen)
    optuna.logging.set_verbosity(verbosity)
    return Course(regret, seconds)
