from __future__ import annotations

import functools
import pickle
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import HyperbandPruner
from optuna.samplers import RandomSampler, TPESampler
from optuna.search_space import intersection_search_space
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    RelativeSamplerTestCase,
    SingleOnlySamplerTestCase,
)
from optuna.trial import TrialState
from scipy.stats import gmean

from fer_lightning.errors import UserError
from fer_lightning.search.generation import VARIANTS
from fer_lightning.search.mboa import MBOASampler

MIXED = {
    "lr": FloatDistribution(1e-5, 1e-2, log=True),
    "batch": IntDistribution(8, 64, step=8),
    "dropout": FloatDistribution(0.1, 0.5, step=0.05),
    "filters": IntDistribution(8, 32, log=True),
    "model": CategoricalDistribution(["a", "b", "c"]),
    "one": IntDistribution(3, 3),
}


@pytest.fixture(autouse=True)
def _quiet():
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(level)


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> str:
    return request.param


class TestConformance(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    """Optuna's own."""

    @pytest.fixture
    def sampler(self, variant: str) -> Callable[[], MBOASampler]:
        return lambda: MBOASampler(variant=variant, population=3)


def objective(params: dict[str, Any]) -> float:
    return (
        (np.log10(params["lr"]) + 3) ** 2
        + (params["batch"] / 16 - 1.5) ** 2
        + params["dropout"]
        + np.log(params["filters"])
        + "bac".index(params["model"])
    )


def search(study: optuna.Study, n_trials: int) -> None:
    """One trial after the other; every seventh fails, every eleventh is pruned."""
    while len(study.get_trials(deepcopy=False)) < n_trials:
        answer(study, study.ask(MIXED))


def answer(study: optuna.Study, trial: optuna.Trial) -> None:
    if trial.number % 7 == 6:
        study.tell(trial, state=TrialState.FAIL)
    elif trial.number % 11 == 10:
        trial.report(objective(trial.params), 0)
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, objective(trial.params))


def params_of(study: optuna.Study) -> list[dict[str, Any]]:
    return [trial.params for trial in study.trials]


def study_with(sampler: MBOASampler, **options: Any) -> optuna.Study:
    return optuna.create_study(sampler=sampler, **options)


@pytest.fixture
def uninterrupted(variant: str) -> list[dict[str, Any]]:
    study = study_with(MBOASampler(variant=variant, population=4, seed=3))
    search(study, 26)
    return params_of(study)


