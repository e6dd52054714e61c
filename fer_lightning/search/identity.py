"""What a search is: a stopped one may only go on as what it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from optuna import Study
from optuna.distributions import BaseDistribution, distribution_to_json

from fer_lightning.errors import UserError

SPACE, FIXED = "space", "fixed"  # user attributes of a study


def remember(study: Study, direction: str, space: Mapping[str, BaseDistribution], fixed: Sequence[str]) -> None:
    """Writes into a study what is searched, or compares a study that has it already.

    Args:
        study: New, or to be continued.
        direction: `minimize` or `maximize`.
        space: The distribution of each option that is searched.
        fixed: Overrides that all trials share.

    Raises:
        UserError: The study searches something else.
    """
    now = {SPACE: {key: distribution_to_json(value) for key, value in space.items()}, FIXED: sorted(fixed)}
    was = {key: study.user_attrs.get(key, now[key]) for key in now}
    if study.direction.name.lower() != direction:
        raise _contradiction(study, f"it would {study.direction.name.lower()}")
    if was[SPACE] != now[SPACE]:
        raise _contradiction(study, f"it searches {', '.join(was[SPACE])} in other ranges or with other options")
    if was[FIXED] != now[FIXED]:
        raise _contradiction(study, f"its trials share {' '.join(was[FIXED]) or 'no options'}")
    for key in now.keys() - study.user_attrs.keys():
        study.set_user_attr(key, now[key])


def _contradiction(study: Study, told: str) -> UserError:
    return UserError(
        f"the search {study.study_name} exists already and is another one ({told}): repeat the command that started it, "
        "or give this one a hydra.sweep.dir of its own."
    )
