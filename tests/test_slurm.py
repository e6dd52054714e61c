"""Trials and trainings on a real SLURM: a controller and two nodes, all on this machine, which is started here."""

from __future__ import annotations

import getpass
import os
import re
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import optuna
import pytest

from fer_lightning.search.storage import open_storage

pytest.importorskip("submitit")
pytestmark = pytest.mark.slow

# Two nodes of one machine, whose GPUs are empty files: SLURM hands them out, and nobody opens them.
CONFIG = """
ClusterName=here
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={ports[0]}
AuthInfo=socket={folder}/munge.sock,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
MailProg=/bin/true
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=5
GresTypes=gpu
NodeName=one Port={ports[1]} NodeHostname={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=4000 Gres=gpu:2
NodeName=two Port={ports[2]} NodeHostname={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=4000 Gres=gpu:2
PartitionName=cheap Nodes=ALL PriorityTier=1 Default=YES
PartitionName=urgent Nodes=ALL PriorityTier=2
"""


def wait_for(condition: Callable[[], object], what: str, seconds: float = 1200) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.2)


def free_ports(number: int) -> list[int]:
    probes = [socket.socket() for _ in range(number)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


@pytest.fixture(scope="module")
def slurm() -> Iterator[Path]:
    """Folder of a running cluster, which the environment names: `sbatch` and the others then use it."""
    places = f"{os.environ['PATH']}:/usr/local/sbin:/usr/sbin"
    programs = {name: shutil.which(name, path=places) for name in ("munged", "slurmctld", "slurmd", "sbatch")}
    if missing := [name for name, path in programs.items() if path is None]:
        pytest.skip(
            f"no SLURM is installed ({missing[0]} is missing): on Debian, apt-get install slurmctld slurmd "
            "slurm-client munge"
        )
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # sockets need a short path
    folder.chmod(0o755)
    for name in ("state", "one", "two"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(secrets.token_bytes(64))
    (folder / "munge.key").chmod(0o400)
    for number in range(2):
        (folder / f"gpu{number}").touch()
    (folder / "gres.conf").write_text(f"NodeName=one,two Name=gpu File={folder}/gpu[0-1]\n")
    host = socket.gethostname().partition(".")[0]
    names = {"host": host, "user": getpass.getuser(), "folder": folder, "ports": free_ports(3)}
    (folder / "slurm.conf").write_text(CONFIG.format(**names))
    files = {name: f"{folder}/munge.{name.split('-')[0]}" for name in ("key-file", "pid-file", "log-file", "seed-file")}
    munge = ["--foreground", "--force", f"--socket={folder}/munge.sock", "--num-threads=1"]
    munge += [f"--{name}={path}" for name, path in files.items()]
    commands = [
        ["munged", *munge],
        ["slurmctld", "-D", "-c"],
        ["slurmd", "-D", "-N", "one"],
        ["slurmd", "-D", "-N", "two"],
    ]
    with pytest.MonkeyPatch.context() as patch, (folder / "daemons.log").open("w") as log:
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        daemons = []
        try:
            for name, *arguments in commands:
                daemons.append(subprocess.Popen([programs[name], *arguments], stdout=log, stderr=log))
                if name == "munged":
                    wait_for((folder / "munge.sock").exists, "munge")
            wait_for(lambda: output("sinfo", "--noheader", "-o", "%D %T") == "2 idle", "SLURM", 60)
            yield folder
        finally:
            subprocess.run(["scancel", "--user", getpass.getuser()], check=False)
            wait_for(lambda: not output("squeue", "--noheader"), "the end of the jobs", 60)
            for daemon in reversed(daemons):
                daemon.terminate()
                daemon.wait(timeout=60)
            shutil.rmtree(folder)


def output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip()


# Two generations of a search.
SEARCH = [
    "hydra/sweeper=optuna",
    "hydra.sweeper.n_trials=3",
    "hydra.sweeper.population=2",
    "hydra.sweeper.lease=15",
    "optimizer.lr=tag(log,interval(1e-4,1e-1))",
    "selection.monitor=val/loss",
    "selection.mode=min",
    "trainer.max_epochs=12",
]
LAUNCHER = [
    "hydra/launcher=slurm",
    "hydra.launcher.partition=cheap",
    "hydra.launcher.cpus_per_task=1",
    "hydra.launcher.mem_gb=1",
]
FER = [sys.executable, "-m", "fer_lightning", "train"]


def submit(folder: Path, options: Sequence[str], lines: Sequence[str]) -> str:
    """Id of a job whose script consists of `lines`; what it prints goes to `NAME.txt`."""
    script = folder / "job.sh"
    script.write_text("\n".join(("#!/bin/bash", *lines)))
    return output("sbatch", "--parsable", "--open-mode=append", f"--output={folder}/job.txt", *options, str(script))


def requeued(job: str) -> bool:
    return "Restarts=0" not in output("scontrol", "show", "job", job)


def epochs(log: Path) -> list[int]:
    return [int(number) for number in re.findall(r"epoch (\d+)/12", log.read_text() if log.is_file() else "")]


def wait_for_end(job: str, log: Path) -> None:
    wait_for(lambda: f" {job} " not in f" {output('squeue', '--noheader', '-o', ' %A ')} ", f"the end of job {job}")
    assert "JobState=COMPLETED" in output("scontrol", "show", "job", job), log.read_text()


def test_a_search_whose_jobs_are_requeued_is_that_of_one_process(slurm, tiny, fer_undrawn, tmp_path, assert_same_run):
    """One trial loses its node to a more urgent job, one reaches its time limit, and then the sweeper does."""
    folder, journal = tmp_path / "search", tmp_path / "search.log"
    command = [*FER, "-m", *tiny, *SEARCH, *LAUNCHER, f"hydra.sweep.dir={folder}"]
    sweeper = submit(
        tmp_path,
        ["--partition=urgent", "--nodelist=one", "--cpus-per-task=1", "--mem=1G", "--requeue"],
        [
            "trap 'scontrol requeue $SLURM_JOB_ID' USR1",
            f"export FER_SWEEP_STORAGE={journal}",
            f"{shlex.join(command)} & wait",
        ],
    )
    logs = [folder / str(number) / "train.log" for number in range(3)]
    wait_for(lambda: all(2 in epochs(log) for log in logs[:2]), "the first generation")
    output("sbatch", "--partition=urgent", "--nodelist=two", "--exclusive", "--output=/dev/null", "--wrap=true")
    wait_for(lambda: 2 in epochs(logs[2]), "the second generation")
    third = output("squeue", "--noheader", "--name=train", "--format=%A")
    output("scancel", "--signal=USR2", third)
    wait_for(lambda: requeued(third) and "=RUNNING" in output("scontrol", "show", "job", third), "the requeued trial")
    output("scancel", "--batch", "--signal=USR1", sweeper)
    wait_for(lambda: requeued(sweeper), "the requeue of the sweeper")
    wait_for_end(sweeper, tmp_path / "job.txt")
    text = (tmp_path / "job.txt").read_text()
    assert text.count("Search search: 3 trials, 3 complete") == 1 and "search search: 2 of 3 trials done" in text
    # Besides the one trial that kept its node, each was begun twice, and no epoch but the one that was cut.
    assert sorted(log.read_text().count(", continued") for log in logs) == [0, 1, 1]
    assert all(sorted(set(epochs(log))) == list(range(1, 13)) and len(epochs(log)) <= 13 for log in logs)
    assert fer_undrawn("train", "-m", *tiny, *SEARCH, f"hydra.sweep.dir={tmp_path / 'undisturbed'}") == 0
    for number in range(3):
        assert_same_run(tmp_path / "undisturbed" / str(number), folder / str(number))
    study = optuna.load_study(study_name="search", storage=open_storage(str(journal), folder))
    alone = optuna.load_study(study_name="undisturbed", storage=open_storage(None, tmp_path / "undisturbed"))
    told, expected = ([(t.number, t.state, t.params, t.value) for t in s.trials] for s in (study, alone))
    assert told == expected


def test_a_training_on_two_nodes_goes_on_after_a_requeue(slurm, tiny, tmp_path, assert_same_run):
    both = ["trainer=slurm", "trainer.num_nodes=2", "trainer.devices=1", "trainer.accelerator=cpu"]
    options = [*both, *[option for option in tiny if option != "trainer=cpu"], "trainer.max_epochs=12"]

    def train(folder: Path, requeue: bool) -> None:
        folder.mkdir()
        job = submit(
            folder,
            ["--nodes=2", "--ntasks-per-node=1", "--gpus-per-node=1", "--mem=1G", "--requeue"],
            [
                "export MASTER_ADDR=127.0.0.1",  # SLURM alone knows the names of the two nodes
                "trap 'scontrol requeue $SLURM_JOB_ID' USR1",
                f"srun {shlex.join([*FER, *options, f'hydra.run.dir={folder}'])} & wait",
            ],
        )
        if requeue:
            wait_for(lambda: 2 in epochs(folder / "train.log"), "the second epoch")
            output("scancel", "--batch", "--signal=USR1", job)
            wait_for(lambda: requeued(job), "the requeue")
        wait_for_end(job, folder / "job.txt")
        assert epochs(folder / "train.log")[-1] == 12 and ("continued" in (folder / "train.log").read_text()) == requeue

    train(tmp_path / "whole", requeue=False)
    train(tmp_path / "requeued", requeue=True)
    assert_same_run(tmp_path / "whole", tmp_path / "requeued")
