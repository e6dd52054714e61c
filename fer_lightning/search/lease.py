"""Who works on which trial of a shared search, so that what a killed process left is taken over, by one other alone."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from types import TracebackType

from optuna import Study
from optuna.trial import FrozenTrial, TrialState

log = logging.getLogger(__name__)

OWNER, LEASE = "owner", "lease"  # user attributes of a running trial
_SETTLE = 1.0  # seconds between a claim and its check; longer than a storage needs for a write


class Lease:
    """Holds trials for this process, and renews that in the background while a `with` block lasts.

    A trial carries the name of its owner and the time until which nobody else may take it. Whoever is killed stops
    renewing. The job of a trial renews too: on a cluster it outlives the process that launched it.

    Args:
        study: The search.
        seconds: How long a trial stays claimed after it was renewed last. The clocks of machines that share a search
            must differ by less than half of it.
    """

    def __init__(self, study: Study, seconds: float) -> None:
        self._study = study
        self._storage = study._storage
        self._seconds = seconds
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._held: set[int] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew_until_ended, name="lease", daemon=True)

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def claim(self, trial_id: int) -> None:
        """Makes a trial, known to nobody else or left by its owner, one of this process."""
        self._storage.set_trial_user_attr(trial_id, OWNER, self._owner)
        self.keep(trial_id)

    def keep(self, trial_id: int) -> None:
        """Renews a trial from now on, whoever owns it."""
        self._renew(trial_id)
        self._held.add(trial_id)

    def drop(self, trial_id: int) -> None:
        """Stops renewing a trial, which is finished."""
        self._held.discard(trial_id)

    def give_back(self) -> None:
        """Lets others take what is not finished at once instead of when the lease ends."""
        for trial_id in self._held:
            self._storage.set_trial_user_attr(trial_id, LEASE, 0.0)
        self._held.clear()

    def take_over(self, most: int) -> list[FrozenTrial]:
        """Claims running trials whose owner is gone.

        A claim is written, and read again after a moment: of two processes that claim one trial at the same time, the
        one that wrote last has it.

        Args:
            most: How many at most.

        Returns:
            Those claimed, in the order of their numbers.
        """
        orphans = [trial for trial in self.running_elsewhere() if self._ends(trial) < time.time()][:most]
        if not orphans:
            return []
        for trial in orphans:
            self.claim(trial._trial_id)
        time.sleep(_SETTLE)
        taken = [trial for trial in orphans if self._owner_of(trial._trial_id) == self._owner]
        self._held -= {trial._trial_id for trial in orphans} - {trial._trial_id for trial in taken}
        return taken

    def running_elsewhere(self) -> list[FrozenTrial]:
        """Running trials that this process does not hold."""
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [trial for trial in running if trial._trial_id not in self._held]

    def _ends(self, trial: FrozenTrial) -> float:
        if LEASE in trial.user_attrs:
            return float(trial.user_attrs[LEASE])
        # Asked for this moment, or by a process that was killed before it could claim it.
        return (trial.datetime_start.timestamp() if trial.datetime_start else 0.0) + self._seconds

    def _owner_of(self, trial_id: int) -> str:
        return str(self._storage.get_trial(trial_id).user_attrs[OWNER])

    def _renew(self, trial_id: int) -> None:
        self._storage.set_trial_user_attr(trial_id, LEASE, time.time() + self._seconds)

    def _renew_until_ended(self) -> None:
        while not self._ended.wait(self._seconds / 4):
            for trial_id in list(self._held):
                try:
                    self._renew(trial_id)
                except Exception as error:  # finished meanwhile, or the database is away for a moment
                    log.debug("a lease was not renewed: %s", error)
