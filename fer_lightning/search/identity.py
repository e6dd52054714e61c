"""What a search is: a stopped one may only go on as what it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.trial import TrialState

from fer_lightning.errors import UserError

SPACE, FIXED, SAMPLER, PRUNER = "space", "fixed", "sampler", "pruner"  # user attributes of a study


def remember(
    study: Study,
    direction: str,
    space: Mapping[str, BaseDistribution],
    fixed: Sequence[str],
    sampler: Mapping[str, Any],
    pruner: Mapping[str, Any],
) -> None:
    """Writes into a study what is searched, or compares a study that has found something already.

    Args:
        study: New, or to be continued.
        direction: `minimize` or `maximize`.
        space: The distribution of each option that is searched.
        fixed: Overrides that all trials share.
        sampler: Config of the sampler, as plain values. The number of trials does not count: a search may get more.
        pruner: Config of the pruner, as plain values.

    Raises:
        UserError: The study searches something else.
    """
    now: dict[str, Any] = {
        SPACE: {key: distribution_to_json(value) for key, value in space.items()},
        FIXED: sorted(fixed),
        SAMPLER: {key: value for key, value in sampler.items() if key != "n_trials"},
        PRUNER: dict(pruner),
    }
    if study.direction.name.lower() != direction:
        raise _contradiction(study, f"it would {study.direction.name.lower()}")
    # A first command with a mistake in it may be mended where it stands.
    found = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    was = {key: study.user_attrs.get(key, now[key]) for key in now} if found else now
    if was[SPACE] != now[SPACE]:
        raise _contradiction(study, f"it searches {', '.join(was[SPACE])} in other ranges or with other options")
    if was[FIXED] != now[FIXED]:
        raise _contradiction(study, f"its trials share {' '.join(was[FIXED]) or 'no options'}")
    for key in (SAMPLER, PRUNER):
        if was[key] != now[key]:
            differing = [name for name in {**was[key], **now[key]} if was[key].get(name) != now[key].get(name)]
            told = " ".join(f"{name}={was[key].get(name)}" for name in differing)
            raise _contradiction(study, f"its {key} has {told}")
    for key in now:
        if study.user_attrs.get(key) != now[key]:
            study.set_user_attr(key, now[key])


def population_of(study: Study) -> int | None:
    """Trials of a generation in a search that was started before; None in a new one."""
    return study.user_attrs.get(SAMPLER, {}).get("population")


def _contradiction(study: Study, told: str) -> UserError:
    return UserError(
        f"the search {study.study_name} exists already and is another one ({told}): repeat the command that started "
        "it, give this one a hydra.sweep.dir of its own, or delete the folder of the old one."
    )
