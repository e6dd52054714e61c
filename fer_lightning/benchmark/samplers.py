"""Samplers on benchmark problems: one run of one sampler, all runs of a comparison, and the mean ranks of many."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any, NamedTuple

import numpy as np
import optuna
import pandas as pd
from joblib import Parallel, delayed, parallel_config
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, RandomSampler, TPESampler
from scipy.stats import rankdata

from fer_lightning.benchmark.problems import PROBLEMS
from fer_lightning.errors import UserError
from fer_lightning.files import write_csv
from fer_lightning.search.mboa import MBOASampler

KEYS = ["sampler", "problem", "seed", "budget"]
_RESAMPLES = 1000


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


class Study(NamedTuple):
    """One run of a sampler.

    Attributes:
        sampler: Name of a contestant.
        problem: Name of a problem.
        seed: Seed of both.
        budgets: Evaluations after which the regret is read off, rising; the last one ends the study.
    """

    sampler: str
    problem: str
    seed: int
    budgets: tuple[int, ...]


def plan_studies(
    samplers: Sequence[str], problems: Sequence[str], seeds: int, budgets: Sequence[int], most: Mapping[str, int]
) -> list[Study]:
    """Every sampler on every problem with every seed, one sampler after the other: they differ most in what they cost.

    Args:
        samplers: Names in `CONTESTANTS`.
        problems: Names in `PROBLEMS`.
        seeds: Number of seeds.
        budgets: Evaluations; a sampler whose moves depend on the budget has a study for each.
        most: Largest budget of samplers that are too slow for more.

    Raises:
        UserError: A sampler or problem is unknown.
    """
    for option, names, known in (
        ("names", samplers, CONTESTANTS),
        ("problems", problems, PROBLEMS),
        ("most", most, CONTESTANTS),
    ):
        for name in names:
            if name not in known:
                raise UserError(f"samplers.{option} has {name}, which is unknown: use any of {', '.join(known)}.")
    studies = []
    for sampler in samplers:
        reached = tuple(sorted(budget for budget in budgets if budget <= most.get(sampler, max(budgets))))
        lengths = [(budget,) for budget in reached] if CONTESTANTS[sampler].knows_the_end else [reached]
        for problem in problems:
            for seed in range(seeds):
                studies += [Study(sampler, problem, seed, length) for length in lengths if length]
    return studies


def run_studies(
    studies: Sequence[Study], file: Path, workers: int, progress: Callable[..., Iterable[Any]]
) -> pd.DataFrame:
    """Runs the studies that a file does not have yet; the file is written after each of them.

    Args:
        studies: As `plan_studies` returns them.
        file: CSV with the columns `sampler`, `problem`, `seed`, `budget`, `regret` and `ask_ms`.
        workers: Studies that run in parallel, one core each.
        progress: Goes through studies and shows how far it is; takes their results and `total`.

    Returns:
        The rows of these studies, in their order.
    """
    table = pd.read_csv(file) if file.is_file() else pd.DataFrame(columns=[*KEYS, "regret", "ask_ms"])
    done = set(table[KEYS].itertuples(index=False, name=None))
    left = [study for study in studies if (*study[:3], study.budgets[-1]) not in done]
    rows = table.to_dict("records")
    with parallel_config("loky", n_jobs=workers, inner_max_num_threads=1):
        courses = Parallel(return_as="generator")(delayed(compete)(*study[:3], study.budgets[-1]) for study in left)
        for study, course in zip(left, progress(courses, total=len(left))):
            for budget in study.budgets:
                milliseconds = 1000 * course.ask_seconds[:budget].mean()
                values = (*study[:3], budget, course.regret[budget - 1], milliseconds)
                rows.append(dict(zip((*KEYS, "regret", "ask_ms"), values)))
            table = pd.DataFrame(rows)
            write_csv(file, table, index=False, float_format="%.4g")
    wanted = pd.DataFrame([(*study[:3], budget) for study in studies for budget in study.budgets], columns=KEYS)
    return wanted.merge(table, on=KEYS)


def median_regrets(results: pd.DataFrame) -> pd.DataFrame:
    """Median over seeds.

    Args:
        results: Columns `sampler`, `problem`, `seed`, `budget`, `regret`.

    Returns:
        Indexed by `budget` and `problem`, one column a sampler, in the order of `results`; NaN where it did not run.
    """
    medians = results.groupby(["budget", "problem", "sampler"], sort=False)["regret"].median()
    return medians.unstack("sampler", sort=False).sort_index(level="budget", kind="stable", sort_remaining=False)


def rank_samplers(results: pd.DataFrame) -> pd.DataFrame:
    """Ranks the median regrets on each problem, 1 for the lowest, equal ones alike, and takes the mean over problems.

    Args:
        results: Columns `sampler`, `problem`, `seed`, `budget`, `regret`, `ask_ms`; at each budget every sampler that
            is there has every problem and seed.

    Returns:
        Best first for each budget: `budget`, `sampler`, `mean_rank`; `low` and `high`, the middle 95 % of 1,000 mean
        ranks with the seeds redrawn (seeds, not problems: it says nothing about problems that are not here); `ask_ms`,
        the median over problems and seeds; then the rank on each problem in a column of its name.
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
    drawn = rng.integers(len(seeds), size=(_RESAMPLES, len(seeds)))
    again = [rankdata(np.median(cube[:, :, draw], axis=2), axis=1).mean(axis=0) for draw in drawn]
    low, high = np.quantile(again, (0.025, 0.975), axis=0)
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
