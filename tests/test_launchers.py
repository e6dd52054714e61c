"""The launchers of a search: the presets in conf/, and the same trials whoever runs them."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import hydra
import optuna
import pytest

from fer_lightning.files import conf_dir

# Two generations, the second of which depends on the results of the first.
SEARCH = [
    "hydra/sweeper=optuna",
    "hydra.sweeper.n_trials=4",
    "hydra.sweeper.population=2",
    "optimizer.lr=tag(log,interval(1e-4,1e-1))",
    "model.dropout=interval(0,0.5)",
    "selection.monitor=val/loss",
    "selection.mode=min",
]
LAUNCHERS = {
    "joblib": ["hydra/launcher=joblib"],
    "submitit": ["hydra/launcher=submitit_local"],
    "ray": [
        "hydra/launcher=ray_cluster",
        "hydra.launcher.ray.remote.num_cpus=1",
        "hydra.launcher.ray.remote.num_gpus=0",
    ],
}


def search(folder: Path, *options: str, environment: dict[str, str] | None = None) -> list[tuple]:
    """Runs `fer train -m` with the search `SEARCH` in a process of its own.

    Returns:
        Number, state, parameters and score of each trial.
    """
    done = subprocess.run(
        [sys.executable, "-m", "fer_lightning", "train", "-m", *SEARCH, *options, f"hydra.sweep.dir={folder}"],
        env={**os.environ, **(environment or {})},
        cwd=folder.parent,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    study = optuna.load_study(study_name=folder.name, storage=f"sqlite:///{folder}/study.db")
    return [(trial.number, trial.state.name, trial.params, trial.value) for trial in study.trials]


# Presets


def preset(*overrides: str):
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return hydra.compose("train", list(overrides), return_hydra_config=True).hydra.launcher


def test_no_preset_hides_the_launcher_of_a_plugin():
    names = {path.stem for path in (conf_dir() / "hydra" / "launcher").glob("*.yaml")}
    assert names == {"slurm", "ray_cluster"}
    assert not names & {"basic", "joblib", "submitit_local", "submitit_slurm", "ray", "ray_aws"}


def test_ray_cluster_leaves_the_object_store_to_the_cluster():
    """Ray refuses a size for a cluster that runs already, and the plugin gives one unless the option is there."""
    pytest.importorskip("ray")
    init = preset("hydra/launcher=ray_cluster").ray.init
    assert init.address == "auto"
    assert "object_store_memory" in init and init.object_store_memory is None


@pytest.mark.slow
def test_what_slurm_is_asked_for(tiny, tmp_path):
    """An `sbatch` of ours keeps the script that it is given, and fails."""
    pytest.importorskip("submitit")
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, script in {"sbatch": f'cp "$1" {tmp_path}/job.sh; exit 1', "srun": "exit 1"}.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    options = ["hydra/launcher=slurm", "hydra.launcher.partition=short", f"hydra.sweep.dir={tmp_path}/sweep"]
    done = subprocess.run(
        [sys.executable, "-m", "fer_lightning", "train", "-m", *tiny, *SEARCH, *options],
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith("fer train: the launcher failed: ")
    assert "Traceback" not in done.stderr and done.stderr.endswith(f" hydra.sweep.dir={tmp_path}/sweep\n")
    script = (tmp_path / "job.sh").read_text()
    asked = set(re.findall(r"#SBATCH --(\S+)", script))
    assert {"partition=short", "array=0-1%2", "nodes=1", "ntasks-per-node=1", "gpus-per-node=1"} <= asked
    assert {"cpus-per-task=8", "mem=32GB", "time=240", "signal=USR2@120"} <= asked
    assert "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK" in script.partition("\nsrun ")[0]


# The same search


@pytest.fixture(scope="module")
def one_by_one(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[tuple]:
    """The trials of Hydra's own launcher."""
    return search(tmp_path_factory.mktemp("basic") / "search", *tiny, "trainer.max_epochs=1")


@pytest.fixture
def start_node() -> Iterator[Callable[..., subprocess.Popen]]:
    """`start_node(*options)` starts a node of a Ray cluster with the environment `start_node.environment`."""
    pytest.importorskip("ray")
    # A folder and a token of its own keep it apart from any other cluster of this user; sockets need a short path.
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    environment = {
        "RAY_TMPDIR": str(folder),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    nodes: list[subprocess.Popen] = []

    def start(*options: str) -> subprocess.Popen:
        log = folder / f"node{len(nodes)}.txt"
        command = [str(Path(sys.executable).with_name("ray")), "start", "--block", *options]
        node = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            cwd=folder,
            stdout=log.open("w"),
            stderr=subprocess.STDOUT,
        )
        nodes.append(node)
        wait_for(lambda: "Ray runtime started" in log.read_text(), node)
        return node

    start.environment = environment
    try:
        yield start
    finally:
        for node in reversed(nodes):
            node.terminate()
            node.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> dict[str, str]:
    """The environment to use in: with a Ray cluster of one machine where the launcher is Ray's, else empty."""
    if request.node.callspec.params["launcher"] != "ray":
        return {}
    start_node = request.getfixturevalue("start_node")
    start_node("--head", "--port=0", "--num-cpus=2", "--include-dashboard=false")
    return start_node.environment