class TestTheSameSearch:
    @pytest.mark.parametrize("on_disk", [False, True])
    def test_resumed_after_a_kill(self, variant, uninterrupted, tmp_path, on_disk):
        if on_disk and variant != "scent":
            pytest.skip("slow, and the same for every variant")
        storage = f"sqlite:///{tmp_path}/study.db" if on_disk else optuna.storages.InMemoryStorage()
        killed = study_with(MBOASampler(variant=variant, population=4, seed=3), storage=storage, study_name="s")
        search(killed, 9)
        orphan = killed.ask(MIXED)  # trial 9, in the middle of generation 2
        orphan.suggest_float("lr", 1e-5, 1e-2, log=True)
        resumed = optuna.load_study(
            study_name="s", storage=storage, sampler=MBOASampler(variant=variant, population=4, seed=None)
        )
        answer(resumed, optuna.Trial(resumed, resumed.trials[9]._trial_id))
        search(resumed, 14)
        assert params_of(resumed) == uninterrupted[:14]

    def test_generations_at_once_that_finish_in_another_order(self, variant, uninterrupted):
        study = study_with(MBOASampler(variant=variant, population=4, seed=3))
        while len(study.trials) < 24:
            for trial in reversed([study.ask(MIXED) for _ in range(4)]):
                answer(study, trial)
        assert params_of(study) == uninterrupted[:24]

    def test_asked_late(self, variant, uninterrupted):
        """The plan of a generation does not see its own trials, nor later ones."""
        study = study_with(MBOASampler(variant=variant, population=4, seed=3))
        search(study, 26)
        late = MBOASampler(variant=variant, population=4, seed=3)
        for trial in study.trials[4:12]:
            space = late.infer_relative_search_space(study, trial)
            assert space == MIXED
            sampled = late.sample_relative(study, trial, space)
            assert sampled == uninterrupted[trial.number]

    def test_a_new_sampler_for_each_trial(self, variant, uninterrupted):
        study = study_with(MBOASampler(variant=variant, population=4, seed=3))
        while len(study.trials) < 26:
            study.sampler = pickle.loads(pickle.dumps(MBOASampler(variant=variant, population=4, seed=3)))
            search(study, len(study.trials) + 1)
        assert params_of(study) == uninterrupted

    def test_pickled_in_the_middle(self, variant, uninterrupted):
        study = study_with(MBOASampler(variant=variant, population=4, seed=3))
        search(study, 10)
        study.sampler = pickle.loads(pickle.dumps(study.sampler))
        search(study, 26)
        assert params_of(study) == uninterrupted

    def test_told_from_threads(self, variant, uninterrupted):
        study = study_with(MBOASampler(variant=variant, population=4, seed=3))
        with ThreadPoolExecutor(4) as pool:
            while len(study.trials) < 24:
                trials = list(pool.map(lambda _: study.ask(MIXED), range(4)))
                list(pool.map(lambda trial: answer(study, trial), trials))
        assert params_of(study) == uninterrupted[:24]

    def test_upside_down(self, variant, uninterrupted):
        study = study_with(MBOASampler(variant=variant, population=4, seed=3), direction="maximize")
        while len(study.trials) < 26:
            trial = study.ask(MIXED)
            if trial.number % 7 == 6:
                study.tell(trial, state=TrialState.FAIL)
            elif trial.number % 11 == 10:
                study.tell(trial, state=TrialState.PRUNED)
            else:
                study.tell(trial, -objective(trial.params))
        assert params_of(study) == uninterrupted

    def test_another_seed_is_another_search(self, variant, uninterrupted):
        study = study_with(MBOASampler(variant=variant, population=4, seed=4))
        search(study, 26)
        assert not any(params == other for params, other in zip(params_of(study), uninterrupted))


class TestHyperband:
    """Its pruner shows the sampler a study of one bracket only, in which most attributes are forbidden."""

    @pytest.mark.parametrize("batch", [1, 4])
    def test_the_same_search_as_without_a_pruner(self, variant, uninterrupted, batch):
        pruner = HyperbandPruner(min_resource=1, max_resource=27, reduction_factor=3)
        study = study_with(MBOASampler(variant=variant, population=4, seed=3), pruner=pruner)
        while len(study.trials) < 24:
            for trial in [study.ask(MIXED) for _ in range(batch)]:
                trial.report(float(trial.number), 1)
                trial.should_prune()  # asked, so that brackets are formed, but not followed
                answer(study, trial)
        assert len({pruner._get_bracket_id(study, trial) for trial in study.trials}) > 1
        assert params_of(study) == uninterrupted[:24]

    @pytest.mark.parametrize("variant", ["paper"])
    def test_resumed(self, variant, uninterrupted, tmp_path):
        storage = f"sqlite:///{tmp_path}/study.db"
        for n_trials in (6, 14):
            study = optuna.create_study(
                study_name="s",
                storage=storage,
                load_if_exists=True,
                sampler=MBOASampler(variant=variant, population=4, seed=3),
                pruner=HyperbandPruner(max_resource=27),
            )
            search(study, n_trials)
        assert params_of(study) == uninterrupted[:14]
        assert study.user_attrs == {"mboa": {"variant": variant, "population": 4, "seed": 3}}

    def test_a_contradiction_is_told(self):
        study = study_with(MBOASampler(population=4, seed=3), study_name="mine", pruner=HyperbandPruner())
        study.ask(MIXED)
        study.sampler = MBOASampler(population=5, seed=3)
        with pytest.raises(UserError, match="population must be 4, with which the study mine was started"):
            study.ask(MIXED)


