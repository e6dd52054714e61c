"""Samplers on benchmark problems: single studies, all studies of a comparison, and mean ranks of the samplers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from time import process_time
from typing import Any, NamedTuple

import numpy as np
import optuna
import pandas as pd
from joblib import Parallel, delayed, parallel_config
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, RandomSampler, TPESampler
from scipy.stats import rankdata

from fer_lightning.benchmark.problems import PROBLEMS, Problem
from fer_lightning.benchmark.tables import TABLES, load_table
from fer_lightning.errors import require_known
from fer_lightning.files import write_csv
from fer_lightning.search.mboa import MBOASampler

KEYS = ["sampler", "problem", "seed", "budget"]
GROUPS = {"formulas": tuple(PROBLEMS), "tables": tuple(TABLES)}
_RESAMPLES = 1000


@dataclass(frozen=True)
class ComparedSampler:
    """A sampler of the benchmark; all options except the seed are the sampler's defaults.

    Attributes:
        make: Function of the seed of a study, the number of its trials and its space that creates the sampler.
        needs_budget: Whether the moves depend on the number of trials. Otherwise, the result of a shorter study can be
            read off a longer one.
        packages: Packages that it imports and only the extra of its name installs.
    """

    make: Callable[[int, int, Mapping[str, BaseDistribution]], BaseSampler]
    needs_budget: bool
    packages: tuple[str, ...] = ()


def _mboa(variant: str) -> ComparedSampler:
    return ComparedSampler(
        lambda seed, trials, space: MBOASampler(variant=variant, n_trials=trials, seed=seed), needs_budget=True
    )


def _botorch(seed: int, trials: int, space: Mapping[str, BaseDistribution]) -> BaseSampler:
    from optuna_integration.botorch import BoTorchSampler, qlogei_candidates_func

    return BoTorchSampler(candidates_func=qlogei_candidates_func, seed=seed)


def _smac(seed: int, trials: int, space: Mapping[str, BaseDistribution]) -> BaseSampler:
    from fer_lightning.benchmark.smac_sampler import SMACSampler

    return SMACSampler(trials, space, seed)


SAMPLERS = {
    "mboa literal": _mboa("literal"),
    "mboa paper": _mboa("paper"),
    "mboa scent": _mboa("scent"),
    "mboa surrogate": _mboa("surrogate"),
    "boa": _mboa("boa"),
    "tpe": ComparedSampler(lambda seed, trials, space: TPESampler(seed=seed), needs_budget=False),
    "cmaes": ComparedSampler(
        lambda seed, trials, space: CmaEsSampler(seed=seed, warn_independent_sampling=False), needs_budget=False
    ),
    "random": ComparedSampler(lambda seed, trials, space: RandomSampler(seed=seed), needs_budget=False),
    "gp": ComparedSampler(lambda seed, trials, space: GPSampler(seed=seed), needs_budget=False),
    "botorch": ComparedSampler(_botorch, needs_budget=False, packages=("botorch", "optuna_integration")),
    "smac": ComparedSampler(_smac, needs_budget=True, packages=("smac",)),
}


def why_not(sampler: str) -> str | None:
    """Sentence about a sampler that is not installed, else None.

    Args:
        sampler: Name of the sampler in `SAMPLERS`.
    """
    missing = [package for package in SAMPLERS[sampler].packages if find_spec(package) is None]
    if not missing:
        return None
    return f"{sampler} needs {' and '.join(missing)}: pip install 'fer_lightning[{sampler}]'."


def find_problem(name: str) -> Problem:
    """Problem by its name in `PROBLEMS` or `TABLES`."""
    return PROBLEMS[name] if name in PROBLEMS else load_table(name)


@dataclass(frozen=True)
class Course:
    """Course of a study.

    Attributes:
        regret: Noise-free regret `(trials,)` of the trial with the best observed value so far, after each trial.
        ask_seconds: CPU time `(trials,)` of the sampler for each trial.
    """

    regret: np.ndarray
    ask_seconds: np.ndarray


def run_study(sampler: str, problem: str, seed: int, trials: int) -> Course:
    """Runs one study in memory, one trial at a time.

    Args:
        sampler: Name of the sampler in `SAMPLERS`.
        problem: Name of the problem in `PROBLEMS` or `TABLES`.
        seed: Seed of the sampler and of the noise.
        trials: Number of trials.
    """
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    task = find_problem(problem)
    regret, seconds = np.empty(trials), np.empty(trials)
    best = np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of experimental samplers, and of BoTorch's optimiser
        study = optuna.create_study(sampler=SAMPLERS[sampler].make(seed, trials, task.space))
        for number in range(trials):
            started = process_time()
            trial = study.ask(dict(task.space))
            seconds[number] = process_time() - started
            value = task.observe(trial.params, seed, number)
            study.tell(trial, value)
            regret[number] = task.regret(trial.params) if value < best else regret[number - 1]
            best = min(best, value)
    optuna.logging.set_verbosity(verbosity)
    return Course(regret, seconds)


class Study(NamedTuple):
    """One run of a sampler.

    Attributes:
        sampler: Name of the sampler.
        problem: Name of the problem.
        seed: Seed of both.
        budgets: Ascending numbers of evaluations after which the regret is read off; the last one ends the study.
    """

    sampler: str
    problem: str
    seed: int
    budgets: tuple[int, ...]


def plan_studies(
    samplers: Sequence[str], problems: Sequence[str], seeds: int, budgets: Sequence[int], most: Mapping[str, int]
) -> list[Study]:
    """Studies of every sampler on every problem with every seed, ordered by sampler, since they differ most in cost.

    Args:
        samplers: Names in `SAMPLERS`.
        problems: Names in `PROBLEMS`, `TABLES` or, for several, `GROUPS`.
        seeds: Number of seeds.
        budgets: Numbers of evaluations; a sampler whose moves depend on the budget has a study for each.
        most: Largest budget of slow samplers.

    Raises:
        UserError: A sampler or problem is unknown.
    """
    for option, names, known in (
        ("names", samplers, SAMPLERS),
        ("problems", problems, (*GROUPS, *PROBLEMS, *TABLES)),
        ("most", most, SAMPLERS),
    ):
        for name in names:
            require_known(f"samplers.{option}", name, known)
    problems = [name for entry in problems for name in GROUPS.get(entry, (entry,))]
    studies = []
    for sampler in samplers:
        reached = tuple(sorted(budget for budget in budgets if budget <= most.get(sampler, max(budgets))))
        lengths = [(budget,) for budget in reached] if SAMPLERS[sampler].needs_budget else [reached]
        for problem in problems:
            for seed in range(seeds):
                studies += [Study(sampler, problem, seed, length) for length in lengths if length]
    return studies


def run_studies(
    studies: Sequence[Study], file: Path, workers: int, progress: Callable[..., Iterable[Any]]
) -> pd.DataFrame:
    """Runs the studies whose results are not in a file yet; the file is updated after each of them.

    Args:
        studies: Result of `plan_studies`.
        file: CSV file with the columns `sampler`, `problem`, `seed`, `budget`, `regret` and `ask_ms`.
        workers: Number of studies that run in parallel, one core each.
        progress: Progress bar; takes an iterable of results and `total`.

    Returns:
        The rows of these studies, in their order.
    """
    table = pd.read_csv(file) if file.is_file() else pd.DataFrame(columns=[*KEYS, "regret", "ask_ms"])
    done = set(table[KEYS].itertuples(index=False, name=None))
    left = [study for study in studies if (*study[:3], study.budgets[-1]) not in done]
    rows = table.to_dict("records")
    with parallel_config("loky", n_jobs=workers, inner_max_num_threads=1):
        courses = Parallel(return_as="generator")(delayed(run_study)(*study[:3], study.budgets[-1]) for study in left)
        for study, course in zip(left, progress(courses, total=len(left))):
            for budget in study.budgets:
                if (*study[:3], budget) in done:  # from a shorter comparison
                    continue
                milliseconds = 1000 * course.ask_seconds[:budget].mean()
                values = (*study[:3], budget, course.regret[budget - 1], milliseconds)
                rows.append(dict(zip((*KEYS, "regret", "ask_ms"), values)))
            table = pd.DataFrame(rows)
            write_csv(file, table, index=False, float_format="%.4g")
    wanted = pd.DataFrame([(*study[:3], budget) for study in studies for budget in study.budgets], columns=KEYS)
    return wanted.merge(table, on=KEYS)


def median_regrets(results: pd.DataFrame) -> pd.DataFrame:
    """Median regrets over the seeds.

    Args:
        results: Result of `run_studies`.

    Returns:
        Table indexed by `budget` and `problem` with one column per sampler, in the order of `results`; NaN where a
        sampler did not run.
    """
    medians = results.groupby(["budget", "problem", "sampler"], sort=False)["regret"].median()
    return medians.unstack("sampler", sort=False).sort_index(level="budget", kind="stable", sort_remaining=False)


def rank_samplers(results: pd.DataFrame) -> pd.DataFrame:
    """Mean ranks over the problems of the median regrets; rank 1 is the lowest regret, ties share their mean rank.

    Args:
        results: Result of `run_studies`; at each budget every sampler has every problem and seed.

    Returns:
        Best first for each budget: `budget`, `sampler`, `mean_rank`; `low` and `high`, the 95 % bootstrap interval over
        seeds (not over problems, so it does not extend to other problems); `ask_ms`, the median over problems and
        seeds; then the rank on each problem in a column of its name.
    """
    tables = [_rank_budget(results[results["budget"] == budget]) for budget in sorted(results["budget"].unique())]
    return pd.concat(tables, ignore_index=True)


def _rank_budget(results: pd.DataFrame) -> pd.DataFrame:
    samplers, problems = results["sampler"].unique(), results["problem"].unique()
    seeds = results["seed"].unique()
    cube = (
        results.set_index(["problem", "sampler", "seed"])["regret"]
        .reindex(pd.MultiIndex.from_product([problems, samplers, seeds]))
        .to_numpy()
        .reshape(len(problems), len(samplers), len(seeds))
    )
    ranks = rankdata(np.median(cube, axis=2), axis=1)
    rng = np.random.default_rng(0)
    resamples = rng.integers(len(seeds), size=(_RESAMPLES, len(seeds)))
    means = [rankdata(np.median(cube[:, :, resample], axis=2), axis=1).mean(axis=0) for resample in resamples]
    low, high = np.quantile(means, (0.025, 0.975), axis=0)
    table = pd.DataFrame(
        {
            "budget": results["budget"].iloc[0],
            "sampler": samplers,
            "mean_rank": ranks.mean(axis=0),
            "low": low,
            "high": high,
            "ask_ms": results.groupby("sampler")["ask_ms"].median()[samplers].to_numpy(),
            **dict(zip(problems, ranks)),
        }
    )
    return table.sort_values("mean_rank", kind="stable")
