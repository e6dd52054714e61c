from __future__ import annotations

from itertools import product

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.samplers import CmaEsSampler, GPSampler, RandomSampler, TPESampler

from fer_lightning.benchmark.problems import PROBLEMS
from fer_lightning.benchmark.samplers import (
    KEYS,
    SAMPLERS,
    ComparedSampler,
    median_regrets,
    plan_studies,
    rank_samplers,
    run_studies,
    run_study,
    why_not,
)
from fer_lightning.benchmark.tables import TABLES
from fer_lightning.errors import UserError
from fer_lightning.search.mboa import MBOASampler


class Scripted(optuna.samplers.BaseSampler):
    """Proposes the rates it was given, in their order, and the optimum of everything else."""

    def __init__(self, rates):
        self.rates = rates

    def infer_relative_search_space(self, study, trial):
        return {}

    def sample_relative(self, study, trial, search_space):
        return {}

    def sample_independent(self, study, trial, param_name, param_distribution):
        return self.rates[trial.number] if param_name == "learning_rate" else PROBLEMS["tuning"].optimum[param_name]


def test_the_regret_is_that_of_the_trial_that_looked_best(monkeypatch):
    """From the best rate to worse ones, by a seed whose noise makes a worse one look best: the regret also rises."""
    problem = PROBLEMS["tuning"]
    rates = problem.optimum["learning_rate"] * np.linspace(1, 1.3, 12)
    chosen = [{**problem.optimum, "learning_rate": rate} for rate in rates]
    noisy = ([problem.observe(params, seed, number) for number, params in enumerate(chosen)] for seed in range(100))
    seed, seen = next((seed, values) for seed, values in enumerate(noisy) if np.argmin(values) > 0)
    scripted = ComparedSampler(lambda seed, trials, space: Scripted(rates), needs_budget=False)
    monkeypatch.setitem(SAMPLERS, "scripted", scripted)
    course = run_study("scripted", "tuning", seed, len(rates))
    expected = [problem.value(chosen[int(np.argmin(seen[: stop + 1]))]) - 0.9 for stop in range(len(rates))]
    np.testing.assert_allclose(course.regret, expected, rtol=1e-9)
    assert (np.diff(course.regret) > 0).any()
    assert course.ask_seconds.shape == (12,) and (course.ask_seconds >= 0).all()


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_finishes_and_repeats_itself(name):
    if reason := why_not(name):
        pytest.skip(reason)
    first, again, other = (run_study(name, "tuning", seed, 12).regret for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert (first > 0).all()


def test_who_takes_part():
    made = {name: SAMPLERS[name].make(0, 100, {}) for name in SAMPLERS if name not in ("smac", "botorch")}
    classes = {"tpe": TPESampler, "cmaes": CmaEsSampler, "random": RandomSampler, "gp": GPSampler}
    assert {name: type(sampler) for name, sampler in made.items()} == {
        **dict.fromkeys(("mboa literal", "mboa paper", "mboa scent", "mboa surrogate", "boa"), MBOASampler),
        **classes,
    }
    assert {name for name, sampler in SAMPLERS.items() if sampler.needs_budget} == {"smac"} | set(made) - set(classes)


@pytest.mark.parametrize(("name", "missing"), [("smac", "smac"), ("botorch", "botorch and optuna_integration")])
def test_a_sampler_that_is_not_installed_says_what_to_install(monkeypatch, name, missing):
    monkeypatch.setattr("fer_lightning.benchmark.samplers.find_spec", lambda package: None)
    assert why_not(name) == f"{name} needs {missing}: pip install 'fer_lightning[{name}]'."
    assert why_not("gp") is None


def test_groups_of_problems_are_planned_by_their_names():
    planned = [study.problem for study in plan_studies(["random"], ["tables", "tuning"], 1, [20], {})]
    assert planned == [*TABLES, "tuning"]
    assert [study.problem for study in plan_studies(["random"], ["formulas"], 1, [20], {})] == list(PROBLEMS)


@pytest.mark.parametrize(("trials", "population"), [(60, 8), (100, 12), (300, 20)])
def test_mboa_is_told_how_long_the_study_is(trials, population):
    for name in ("mboa literal", "mboa paper", "mboa scent", "mboa surrogate", "boa"):
        sampler = SAMPLERS[name].make(0, trials, {})
        expected = population // 2 if name == "mboa surrogate" and trials <= 150 else population
        assert isinstance(sampler, MBOASampler) and sampler.population == expected


@pytest.mark.parametrize("name", ["tpe", "cmaes", "random", "gp"])
def test_others_can_be_read_off_a_longer_study(name):
    short, long = (run_study(name, "sphere_4", 0, trials).regret for trials in (12, 18))
    np.testing.assert_array_equal(short, long[:12])


def test_the_log_level_is_left_as_it_was():
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    run_study("random", "sphere_4", 0, 1)
    assert optuna.logging.get_verbosity() == optuna.logging.ERROR
    optuna.logging.set_verbosity(optuna.logging.INFO)


def table(cells: dict[tuple[str, str, int], list[float]], ask_ms: float = 1.0) -> pd.DataFrame:
    """Rows from `(sampler, problem, budget): regrets by seed`."""
    rows = [
        (sampler, problem, seed, budget, regret, ask_ms + seed)
        for (sampler, problem, budget), regrets in cells.items()
        for seed, regret in enumerate(regrets)
    ]
    return pd.DataFrame(rows, columns=["sampler", "problem", "seed", "budget", "regret", "ask_ms"])


RESULTS = table(
    {
        ("slow", "bowl", 60): [1, 2, 9],  # median 2
        ("quick", "bowl", 60): [3, 3, 3],
        ("new", "bowl", 60): [0, 2, 5],
        ("slow", "valley", 60): [7, 8, 9],
        ("quick", "valley", 60): [0.1, 0.2, 50],
        ("new", "valley", 60): [1, 1, 1],
        ("slow", "bowl", 100): [1, 1, 1],
        ("quick", "bowl", 100): [0, 0, 0],
        ("slow", "valley", 100): [1, 1, 1],
        ("quick", "valley", 100): [0, 0, 0],
    }
)


def test_medians_over_seeds_in_the_order_of_the_results():
    medians = median_regrets(RESULTS)
    assert list(medians.index) == [(60, "bowl"), (60, "valley"), (100, "bowl"), (100, "valley")]
    assert list(medians) == ["slow", "quick", "new"]
    expected = [[2, 3, 2], [8, 0.2, 1], [1, 0, np.nan], [1, 0, np.nan]]
    np.testing.assert_array_equal(medians.to_numpy(), expected)


def test_ranks_by_hand():
    ranks = rank_samplers(RESULTS)
    rows = ranks[["budget", "sampler", "mean_rank", "bowl", "valley"]].itertuples(index=False, name=None)
    assert list(rows) == [
        (60, "new", 1.75, 1.5, 2.0),
        (60, "quick", 2.0, 3.0, 1.0),
        (60, "slow", 2.25, 1.5, 3.0),
        (100, "quick", 1.0, 1.0, 1.0),
        (100, "slow", 2.0, 2.0, 2.0),
    ]
    assert (ranks["ask_ms"] == 2).all()


def test_the_interval_is_a_point_where_seeds_do_not_matter():
    ranks = rank_samplers(RESULTS).query("budget == 100")
    assert (ranks["low"] == ranks["mean_rank"]).all() and (ranks["high"] == ranks["mean_rank"]).all()


def test_the_interval_holds_what_luck_with_seeds_can_change():
    """Two samplers that are the same but for luck: either may come first."""
    rng = np.random.default_rng(0)
    cells = {key: rng.normal(size=10).tolist() for key in product("ab", ["bowl"], [60])}
    for row in rank_samplers(table(cells)).itertuples():
        assert (row.low, row.high) == (1, 2)


@pytest.mark.filterwarnings("error")
def test_one_seed_is_enough():
    ranks = rank_samplers(RESULTS[RESULTS["seed"] == 0])
    assert (ranks["low"] == ranks["high"]).all()


@pytest.fixture
def race(tmp_path):
    """Runs studies and returns the rows of all of them, and the lengths of those that were not in the file yet."""

    def run(names=("random", "mboa paper", "gp"), problems=("sphere_4", "tuning"), seeds=2, budgets=(12, 6), workers=1):
        lengths = []

        def progress(courses, total):
            for course in courses:
                lengths.append(len(course.regret))
                yield course

        studies = plan_studies(names, problems, seeds, budgets, most={"gp": 6})
        return run_studies(studies, tmp_path / "benchmark.csv", workers, progress), sorted(lengths)

    return run


def test_every_sampler_problem_seed_and_budget_once(race):
    results, lengths = race()
    assert list(results) == ["sampler", "problem", "seed", "budget", "regret", "ask_ms"]
    # random and MBOA at both budgets, GP at the smaller one alone
    assert len(results) == 2 * 2 * (2 + 2 + 1) and not results.duplicated(KEYS).any()
    assert results.loc[results["sampler"] == "gp", "budget"].unique().tolist() == [6]
    # random is read off the longer study; MBOA, which plans for the end, runs both
    assert lengths == [6] * (4 + 4) + [12] * (4 + 4)
    row = results.query("sampler == 'mboa paper' and problem == 'tuning' and seed == 1 and budget == 6")
    assert row["regret"].item() == run_study("mboa paper", "tuning", 1, 6).regret[-1]
    assert rank_samplers(results).groupby("budget").size().to_dict() == {6: 3, 12: 2}


def test_studies_that_the_file_has_are_not_run_again(race, tmp_path):
    race(seeds=1)
    first = pd.read_csv(tmp_path / "benchmark.csv")
    first[:-1].to_csv(tmp_path / "benchmark.csv", index=False)  # as if stopped before the last study
    results, lengths = race()
    assert lengths == [6] * (4 + 1) + [12] * 4 and len(results) == 20
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "benchmark.csv")[: len(first) - 1], first[:-1])
    fewer, lengths = race(names=("random", "gp"), budgets=(6,))
    assert not lengths and sorted(fewer["sampler"].unique()) == ["gp", "random"] and set(fewer["budget"]) == {6}


def test_processes_find_the_same(race, tmp_path):
    alone, _ = race(("mboa scent",), ("tuning",), budgets=(12,))
    (tmp_path / "benchmark.csv").unlink()
    together, _ = race(("mboa scent",), ("tuning",), budgets=(12,), workers=2)
    pd.testing.assert_frame_equal(together.drop(columns="ask_ms"), alone.drop(columns="ask_ms"))


@pytest.mark.parametrize(
    ("names", "problems", "most", "told"),
    [
        (["mboa"], ["tuning"], {}, "samplers.names=mboa is unknown: use one of mboa literal, mboa paper"),
        (["gp"], ["sphere"], {}, "samplers.problems=sphere is unknown: use one of formulas, tables, sphere_4"),
        (["gp"], ["tuning"], {"bayes": 5}, "samplers.most=bayes is unknown"),
    ],
)
def test_unknown_names_are_refused(names, problems, most, told):
    with pytest.raises(UserError, match=told):
        plan_studies(names, problems, 1, [6], most)