class TestUnfinished:
    def test_is_not_waited_for(self, variant):
        study = study_with(MBOASampler(variant=variant, population=4, seed=3))
        trials = [study.ask(MIXED) for _ in range(20)]
        assert all(trial.params.keys() == MIXED.keys() for trial in trials)
        study.tell(trials[1], 1.0)
        assert study.ask(MIXED).params.keys() == MIXED.keys()

    def test_counts_once_it_is_finished(self, variant):
        space = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}
        asked = []
        for seen_running in (False, True):
            study = study_with(MBOASampler(variant=variant, population=4, seed=3))
            last = study.ask()
            for _ in range(3):
                study.tell(study.ask(space), 1.0)
            if seen_running:
                study.ask(space)
            for name in space:
                last.suggest_float(name, 0, 1)
            study.tell(last, -100.0)
            if not seen_running:
                study.ask(space)
            asked.append([study.ask(space).params for _ in range(3)])
        assert asked[0] == asked[1]

    def test_many_jobs(self, variant):
        study = study_with(MBOASampler(variant=variant, population=4))

        def run(trial: optuna.Trial) -> float:
            return trial.suggest_float("x", -1, 1) ** 2 + trial.suggest_int("n", 0, 9)

        study.optimize(run, n_trials=40, n_jobs=2)
        assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 40


class TestObjectives:
    @pytest.mark.parametrize("values", [[1.0], [np.inf], [-np.inf], [np.inf, 1.0, -np.inf], [1e308, -1e308]])
    def test_odd_ones(self, variant, values):
        study = study_with(MBOASampler(variant=variant, population=3, seed=0))
        for number in range(18):
            study.tell(study.ask(MIXED), values[number % len(values)])
        assert all(MIXED[n]._contains(MIXED[n].to_internal_repr(v)) for p in params_of(study) for n, v in p.items())

    def test_never_completed(self, variant):
        study = study_with(MBOASampler(variant=variant, population=3, seed=0))
        for _ in range(9):
            study.tell(study.ask(MIXED), state=TrialState.FAIL)
        assert len({tuple(params.values()) for params in params_of(study)}) == 9

    def test_a_pruned_trial_is_not_accepted(self):
        study = study_with(MBOASampler(variant="literal", population=2, seed=0))
        space = {"x": FloatDistribution(0, 1)}
        for state, value in ((TrialState.COMPLETE, 2.0), (TrialState.COMPLETE, 1.0), (TrialState.PRUNED, None)):
            trial = study.ask(space)
            if value is None:
                trial.report(-9.0, 0)
            study.tell(trial, value, state=state)
        study.tell(study.ask(space), 5.0)
        # Generation 2 goes from trials 0 and 1 along themselves, all else being worse or not completed.
        r = np.random.default_rng([0, 2])
        r.random((2, 1, 2)), r.random((2, 3, 1))
        shares = r.random((2, 1))
        for bobcat in range(2):
            x = study.trials[bobcat].params["x"]
            expected = min(max(x + (1 - 2 * shares[bobcat, 0]) / 2 * x, 0), 1)
            assert study.ask(space).params["x"] == pytest.approx(expected)