def wait_for(condition: Callable[[], bool], process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, "the process ended too early"
        assert time.monotonic() < deadline, "what the process should do did not come"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_search_is_the_same_whoever_runs_its_trials(launcher, cluster, one_by_one, tiny, tmp_path):
    folder = tmp_path / "search"
    options = [*tiny, "trainer.max_epochs=1", *LAUNCHERS[launcher]]
    assert search(folder, *options, environment=cluster) == one_by_one
    assert [state for _, state, _, _ in one_by_one] == ["COMPLETE"] * 4
    assert len({score for *_, score in one_by_one}) == 4
    assert all((folder / str(number) / "metrics.json").is_file() for number in range(4))


# A cluster that loses a machine, or wants it back


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def with_descendants(process: int) -> list[int]:
    lists = [path.read_text() for path in Path(f"/proc/{process}/task").glob("*/children")]
    return [process, *(number for child in " ".join(lists).split() for number in with_descendants(int(child)))]


@pytest.mark.slow
def test_a_trial_whose_machine_is_lost_goes_on_on_another(start_node, tiny, fer_undrawn, tmp_path, assert_same_run):
    """Two nodes of a Ray cluster with one trial each; one node is killed with all its processes."""
    port = free_port()
    start_node("--head", f"--port={port}", "--num-cpus=1", "--include-dashboard=false")
    node = start_node(f"--address=127.0.0.1:{port}", "--num-cpus=1")
    options = [*tiny, *SEARCH, "hydra.sweeper.n_trials=2", "trainer.max_epochs=12"]
    command = [sys.executable, "-m", "fer_lightning", "train", "-m", *options, *LAUNCHERS["ray"]]
    process = subprocess.Popen(
        [*command, f"hydra.sweep.dir={tmp_path / 'search'}"],
        env={**os.environ, **start_node.environment},
        stdout=(tmp_path / "output.txt").open("w"),
        stderr=subprocess.STDOUT,
    )
    logs = [tmp_path / "search" / str(number) / "train.log" for number in range(2)]
    try:
        wait_for(lambda: all(log.is_file() and "epoch 2/12" in log.read_text() for log in logs), process)
        for lost in with_descendants(node.pid):
            os.kill(lost, signal.SIGKILL)
        assert process.wait(timeout=1800) == 0, (tmp_path / "output.txt").read_text()
    finally:
        process.kill()
    assert sorted(log.read_text().count(", continued") for log in logs) == [0, 1]
    assert fer_undrawn("train", "-m", *options, f"hydra.sweep.dir={tmp_path / 'undisturbed'}") == 0
    for number in range(2):
        assert_same_run(tmp_path / "undisturbed" / str(number), tmp_path / "search" / str(number))


@pytest.mark.slow
def test_a_preempted_trial_goes_on_where_it_was(tiny, tmp_path):
    """The signal that SLURM sends before it preempts a job, here from submitit's local executor."""
    pytest.importorskip("submitit")
    folder = tmp_path / "search"
    command = [sys.executable, "-m", "fer_lightning", "train", "-m", *tiny, *SEARCH, "hydra.sweeper.n_trials=1"]
    options = ["hydra/launcher=submitit_local", "trainer.max_epochs=12", f"hydra.sweep.dir={folder}"]
    output = (tmp_path / "output.txt").open("w+")
    process = subprocess.Popen([*command, *options], stdout=output, stderr=subprocess.STDOUT)
    log = folder / "0" / "train.log"
    try:
        wait_for(lambda: log.is_file() and "epoch 2/12" in log.read_text(), process)
        controller = next(int(path.name) for path in (folder / ".submitit").iterdir() if path.name.isdigit())
        children = Path(f"/proc/{controller}/task/{controller}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGUSR2)
        status = process.wait(timeout=1800)
    finally:
        process.kill()
    output.seek(0)
    assert status == 0, output.read()
    told = next(path.read_text() for path in (folder / ".submitit").glob("*/*_log.out"))
    assert "Requeued job" in told
    # No epoch is trained twice but the one that was cut, and none is left out.
    epochs = [int(number) for number in re.findall(r"epoch (\d+)/12", log.read_text())]
    assert sorted(set(epochs)) == list(range(1, 13)) and len(epochs) <= 13
