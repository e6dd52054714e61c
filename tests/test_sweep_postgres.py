"""A search that two processes share through a PostgreSQL server, which is started here for it."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from fer_lightning.files import conf_dir
from fer_lightning.search.storage import open_storage

psycopg = pytest.importorskip("psycopg")

PASSWORD = "open-sesame-2407"  # the server below trusts whoever comes from this machine, whatever the password
N_TRIALS = 6

# Hydra with the sweeper and the configs of `fer train`, and a job that is over in a moment.
QUICK = f"""
import math, os, time
import hydra
from fer_lightning.search.storage import LAUNCHED_BY

@hydra.main(version_base="1.3", config_path={str(conf_dir())!r}, config_name="train")
def run(cfg):
    time.sleep(0.5)
    assert os.environ[LAUNCHED_BY].split(":")[1] == str(os.getpid())
    return math.log10(cfg.optimizer.lr) ** 2

run()
"""


def server_program(name: str) -> str:
    """Path of a program of the PostgreSQL server, which Debian keeps out of PATH."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name))
    found = shutil.which(name) or (shutil.which(name, path=str(debian[-1])) if debian else None)
    if found is None:
        pytest.skip(f"no PostgreSQL server is installed ({name} is missing): on Debian, apt-get install postgresql")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """URL of a PostgreSQL server on the loopback address, without the database's name."""
    initdb, postgres = server_program("initdb"), server_program("postgres")
    # Not below the folder of pytest, which root alone may enter, while the server refuses to run as root.
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    user = "nobody" if os.geteuid() == 0 else None
    if user:
        shutil.chown(folder, user)
    data, port = folder / "data", free_port()
    as_user = {"user": user, "cwd": folder, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    made = subprocess.run(
        [initdb, "-D", data, "-U", "fer", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"], **as_user
    )
    assert made.returncode == 0, made.stdout
    options = ["-h", "127.0.0.1", "-p", str(port), "-c", "unix_socket_directories=", "-c", "fsync=off"]
    process = subprocess.Popen([postgres, "-D", data, *options], **{**as_user, "stdout": subprocess.DEVNULL})
    try:
        wait_for(lambda: process.poll() is not None or answers(port), "the PostgreSQL server")
        assert process.poll() is None, "the PostgreSQL server did not start"
        yield f"postgresql+psycopg://fer:{PASSWORD}@127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)  # ends its sessions; SIGTERM would wait for them
        process.wait(timeout=60)
        shutil.rmtree(folder)


def answers(port: int) -> bool:
    try:
        psycopg.connect(f"host=127.0.0.1 port={port} user=fer dbname=postgres", connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.fixture
def database(server: str) -> str:
    """URL of an empty database."""
    name = f"search_{secrets.token_hex(4)}"
    address = server.replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(f"{address}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"{server}/{name}"


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.05)


class Sweep:
    """`fer train -m`, or a program like it, in a process of its own that shares `folder` and `database`."""

    def __init__(
        self, start_copy: Callable[..., Any], code: str, typed: list[str], folder: Path, database: str, name: str
    ) -> None:
        self.output = folder.parent / f"{name}.txt"
        options = [
            "hydra/sweeper=optuna",
            f"hydra.sweep.dir={folder}",
            f"hydra.sweeper.n_trials={N_TRIALS}",
            "hydra.sweeper.population=2",
            "hydra.sweeper.lease=4",
            "selection.monitor=val/loss",
            "selection.mode=min",
            "optimizer.lr=tag(log,interval(1e-4,1e-1))",
            "logger=none",
        ]
        self.output.touch()
        environment = {**os.environ, "FER_SWEEP_STORAGE": database}
        self.process = start_copy(code, *typed, *options, "-m", outputs=[self.output] * 2, env=environment)

    def told(self) -> list[int]:
        """The trials whose result it told to the search."""
        return [int(number) for number in re.findall(rf"trial (\d+) of {N_TRIALS}: ", self.output.read_text())]

    def works_on(self, study: optuna.Study) -> list[int]:
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [trial.number for trial in running if owner(trial) == self.process.pid]


def owner(trial: optuna.trial.FrozenTrial) -> int:
    return int(trial.user_attrs.get("owner", "nobody:0:").split(":")[1])


def kill_at_work(sweep: Sweep, study: optuna.Study, folder: Path) -> int:
    """Kills a sweep in the middle of a trial, and tells which."""
    while True:
        wait_for(lambda: any((folder / str(number) / ".hydra").is_dir() for number in sweep.works_on(study)), "a trial")
        # Whether it was still at work is certain only where it can no longer go on.
        sweep.process.send_signal(signal.SIGSTOP)
        if at_work := sweep.works_on(study):
            sweep.process.kill()
            sweep.process.wait()
            return at_work[0]
        sweep.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("job", ["quick", pytest.param("training", marks=pytest.mark.slow)])
def test_a_survivor_takes_over_what_a_killed_process_left(job, tiny, database, start_copy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    program = {"quick": (QUICK, []), "training": ("from fer_lightning.cli import main; main()", ["train", *tiny])}[job]
    folder = tmp_path / "search"
    sweeps = [Sweep(start_copy, *program, folder, database, name) for name in ("one", "other")]
    try:
        killed, survivor = sweeps
        wait_for(lambda: "trials done" in killed.output.read_text(), "the search")
        study = optuna.load_study(study_name="search", storage=open_storage(database, folder))
        orphan = kill_at_work(killed, study, folder)
        assert survivor.process.wait(timeout=600) == 0, survivor.output.read_text()
    finally:
        for sweep in sweeps:
            sweep.process.kill()
            sweep.process.wait()
    finished = study.get_trials(states=(TrialState.COMPLETE,))
    assert [trial.number for trial in finished] == list(range(N_TRIALS))
    assert not study.get_trials(states=(TrialState.RUNNING, TrialState.WAITING))
    # Each was run to its end by one process alone, and told once.
    assert sorted(killed.told() + survivor.told()) == list(range(N_TRIALS))
    assert orphan in survivor.told() and f"taking over: trial {orphan}\n" in survivor.output.read_text()
    assert {trial.number for trial in finished if owner(trial) == killed.process.pid} == set(killed.told())
    # A trial's folder is where it was, and the password of the database is in none of them.
    assert all((folder / str(number) / ".hydra" / "overrides.yaml").is_file() for number in range(N_TRIALS))
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert written and not [path for path in written if PASSWORD.encode() in path.read_bytes()]
    assert PASSWORD not in killed.output.read_text() + survivor.output.read_text()
