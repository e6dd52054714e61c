from __future__ import annotations

import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from fer_lightning.errors import UserError
from fer_lightning.search.identity import population_of, remember

SPACE = {"lr": FloatDistribution(1e-5, 1e-2, log=True)}
FIXED = ("model=resnet", "seed=1")
SAMPLER = {"_target_": "a.Sampler", "seed": 0, "population": 8, "n_trials": 60}
PRUNER = {"_target_": "a.Pruner"}


@pytest.fixture
def study() -> optuna.Study:
    study = optuna.create_study(study_name="mine", direction="minimize")
    remember(study, "minimize", SPACE, FIXED, SAMPLER, PRUNER)
    study.add_trial(optuna.trial.create_trial(value=1.0, params={"lr": 1e-3}, distributions=SPACE))
    return study


def test_the_same_search_goes_on(study):
    remember(study, "minimize", dict(SPACE), tuple(reversed(FIXED)), {**SAMPLER, "n_trials": 90}, PRUNER)
    assert population_of(study) == 8


@pytest.mark.parametrize(
    ("direction", "space", "fixed", "sampler", "told"),
    [
        ("maximize", SPACE, FIXED, SAMPLER, "minimize"),
        ("minimize", {"lr": FloatDistribution(1e-5, 1e-1, log=True)}, FIXED, SAMPLER, "searches lr in other ranges"),
        ("minimize", {**SPACE, "size": IntDistribution(1, 2)}, FIXED, SAMPLER, "searches lr in other ranges"),
        ("minimize", SPACE, ("model=vit", "seed=1"), SAMPLER, "share model=resnet seed=1"),
        ("minimize", SPACE, ("model=resnet",), SAMPLER, "share model=resnet seed=1"),
        ("minimize", SPACE, FIXED, {**SAMPLER, "seed": 1}, "its sampler has seed=0"),
        ("minimize", SPACE, FIXED, {"_target_": "b.Sampler", "seed": 0, "population": 8}, "_target_=a.Sampler"),
    ],
)
def test_another_search_is_refused(study, direction, space, fixed, sampler, told):
    with pytest.raises(UserError, match=f"the search mine exists already.*{told}"):
        remember(study, direction, space, fixed, sampler, PRUNER)


def test_a_new_search_has_no_population_yet():
    assert population_of(optuna.create_study()) is None


def test_another_pruner_is_refused(study):
    with pytest.raises(UserError, match=r"its pruner has _target_=a\.Pruner"):
        remember(study, "minimize", SPACE, FIXED, SAMPLER, {"_target_": "b.Pruner"})


def test_what_only_the_new_sampler_has_is_named(study):
    with pytest.raises(UserError, match="its sampler has gamma=None"):
        remember(study, "minimize", SPACE, FIXED, {**SAMPLER, "gamma": 1}, PRUNER)


def test_a_first_command_that_found_nothing_may_be_mended():
    study = optuna.create_study()
    remember(study, "minimize", SPACE, ("data.root=/wrong",), SAMPLER, PRUNER)
    study.tell(study.ask(), state=optuna.trial.TrialState.FAIL)
    remember(study, "minimize", SPACE, ("data.root=/right",), SAMPLER, PRUNER)
    assert study.user_attrs["fixed"] == ["data.root=/right"]
