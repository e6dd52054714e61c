"""Who works on which trial of a shared search, so that what a killed process left is taken over, by one other alone."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from contextlib import suppress
from types import TracebackType

from optuna import Study
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

log = logging.getLogger(__name__)

OWNER, LEASE = "owner", "lease"  # user attributes of a running trial
_SOON = 0.5  # seconds between the sight of a free trial and a claim that counts


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
        self._claimed: set[int] = set()
        self._unclaimed: dict[int, float] = {}  # when a trial without an owner was first seen here
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
        # What was claimed and is not finished may be taken at once, without waiting for the lease to end.
        for trial_id in self._claimed & self._held:
            with suppress(UpdateFinishedTrialError):
                self._storage.set_trial_user_attr(trial_id, LEASE, 0.0)

    def claim(self, trial_id: int) -> None:
        """Makes a trial, known to nobody else or left by its owner, one of this process."""
        self._storage.set_trial_user_attr(trial_id, OWNER, self._owner)
        self._claimed.add(trial_id)
        self.keep(trial_id)

    def keep(self, trial_id: int) -> None:
        """Renews a trial from now on, whoever owns it."""
        self._renew(trial_id)
        self._held.add(trial_id)

    def drop(self, trial_id: int) -> None:
        """Stops renewing a trial, which is finished."""
        self._held.discard(trial_id)

    def take_over(self, most: int) -> list[FrozenTrial]:
        """Claims running trials whose owner is gone.

        A claim is written soon after the trial was seen to be free, and read again later than any other claim could
        still be written that was made on the same sight: of two processes that claim one trial at the same time, the
        one that wrote last has it.

        Args:
            most: How many at most.

        Returns:
            Those claimed, in the order of their numbers.
        """
        orphans = [trial for trial in self.running_elsewhere() if self._is_free(trial)][:most]
        claimed = [trial for trial in orphans if self._claim_in_time(trial._trial_id)]
        if not claimed:
            return []
        time.sleep(2 * _SOON)
        taken = [trial for trial in claimed if self._owner_of(trial._trial_id) == self._owner]
        self._held -= {trial._trial_id for trial in claimed} - {trial._trial_id for trial in taken}
        return taken

    def running_elsewhere(self) -> list[FrozenTrial]:
        """Running trials that this process does not hold."""
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [trial for trial in running if trial._trial_id not in self._held]

    def _is_free(self, trial: FrozenTrial) -> bool:
        if LEASE in trial.user_attrs:
            return float(trial.user_attrs[LEASE]) < time.time()
        # Asked for this moment, or by a process that was killed before it could claim it.
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
        self._held.discard(trial_id)  # the storage was slow: somebody else may be at work; free again after a lease
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
                except Exception as error:  # finished meanwhile, or the database is away for a moment
                    log.debug("a lease was not renewed: %s", error)
