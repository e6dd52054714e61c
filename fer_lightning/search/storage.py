"""Storage of the trials and the definition of a search, which several processes and machines can share.

A search is resumed only with the same definition. A trial belongs to one process at a time; that of a killed process is
taken over by exactly one other.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
from optuna import Study
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.exceptions import UpdateFinishedTrialError
from optuna.pruners import BasePruner
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from fer_lightning.errors import UserError
from fer_lightning.training.registry import with_present_names

_PATIENCE = 60.0  # seconds to wait for another process that writes to the same SQLite file
_ATTEMPTS = 5
SPACE, FIXED, SAMPLER, PRUNER = "space", "fixed", "sampler", "pruner"  # user attributes of a study
log = logging.getLogger(__name__)
OWNER, LEASE = "owner", "lease"  # user attributes of a running trial
_SOON = 0.5  # most seconds between finding a free trial and a valid claim
LAUNCHED_BY = "FER_TRIAL_OWNER"  # environment variable of the job of a trial


def open_storage(place: str | None, folder: Path, *, option: str = "hydra.sweeper.storage=") -> BaseStorage:
    """Opens or creates the storage of a search.

    Args:
        place: URL of a database, such as `postgresql://user@host/name`; path of a journal file, which also works on
            a network drive; or None for an SQLite file in `folder`.
        folder: Folder of the sweep.
        option: Name of the option or variable with the place, including `=`, for messages.

    Raises:
        UserError: The database cannot be reached, or no driver for it is installed.
    """
    if place is None:
        place = f"sqlite:///{(folder / 'study.db').resolve()}"
    if "://" not in place:
        path = Path(place)
        path.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(path)))
    local = place.startswith("sqlite:")
    options = {"connect_args": {"timeout": _PATIENCE}} if local else {"pool_pre_ping": True}
    # If two processes start at the same time, both create the tables and one of them fails.
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return RDBStorage(place, engine_kwargs=options)
        except (ImportError, NoSuchModuleError, ArgumentError, ValueError) as error:
            raise UserError(
                f"{option}{_shown(place)} must be a storage that can be opened here: {_first_line(error)}."
            ) from error
        except SQLAlchemyError as error:
            if attempt == _ATTEMPTS:
                raise UserError(f"{option}{_shown(place)} cannot be reached: {_first_line(error)}.") from error
            time.sleep(0.2 * attempt)
    raise AssertionError("unreachable")


def _shown(place: str) -> str:
    """URL without user and password, which must not be logged."""
    scheme, _, rest = place.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _first_line(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    return " ".join(str(cause).split("\n")[0].split()).rstrip(".")


def remember(
    study: Study,
    direction: str,
    space: Mapping[str, BaseDistribution],
    fixed: Sequence[str],
    sampler: Mapping[str, Any],
    pruner: Mapping[str, Any],
) -> None:
    """Stores the definition of a search in its study, or compares it with that of a study that has completed trials.

    Args:
        study: New or resumed study.
        direction: `minimize` or `maximize`.
        space: Distribution of each searched option.
        fixed: Overrides that all trials share.
        sampler: Config of the sampler, as plain values; the number of trials may change.
        pruner: Config of the pruner, as plain values.

    Raises:
        UserError: The study has another definition.
    """
    now: dict[str, Any] = {
        SPACE: {key: distribution_to_json(value) for key, value in space.items()},
        FIXED: sorted(fixed),
        SAMPLER: {key: value for key, value in sampler.items() if key != "n_trials"},
        PRUNER: dict(pruner),
    }
    if study.direction.name.lower() != direction:
        raise _contradiction(study, f"it would {study.direction.name.lower()}")
    # Without completed trials, the definition may still be corrected.
    completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    was = {key: with_present_names(study.user_attrs.get(key, now[key])) for key in now} if completed else now
    if was[SPACE] != now[SPACE]:
        raise _contradiction(study, f"it searches {', '.join(was[SPACE])} in other ranges or with other options")
    if was[FIXED] != now[FIXED]:
        raise _contradiction(study, f"its trials share {' '.join(was[FIXED]) or 'no options'}")
    for key in (SAMPLER, PRUNER):
        if was[key] != now[key]:
            differing = [name for name in {**was[key], **now[key]} if was[key].get(name) != now[key].get(name)]
            values = " ".join(f"{name}={was[key].get(name)}" for name in differing)
            raise _contradiction(study, f"its {key} has {values}")
    for key in now:
        if study.user_attrs.get(key) != now[key]:
            study.set_user_attr(key, now[key])


def population_of(study: Study) -> int | None:
    """Population size of a resumed search; None for a new one."""
    return study.user_attrs.get(SAMPLER, {}).get("population")


def _contradiction(study: Study, difference: str) -> UserError:
    return UserError(
        f"the search {study.study_name} exists already with another definition ({difference}): repeat the "
        "command that started it, use another hydra.sweep.dir, or delete its folder."
    )


@contextmanager
def keep_trial(
    number: int, name: str, place: str | None, folder: Path, pruner: BasePruner, seconds: float
) -> Iterator[tuple[Study, int]]:
    """Keeps trial `number` of the search `name` claimed for this process as long as the block lasts.

    Yields:
        The search, and the id of the trial in its storage.

    Raises:
        UserError: This job waited in the queue of a cluster until another process had taken over its trial.
    """
    storage = open_storage(place, folder)
    # Nothing is drawn here.
    study = optuna.load_study(study_name=name, storage=storage, sampler=RandomSampler(), pruner=pruner)
    trial_id = study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
    try:
        owner = storage.get_trial(trial_id).user_attrs.get(OWNER)
        if owner != os.environ.get(LAUNCHED_BY, owner):
            raise UserError(f"trial {number} must be run by the process that took it over, {owner}; this job ends.")
        with Lease(study, seconds) as lease:
            lease.keep(trial_id)
            yield study, trial_id
    finally:
        if isinstance(storage, RDBStorage):
            storage.engine.dispose()


class Lease:
    """Context manager that claims trials for this process and renews the claims in the background.

    A trial stores its owner and the time until which no other process may take it over; a killed process stops
    renewing it. The job of a trial renews it too, because on a cluster it may outlive the process that launched it.

    Args:
        study: The search.
        seconds: Duration of a claim after its last renewal. The clocks of machines that share a search must differ by
            less than half of it.
        outlived: Whether the jobs of the trials may outlive this process.
    """

    def __init__(self, study: Study, seconds: float, outlived: bool = False) -> None:
        self._study = study
        self._storage = study._storage
        self._seconds = seconds
        self._outlived = outlived
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._held: set[int] = set()
        self._claimed: set[int] = set()
        self._unclaimed: dict[int, float] = {}  # time at which a trial without an owner was first seen
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew_until_ended, name="lease", daemon=True)

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()
        # Claimed and unfinished trials can be taken over before the lease ends: once a job would have renewed it.
        free_from = time.time() + self._seconds / 2 if self._outlived else 0.0
        for trial_id in self._claimed & self._held:
            with suppress(UpdateFinishedTrialError):
                self._storage.set_trial_user_attr(trial_id, LEASE, free_from)

    def claim(self, trial_id: int) -> None:
        """Claims a new or abandoned trial for this process."""
        self._storage.set_trial_user_attr(trial_id, OWNER, self.owner)
        self._claimed.add(trial_id)
        self.keep(trial_id)

    def keep(self, trial_id: int) -> None:
        """Renews a trial from now on, also if another process owns it."""
        self._renew(trial_id)
        self._held.add(trial_id)

    def drop(self, trial_id: int) -> None:
        """Stops renewing a finished trial."""
        self._held.discard(trial_id)

    def take_over(self, most: int) -> list[FrozenTrial]:
        """Claims running trials whose owner has ended.

        A claim is written within `_SOON` after the trial was found free, and read again after `2 * _SOON`, when no
        other process can still write a claim: of two processes that claim a trial at once, the last writer gets it.

        Args:
            most: Largest number of trials to claim.

        Returns:
            The claimed trials, in the order of their numbers.
        """
        orphans = [trial for trial in self.running_of_others() if self._is_free(trial)][:most]
        claimed = [trial for trial in orphans if self._claim_in_time(trial._trial_id)]
        if not claimed:
            return []
        time.sleep(2 * _SOON)
        taken = [trial for trial in claimed if self._owner_of(trial._trial_id) == self.owner]
        self._held -= {trial._trial_id for trial in claimed} - {trial._trial_id for trial in taken}
        return taken

    def running_of_others(self) -> list[FrozenTrial]:
        """Running trials that this process does not hold."""
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [trial for trial in running if trial._trial_id not in self._held]

    def _is_free(self, trial: FrozenTrial) -> bool:
        if LEASE in trial.user_attrs:
            return float(trial.user_attrs[LEASE]) < time.time()
        # Just created, or created by a process that was killed before claiming it.
        first_seen = self._unclaimed.setdefault(trial._trial_id, time.monotonic())
        return time.monotonic() > first_seen + self._seconds

    def _claim_in_time(self, trial_id: int) -> bool:
        seen = time.monotonic()
        trial = self._storage.get_trial(trial_id)
        if trial.state != TrialState.RUNNING or not self._is_free(trial):
            return False
        try:
            self.claim(trial_id)
        except UpdateFinishedTrialError:
            return False
        if time.monotonic() - seen < _SOON:
            return True
        # Slow storage: another process may have claimed it. It is free again after a lease.
        self._held.discard(trial_id)
        return False

    def _owner_of(self, trial_id: int) -> str:
        return str(self._storage.get_trial(trial_id).user_attrs[OWNER])

    def _renew(self, trial_id: int) -> None:
        self._storage.set_trial_user_attr(trial_id, LEASE, time.time() + self._seconds)

    def _renew_until_ended(self) -> None:
        while not self._ended.wait(self._seconds / 4):
            for trial_id in list(self._held):
                try:
                    self._renew(trial_id)
                except Exception as error:  # finished meanwhile, or the database is temporarily unavailable
                    log.debug("a lease was not renewed: %s", error)
