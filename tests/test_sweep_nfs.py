"""A search that two machines share through a journal file on NFS: three kernels in user mode on one virtual network."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

import fer_lightning
from fer_lightning.search.storage import open_storage

N_TRIALS = 6

# Each kernel reads the files of this machine; it writes to folders in its memory, to NFS and to `$host`.
INIT = """#!/bin/bash
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc && mount -t sysfs sys /sys
for folder in /mnt /run /var/lib/nfs; do mount -t tmpfs none $folder; done
mkdir -p /mnt/lib/modules /mnt/shared /mnt/host /var/lib/nfs/{sm,v4recovery,rpc_pipefs}
touch /var/lib/nfs/{etab,rmtab}
ln -s /usr/lib/uml/modules/$(uname -r) /mnt/lib/modules/
mount -t hostfs -o $host none /mnt/host
hostname $name && ip link set lo up && ip link set eth0 up && ip addr add 10.77.0.$number/24 dev eth0
export HOME=/run TMPDIR=/run OMP_NUM_THREADS=1
if [ $name = server ]; then
    modprobe -d /mnt nfsd && mount -t nfsd nfsd /proc/fs/nfsd && mount -t tmpfs none /mnt/shared
    rpc.mountd --no-nfs-version 2 --no-nfs-version 3
    exportfs -o rw,sync,fsid=0,insecure,no_root_squash,no_subtree_check 10.77.0.0/24:/mnt/shared
    rpc.nfsd --no-nfs-version 3 2
    until [ -e /mnt/shared/done ]; do sleep 0.5; done
    cp -r /mnt/shared /mnt/host/result && echo copied
else
    modprobe -d /mnt nfsv4
    until mount -t nfs4 10.77.0.1:/ /mnt/shared; do sleep 0.5; done
    cd /mnt/shared && $host/worker.sh
    echo "exit status $?" && touch done
fi
umount /mnt/shared
echo o > /proc/sysrq-trigger
sleep 10
"""

# What the sweeper does with the storage, without PyTorch, whose memory takes more mappings than a process may have.
WORKER = f"""
import time
from pathlib import Path
import optuna
from fer_lightning.search.storage import Lease, open_storage

optuna.logging.set_verbosity(optuna.logging.WARNING)
study = optuna.create_study(storage=open_storage("search.log", Path()), study_name="search", load_if_exists=True)
with Lease(study, 8) as lease:
    while True:
        trials = lease.take_over(1)
        if not trials and len(study.trials) < {N_TRIALS}:
            trials = [study.ask()]
            lease.claim(trials[0]._trial_id)
        for trial in trials:
            print("at work on trial", trial.number, flush=True)
            time.sleep(2)
            lease.drop(trial._trial_id)
            study.tell(trial.number, trial.number / 4)
            print("told trial", trial.number, flush=True)
        if not trials and not lease.running_of_others():
            break
        time.sleep(0.2)
"""


class Machine:
    """A Linux kernel that runs as a process."""

    def __init__(self, name: str, number: int, network: str, folder: Path) -> None:
        self.log = folder / f"{name}.log"
        linux = shutil.which("linux.uml")
        assert linux
        options = [
            f"name={name}",
            f"number={number}",
            f"host={folder}",
            f"umid={network}-{number}",
            f"uml_dir={folder}",
            "mem=256M",
        ]
        options += [f"eth0=mcast,52:54:00:00:00:0{number},239.192.77.1,{network},0"]
        options += ["rootfstype=hostfs", "root=/dev/root", "rootflags=/", "ro", f"init={folder}/init.sh"]
        self.process = subprocess.Popen(
            [linux, *options, "con=null", "con0=null,fd:1", "quiet"],
            stdin=subprocess.DEVNULL,
            stdout=self.log.open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def began(self) -> list[int]:
        return [int(number) for number in re.findall(r"at work on trial (\d+)", self.log.read_text())]

    def told(self) -> list[int]:
        """The trials whose result it told to the search."""
        return [int(number) for number in re.findall(r"told trial (\d+)", self.log.read_text())]

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def wait_for(condition: Callable[[], object], what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.2)


@pytest.mark.slow
def test_a_survivor_takes_over_what_a_lost_machine_left(tmp_path):
    for program, package in {
        "linux.uml": "user-mode-linux",
        "rpc.nfsd": "nfs-kernel-server",
        "modprobe": "kmod",
    }.items():
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
            pytest.skip(f"{program} is missing: on Debian, apt-get install {package}")
    exports = f"export PYTHONPATH={Path(fer_lightning.__file__).parents[1]} OMP_NUM_THREADS=1"
    worker = f"#!/bin/bash\n{exports}\nexec {sys.executable} {tmp_path}/worker.py\n"
    (tmp_path / "worker.py").write_text(WORKER)
    for name, text in {"init.sh": INIT, "worker.sh": worker}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    network = str(20000 + secrets.randbelow(20000))
    machines = [Machine(name, number, network, tmp_path) for number, name in enumerate(("server", "lost", "left"), 1)]
    server, lost, left = machines
    try:
        wait_for(lambda: lost.told() and left.told() and len(lost.began()) > len(lost.told()), "a second trial", 300)
        lost.kill()
        wait_for(lambda: "exit status" in left.log.read_text(), "the end of the search", 300)
        assert "exit status 0" in left.log.read_text(), left.log.read_text()
        assert server.process.wait(timeout=120) == 0
    finally:
        for machine in machines:
            machine.kill()
    copy = open_storage(str(tmp_path / "result" / "search.log"), tmp_path)
    trials = optuna.load_study(study_name="search", storage=copy).trials
    assert [(trial.state, trial.value) for trial in trials] == [
        (TrialState.COMPLETE, number / 4) for number in range(len(trials))
    ]
    # Each was told by one machine alone, and that of the lost machine by the other.
    assert sorted(lost.told() + left.told()) == list(range(len(trials))) and len(trials) >= N_TRIALS
    assert lost.began()[-1] in left.told()
    names = {trial.number: trial.user_attrs["owner"].partition(":")[0] for trial in trials}
    assert {number for number, name in names.items() if name == "lost"} == set(lost.told())
