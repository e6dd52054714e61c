from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from optuna.pruners import NopPruner
from optuna.trial import TrialState

from fer_lightning.errors import UserError
from fer_lightning.search import storage as module
from fer_lightning.search.storage import LAUNCHED_BY, LEASE, OWNER, Lease, keep_trial, open_storage


@pytest.fixture(autouse=True)
def short_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SOON", 0.2)


@pytest.fixture
def study() -> optuna.Study:
    return optuna.create_study()


def attribute(study: optuna.Study, trial_id: int, name: str) -> object:
    return study._storage.get_trial(trial_id).user_attrs[name]


def test_a_claimed_trial_is_renewed_and_not_taken(study):
    mine, other = Lease(study, 1.5), Lease(study, 1.5)
    trial = study.ask()
    with mine:
        mine.claim(trial._trial_id)
        for _ in range(8):
            time.sleep(0.4)  # twice the lease in all
            assert other.take_over(5) == []
        assert [each.number for each in other.running_of_others()] == [0]
        assert mine.running_of_others() == []


def test_what_is_no_longer_renewed_is_taken_by_one(study):
    dead, first, second = Lease(study, 1.0), Lease(study, 1.0), Lease(study, 60)
    trial = study.ask()
    dead.claim(trial._trial_id)  # its thread was never started, as if it were killed
    assert first.take_over(5) == []
    time.sleep(1.1)
    assert [each.number for each in first.take_over(5)] == [0]
    assert second.take_over(5) == []
    assert attribute(study, trial._trial_id, OWNER) == first.owner


def test_of_two_claims_at_once_the_last_one_counts(study, monkeypatch):
    first, second = Lease(study, 60), Lease(study, 60)
    trial = study.ask()
    first.claim(trial._trial_id)
    first.drop(trial._trial_id)
    study._storage.set_trial_user_attr(trial._trial_id, LEASE, 0.0)
    # What happens while the first one waits for its claim to settle.
    monkeypatch.setattr(module.time, "sleep", lambda seconds: second.claim(trial._trial_id))
    assert first.take_over(1) == []
    assert [each.number for each in first.running_of_others()] == [0]
    assert second.running_of_others() == []


def test_a_claim_that_took_too_long_does_not_count(study, monkeypatch):
    lease = Lease(study, 0.3)
    study._storage.set_trial_user_attr(study.ask()._trial_id, LEASE, 0.0)
    write = study._storage.set_trial_user_attr

    def slow_write(trial_id: int, key: str, value: object) -> None:
        time.sleep(0.15)
        write(trial_id, key, value)

    monkeypatch.setattr(study._storage, "set_trial_user_attr", slow_write)
    assert lease.take_over(1) == []
    assert len(lease.running_of_others()) == 1
    monkeypatch.setattr(study._storage, "set_trial_user_attr", write)
    time.sleep(0.4)
    assert len(lease.take_over(1)) == 1


def test_a_trial_that_ends_meanwhile_is_nobodys(study, monkeypatch):
    lease = Lease(study, 60)
    trial = study.ask()
    study._storage.set_trial_user_attr(trial._trial_id, LEASE, 0.0)
    running = lease.running_of_others()
    study.tell(trial, 1.0)
    monkeypatch.setattr(lease, "running_of_others", lambda: running)
    assert lease.take_over(1) == []


def test_what_is_not_finished_may_be_taken_as_soon_as_its_owner_ends(study):
    second = Lease(study, 60)
    with pytest.raises(KeyboardInterrupt), Lease(study, 60) as first:
        for trial_id in [study.ask()._trial_id for _ in range(4)]:
            first.claim(trial_id)
        first.drop(1)
        study.tell(1, 0.0)
        study.tell(2, 0.0)  # told, but not dropped yet
        raise KeyboardInterrupt
    assert [trial.number for trial in second.take_over(1)] == [0]
    assert [trial.number for trial in second.take_over(5)] == [3]


def test_what_a_job_may_still_run_is_free_unless_it_renews_its_lease(study):
    left, dead = (study.ask()._trial_id for _ in range(2))
    job = Lease(study, 1.2)
    with job, Lease(study, 1.2, outlived=True) as sweeper:
        for trial_id in (left, dead):
            sweeper.claim(trial_id)
        job.keep(left)
        sweeper.__exit__()
        assert Lease(study, 1.2).take_over(2) == []
        time.sleep(0.7)
        assert [trial._trial_id for trial in Lease(study, 60).take_over(2)] == [dead]


def test_a_job_renews_without_becoming_the_owner(study):
    sweeper, job = Lease(study, 1.2), Lease(study, 1.2)
    trial = study.ask()
    sweeper.claim(trial._trial_id)
    with job:
        job.keep(trial._trial_id)
        time.sleep(1.6)
        assert Lease(study, 1.2).take_over(1) == []
    assert attribute(study, trial._trial_id, OWNER) == sweeper.owner
    assert attribute(study, trial._trial_id, LEASE) > time.time()  # the end of the job gives nothing back


def test_a_job_whose_trial_was_taken_over_ends_at_once(tmp_path, monkeypatch):
    study = optuna.create_study(study_name="s", storage=open_storage(None, tmp_path))
    trial_id, job = study.ask()._trial_id, (0, "s", None, tmp_path, NopPruner(), 1.0)
    former, present = Lease(study, 60), Lease(study, 60)
    former.claim(trial_id)
    monkeypatch.setenv(LAUNCHED_BY, former.owner)
    with keep_trial(*job) as (_, kept):
        assert kept == trial_id
    present.claim(trial_id)
    with pytest.raises(UserError, match=f"trial 0 must be run by the process that took it over, {present.owner}"):
        keep_trial(*job).__enter__()


def test_a_trial_that_nobody_claimed_is_taken_after_a_lease(study):
    study.ask()  # the process that asked was killed before it could write its name
    other = Lease(study, 0.3)
    assert other.take_over(1) == []
    time.sleep(0.4)
    assert len(other.take_over(1)) == 1


def test_a_finished_trial_does_not_stop_the_renewing_of_others(study):
    mine = Lease(study, 0.2)
    finished, running = study.ask(), study.ask()
    with mine:
        mine.claim(finished._trial_id)
        mine.claim(running._trial_id)
        study.tell(finished, state=TrialState.FAIL)
        before = attribute(study, running._trial_id, LEASE)
        time.sleep(0.3)
        assert attribute(study, running._trial_id, LEASE) > before


KILLED = """
import sys, time, optuna
from fer_lightning.search.storage import Lease
from fer_lightning.search.storage import open_storage
study = optuna.load_study(study_name="s", storage=open_storage(sys.argv[1], None))
with Lease(study, 1.0) as lease:
    lease.claim(study.ask()._trial_id)
    print("claimed", flush=True)
    time.sleep(60)
"""


def test_the_trial_of_a_killed_process_is_taken_over(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = optuna.create_study(storage=url, study_name="s")
    with subprocess.Popen([sys.executable, "-c", KILLED, url], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline().strip() == "claimed"
        time.sleep(1.5)
        assert Lease(study, 1.0).take_over(1) == []
        process.kill()
    time.sleep(1.2)
    assert len(Lease(study, 1.0).take_over(1)) == 1
