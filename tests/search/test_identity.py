from __future__ import annotations

import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from fer_lightning.errors import UserError
from fer_lightning.search.identity import remember

SPACE = {"lr": FloatDistribution(1e-5, 1e-2, log=True)}
FIXED = ("model=resnet", "seed=1")


@pytest.fixture
def study() -> optuna.Study:
    study = optuna.create_study(study_name="mine", direction="minimize")
    remember(study, "minimize", SPACE, FIXED)
    return study


def test_the_same_search_goes_on(study):
    remember(study, "minimize", dict(SPACE), tuple(reversed(FIXED)))


@pytest.mark.parametrize(
    ("direction", "space", "fixed", "told"),
    [
        ("maximize", SPACE, FIXED, "minimize"),
        ("minimize", {"lr": FloatDistribution(1e-5, 1e-1, log=True)}, FIXED, "searches lr in other ranges"),
        ("minimize", {**SPACE, "size": IntDistribution(1, 2)}, FIXED, "searches lr in other ranges"),
        ("minimize", SPACE, ("model=vit", "seed=1"), "share model=resnet seed=1"),
        ("minimize", SPACE, ("model=resnet",), "share model=resnet seed=1"),
    ],
)
def test_another_search_is_refused(study, direction, space, fixed, told):
    with pytest.raises(UserError, match=f"the search mine exists already.*{told}"):
        remember(study, direction, space, fixed)
