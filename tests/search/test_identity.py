from __future__ import annotations

import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from fer_lightning.errors import UserError
from fer_lightning.search.identity import population_of, remember

SPACE = {"lr": FloatDistribution(1e-5, 1e-2, log=True)}
FIXED = ("model=resnet", "seed=1")
SAMPLER = {"_target_": "a.Sampler", "seed": 0, "population": 8, "n_trials": 60}


@pytest.fixture
def study() -> optuna.Study:
    study = optuna.create_study(study_name="mine", direction="minimize")
    remember(study, "minimize", SPACE, FIXED, SAMPLER)
    return study


def test_the_same_search_goes_on(study):
    remember(study, "minimize", dict(SPACE), tuple(reversed(FIXED)), {**SAMPLER, "n_trials": 90})
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
        remember(study, direction, space, fixed, sampler)


def test_a_new_search_has_no_population_yet():
    assert population_of(optuna.create_study()) is None