class TestSpaces:
    def test_no_parameters(self, variant):
        study = study_with(MBOASampler(variant=variant, population=2))
        study.optimize(lambda trial: 1.0, n_trials=6)
        assert params_of(study) == [{}] * 6

    def test_a_parameter_that_comes_later(self, variant):
        study = study_with(MBOASampler(variant=variant, population=3, seed=0))

        def run(trial: optuna.Trial) -> float:
            value = trial.suggest_float("x", 0, 1)
            return value + (trial.suggest_float("y", 0, 1) if trial.number > 7 else 0)

        study.optimize(run, n_trials=15)
        assert len(study.trials) == 15

    def test_is_what_completed_trials_of_earlier_generations_share(self, variant):
        """Parameters come and go, a range changes, two generations fail and one trial ends late."""
        sampler = MBOASampler(variant=variant, population=3, seed=0)
        study = study_with(sampler)
        for number in range(45):
            trial = study.ask()
            earlier = study.trials[: number // 3 * 3]
            shared = sampler.infer_relative_search_space(study, study.trials[number])
            assert shared == intersection_search_space(earlier)
            trial.suggest_float("x", 0, 1 if number < 34 else 2)
            if number != 20:
                trial.suggest_int("n", 0, 9)
            if number > 5:
                trial.suggest_float("y", 0, 1)
            if number == 20:
                late = trial
            elif number < 6:
                study.tell(trial, state=TrialState.FAIL)
            else:
                study.tell(trial, trial.params["x"])
            if number == 25:
                study.tell(late, 0.5)

    def test_generation_0_is_a_latin_hypercube_without_any_space_known(self):
        study = study_with(MBOASampler(population=8, seed=0))
        study.optimize(lambda t: t.suggest_float("x", 0, 8) + t.suggest_float("y", 1, 2**8, log=True), n_trials=8)
        assert sorted(int(p["x"]) for p in params_of(study)) == list(range(8))
        assert sorted(int(np.log2(p["y"])) for p in params_of(study)) == list(range(8))

    @pytest.mark.parametrize("variant", ["paper", "scent", "surrogate"])
    def test_nothing_is_trained_twice(self, variant):
        """12 points, 4 of them scattered over at most, and 8 more trials."""
        space = {"x": IntDistribution(1, 4), "model": CategoricalDistribution(["a", "b", "c"])}
        study = study_with(MBOASampler(variant=variant, population=4, seed=1, candidates=200))
        for _ in range(8):
            trial = study.ask(space)
            study.tell(trial, trial.params["x"])
        later = [tuple(params.values()) for params in params_of(study)[4:]]
        first = {tuple(params.values()) for params in params_of(study)[:4]}
        assert len(set(later)) == 4
        assert not first & set(later)

    def test_multi_objective(self, variant):
        study = study_with(MBOASampler(variant=variant), directions=["minimize", "maximize"])
        with pytest.raises(ValueError, match="multi-objective"):
            study.ask(MIXED)


class TestAgreement:
    def test_what_a_study_keeps(self):
        study = study_with(MBOASampler(variant="scent", n_trials=60, seed=5))
        study.ask(MIXED)
        assert study.user_attrs == {"mboa": {"variant": "scent", "population": 8, "seed": 5}}

    def test_a_variant_that_has_changed_keeps_its_version(self, caplog):
        study = study_with(MBOASampler(variant="surrogate", n_trials=60, seed=5))
        study.ask(MIXED)
        begun = {"variant": "surrogate", "population": 4, "seed": 5}
        assert study.user_attrs == {"mboa": {**begun, "version": 2}}
        study.sampler = MBOASampler(**begun)
        study.ask(MIXED)
        assert not caplog.messages
        study.set_user_attr("mboa", begun)  # as the first version stored it
        study.sampler = MBOASampler(**begun)
        study.ask(MIXED)
        assert "was started with version 1 of variant=surrogate; version 2 proposes" in caplog.text

    @pytest.mark.parametrize(
        ("changed", "told"),
        [({"seed": 6}, "seed=5"), ({"population": 9}, "population=8"), ({"variant": "literal"}, "variant=scent")],
    )
    def test_a_contradiction_is_refused(self, changed, told):
        begun = {"variant": "scent", "population": 8, "seed": 5}
        study = study_with(MBOASampler(**begun))
        study.ask(MIXED)
        study.sampler = MBOASampler(**{**begun, **changed})
        with pytest.raises(UserError, match=told):
            study.ask(MIXED)

    def test_a_drawn_seed_is_kept(self):
        study = study_with(MBOASampler(population=4))
        study.ask(MIXED)
        seed = study.user_attrs["mboa"]["seed"]
        study.sampler = MBOASampler(population=4)
        assert study.sampler._drawn != seed
        again = study_with(MBOASampler(population=4, seed=seed))
        again.ask(MIXED)
        assert study.ask(MIXED).params == again.ask(MIXED).params

    def test_one_sampler_for_two_studies(self):
        sampler = MBOASampler(population=4, seed=3)
        studies = [study_with(sampler) for _ in range(2)]
        for _ in range(10):
            for study in studies:
                answer(study, study.ask(MIXED))
        alone = study_with(MBOASampler(population=4, seed=3))
        search(alone, 10)
        assert params_of(studies[0]) == params_of(studies[1]) == params_of(alone)


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ({"variant": "best"}, "variant=best is unknown: use one of boa, literal, paper, scent, surrogate"),
            ({"gamma": "both"}, "gamma=both is unknown: use one of dimension, prey"),
            ({"weight": "cosine"}, "weight=cosine is unknown: use one of inverse, linear, constant"),
            ({"population": "many"}, "population=many is unknown: use one of auto"),
            ({"population": 1}, "population must be at least 2; got 1"),
            ({"num_prey": 0}, "num_prey must be at least 1; got 0"),
            ({"candidates": 0}, "candidates must be at least 1; got 0"),
            ({"n_trials": 0}, "n_trials must be at least 1; got 0"),
            ({"seed": -1}, "seed must be at least 0; got -1"),
            ({"weight": "linear"}, "n_trials"),
        ],
    )
    def test_a_mistake_is_told(self, options, told):
        with pytest.raises(UserError, match=told):
            MBOASampler(**options)

    def test_population(self):
        assert MBOASampler(n_trials=60).population == 8
        assert MBOASampler(variant="surrogate", n_trials=60).population == 4
        assert MBOASampler(population=10, n_trials=60).population == 10
        assert MBOASampler().population == 20

    @pytest.mark.parametrize(("n_trials", "iterations"), [(1, 1), (40, 1), (60, 1), (61, 2), (100, 2), (2420, 60)])
    def test_iterations(self, n_trials, iterations):
        """20 bobcats: 20 trials to scatter, then 40 for each iteration, of which the last may be cut short."""
        assert MBOASampler(population=20, n_trials=n_trials)._rules.iterations == iterations

    @pytest.mark.parametrize(
        "option", [{"weight": "constant"}, {"weight": "linear"}, {"gamma": "prey"}, {"num_prey": 1}]
    )
    def test_each_changes_the_search(self, option):
        asked = []
        for options in ({}, option):
            study = study_with(MBOASampler(population=4, n_trials=99, seed=3, **options))
            search(study, 8)
            asked.append(params_of(study))
        assert asked[0][:4] == asked[1][:4]
        assert asked[0][4:] != asked[1][4:]


