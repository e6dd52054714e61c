"""Runs in MLflow, read back from its databases and from a real server, and the event files of TensorBoard."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from fer_lightning.errors import UserError
from fer_lightning.results.naming import RunLabels
from fer_lightning.training.mlflow_logger import MLflowRunLogger


@pytest.fixture
def log_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets where MLflow logs, as a user does before a command."""
    mlflow = pytest.importorskip("mlflow")

    def set_environment(address: str) -> None:
        mlflow.set_tracking_uri(None)  # what an earlier run of this process has set, in the environment as well
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)

    monkeypatch.chdir(tmp_path)  # the folder of the artifacts
    yield set_environment
    mlflow.set_tracking_uri(None)


def test_a_training_is_logged_with_its_curves_scores_and_record(log_to, fer, tiny, tmp_path):
    from mlflow import MlflowClient

    address = f"sqlite:///{tmp_path}/mlflow.db"
    log_to(address)
    options = [option for option in tiny if not option.startswith("logger=")]
    assert fer("train", *options, "logger=mlflow", "trainer.max_epochs=2", f"hydra.run.dir={tmp_path}/run") == 0
    client = MlflowClient(address)
    [run] = client.search_runs([client.get_experiment_by_name("fer_lightning").experiment_id])
    record = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert run.info.status == "FINISHED" and run.info.run_name.endswith("-folder-s0")
    assert run.data.tags["job_type"] == "train" and "resnet" in run.data.tags["tags"].split(", ")
    assert run.data.params["trainer/max_epochs"] == "2"
    assert len(client.get_metric_history(run.info.run_id, "val/accuracy")) == 2
    assert run.data.metrics["test/accuracy"] == record["splits"]["test"]["accuracy"]
    assert run.data.metrics["best_epoch"] == record["best_epoch"]
    logged = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert logged >= {"config.yaml", "metrics.json", "predictions.parquet", "history.csv", "figures"}
    figures = {Path(file.path).name for file in client.list_artifacts(run.info.run_id, "figures")}
    assert figures == {path.name for path in (tmp_path / "run" / "figures").iterdir()} != set()


def test_a_resumed_training_goes_on_in_its_run(log_to, tmp_path):
    log_to(f"sqlite:///{tmp_path}/mlflow.db")
    labels = RunLabels("resnet-fer2013-s0", "resnet", "my_sweep", "train", ("fer2013", "resnet"))
    first = MLflowRunLogger(str(tmp_path / "run"))
    first.describe(labels)
    first.log_hyperparams({"seed": 0, "trainer": {"max_epochs": 2}})
    first.finalize("failed")
    again = MLflowRunLogger(str(tmp_path / "run"))
    again.describe(labels)
    again.log_hyperparams({"seed": 0, "trainer": {"max_epochs": 9}})  # MLflow itself refuses another value
    again.log_metrics({"val/loss": 0.5}, step=3)
    run = again.experiment.get_run(first.run_id)
    assert again.run_id == first.run_id and run.info.status == "RUNNING"
    assert run.data.params["trainer/max_epochs"] == "2" and run.data.metrics == {"val/loss": 0.5}
    assert run.data.tags["group"] == "my_sweep" and run.info.run_name == "resnet-fer2013-s0"
    log_to(f"sqlite:///{tmp_path}/other.db")
    elsewhere = MLflowRunLogger(str(tmp_path / "run"), name="mine")
    elsewhere.describe(labels)
    assert elsewhere.run_id != first.run_id
    assert elsewhere.experiment.get_run(elsewhere.run_id).info.run_name == "mine"


def test_a_server_that_does_not_answer_is_one_sentence(log_to, tmp_path, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        log_to(f"http://me:secret@127.0.0.1:{closed.getsockname()[1]}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match=r"MLflow cannot log this run \(API request to http://127\.0\.0\.1") as raised:
        MLflowRunLogger(str(tmp_path / "run")).log_metrics({"loss": 1.0})
    assert "set MLFLOW_TRACKING_URI to a server that runs" in str(raised.value) and "secret" not in str(raised.value)


@pytest.mark.parametrize("name", ["mlflow", "tensorboard"])
def test_a_missing_package_is_one_sentence(name, fer, tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, name, None)
    assert fer("train", *tiny, f"logger={name}", f"hydra.run.dir={tmp_path}/run") == 2
    message = f"logger={name} needs the package {name}: pip install 'fer_lightning[{name}]'."
    assert message in capsys.readouterr().err


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Address of an MLflow server on this machine."""
    if find_spec("flask") is None:
        pytest.skip("the server of MLflow is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{tmp_path}/server.db",
        "--artifacts-destination",
        str(tmp_path / "kept"),
    ]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True, **silent)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None
                time.sleep(0.5)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # the processes that it has started, too
        process.wait(60)


@pytest.mark.slow
def test_a_server_gets_the_run_and_its_files(server, log_to, fer, tiny, tmp_path):
    from mlflow import MlflowClient

    log_to(server)
    options = [option for option in tiny if not option.startswith("logger=")]
    assert fer("train", *options, "logger=mlflow", "trainer.max_epochs=2", f"hydra.run.dir={tmp_path}/run") == 0
    client = MlflowClient(server)
    [run] = client.search_runs([client.get_experiment_by_name("fer_lightning").experiment_id])
    assert run.info.status == "FINISHED" and len(client.get_metric_history(run.info.run_id, "val/accuracy")) == 2
    read = client.download_artifacts(run.info.run_id, "metrics.json", str(tmp_path))
    assert Path(read).read_bytes() == (tmp_path / "run" / "metrics.json").read_bytes()


def test_tensorboard_has_the_curves_of_a_training(fer: Callable[..., int], tiny: list[str], tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    options = [option for option in tiny if not option.startswith("logger=")]
    assert fer("train", *options, "logger=tensorboard", "trainer.max_epochs=2", f"hydra.run.dir={tmp_path}") == 0
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    history = (tmp_path / "history.csv").read_text().splitlines()
    column = history[0].split(",").index("val/accuracy")
    wanted = [float(row.split(",")[column]) for row in history[1:]]
    assert [point.value for point in events.Scalars("val/accuracy")] == pytest.approx(wanted)
    assert {"train/loss", "val/loss", "lr", "images_per_second"} <= set(events.Tags()["scalars"])
