from __future__ import annotations

from functools import partial

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.samplers import CmaEsSampler, GPSampler, RandomSampler, TPESampler

from fer_lightning.search.resumable import RepeatableSampler

SPACE = {"x": FloatDistribution(-1, 1), "y": FloatDistribution(-1, 1)}
SAMPLERS = [RandomSampler, TPESampler, CmaEsSampler, partial(GPSampler, n_startup_trials=4)]


def run(study: optuna.Study, trials: int) -> list[dict[str, float]]:
    for _ in range(trials):
        trial = study.ask(SPACE)
        study.tell(trial, trial.params["x"] ** 2 + trial.params["y"])
    return [trial.params for trial in study.trials]


def study_of(make, storage, seed: int = 7) -> optuna.Study:
    sampler = RepeatableSampler(make, seed)
    return optuna.create_study(storage=storage, sampler=sampler, study_name="s", load_if_exists=True)


@pytest.mark.parametrize("make", SAMPLERS)
def test_a_stopped_search_goes_on_as_if_it_had_not_stopped(make):
    whole = run(study_of(make, optuna.storages.InMemoryStorage()), 14)
    stopped = optuna.storages.InMemoryStorage()
    run(study_of(make, stopped), 3)
    run(study_of(make, stopped), 5)
    assert run(study_of(make, stopped), 6) == whole
    assert len({params["x"] for params in whole}) > 8  # a GP likes corners


def test_two_processes_with_one_seed_draw_different_trials():
    storage = optuna.storages.InMemoryStorage()
    one, other = study_of(RandomSampler, storage), study_of(RandomSampler, storage)
    trials = [study.ask(SPACE) for study in (one, other, one, other)]
    assert len({trial.params["x"] for trial in trials}) == 4


def test_the_seed_decides():
    first, again, other = (run(study_of(TPESampler, optuna.storages.InMemoryStorage(), s), 3) for s in (1, 1, 2))
    assert first == again != other