@functools.cache
def regret(variant: str) -> float:
    """Geometric mean, over 20 seeds, of the best of 100 trials on a sphere; single searches differ up to tenfold."""
    space = {f"x{j}": FloatDistribution(-5, 5) for j in range(8)}
    best = []
    for seed in range(20):
        random = variant == "random"
        sampler = RandomSampler(seed) if random else MBOASampler(variant=variant, population=8, seed=seed)
        study = optuna.create_study(sampler=sampler)
        for _ in range(100):
            trial = study.ask(space)
            study.tell(trial, sum((x - 1.3) ** 2 for x in trial.params.values()))
        best.append(study.best_value)
    return float(gmean(best))


def test_it_beats_random_on_a_sphere(variant):
    """Over other seeds `boa` is 1.8 times better, `literal` 2.3, `paper` 4.7 and `scent` 18."""
    assert regret(variant) < regret("random") / (2 if variant in ("paper", "scent", "surrogate") else 1)


@pytest.mark.parametrize("variant", ["paper", "scent", "surrogate"])
def test_asking_costs_little(variant):
    """About 1 ms on average over the last five generations of 1,200 trials of four parameters; TPE takes some 15 ms."""
    study = optuna.create_study(sampler=MBOASampler(variant=variant, seed=0))

    def spent() -> float:
        start = time.process_time()
        trial = study.ask()
        x = [trial.suggest_float(f"x{j}", -5, 5) for j in range(4)]
        seconds = time.process_time() - start
        study.tell(trial, sum((v - 1) ** 2 for v in x))
        return seconds

    ours = np.mean([spent() for _ in range(1200)][-100:])
    study.sampler = TPESampler(seed=0)
    tpe = np.mean([spent() for _ in range(10)])
    print(f"\n{variant}: {1e3 * ours:.2f} ms, TPE {1e3 * tpe:.2f} ms")
    assert ours < 3e-3
    assert ours < tpe / 4
