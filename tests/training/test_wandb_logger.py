from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import wandb
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from sklearn.metrics import auc, confusion_matrix, roc_auc_score
from wandb.errors import AuthenticationError, CommError

from fer_lightning.errors import UserError
from fer_lightning.files import conf_dir
from fer_lightning.training import wandb_logger
from fer_lightning.training.wandb_logger import WandbRunLogger, choose_mode

TWO_RUNS = """
import os, sys
from fer_lightning.training.wandb_logger import WandbRunLogger

for number, failed in ((1, True), (2, False)):
    folder = f"{sys.argv[1]}/{number}"
    logger = WandbRunLogger(folder, "auto", "project", None, f"run {number}", "group", ["tag"], 5, False)
    logger.log_hyperparams({"number": number})
    logger.log_metrics({"val/accuracy": number / 10}, step=number)
    logger.close(failed)
unused = WandbRunLogger(f"{sys.argv[1]}/3", "auto", "project", None, None, None, [], 5, False)
unused.close(failed=False)
assert "WANDB_MODE" not in os.environ
"""
CLASSES = ["angry", "sad", "happy", "contempt"]
LOG = """
import json, sys
from pathlib import Path
import numpy as np, pandas as pd
from fer_lightning.training.wandb_logger import WandbRunLogger
from fer_lightning.training.wandb_logger import log_run

folder = Path(sys.argv[1])
for mode in ("offline", "disabled"):
    logger = WandbRunLogger(str(folder), mode, "project", None, None, None, [], 5, False)
    log_run(
        logger.experiment,
        folder,
        json.loads((folder / "metrics.json").read_text()),
        pd.read_parquet(folder / "predictions.parquet"),
        ["angry", "sad", "happy", "contempt"],
        "test",
        [(np.full((48, 48, 1), 40 * number, np.uint8), f"caption {number}") for number in range(3)],
        with_checkpoint=True,
    )
    logger.close(failed=False)
"""


@pytest.fixture(scope="module")
def in_process_of_its_own(
    start_copy: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., tuple[str, str]]:
    """`in_process_of_its_own(code, *arguments, home=..., **variables)`: what code prints for one new to W&B."""

    def run(code: str, *arguments: object, home: Path, **variables: str) -> tuple[str, str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "NETRC"))}
        outputs = [tmp_path_factory.mktemp("outputs") / name for name in ("stdout", "stderr")]
        process = start_copy(code, *arguments, outputs=outputs, env={**environment, "HOME": str(home), **variables})
        status = process.wait(timeout=300)
        printed, errors = (path.read_text() for path in outputs)
        assert status == 0, errors
        return printed, errors

    return run


def inspect(folder: Path) -> list[dict]:
    """What W&B's own viewer reads from the single run in a run folder."""
    (run,) = (folder / "wandb").glob("*run-*")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(run)]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    return [json.loads(line) for line in found.stdout.splitlines()]


@pytest.fixture(scope="module")
def two_runs(in_process_of_its_own, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("two_runs")
    assert "wandb" not in "".join(in_process_of_its_own(TWO_RUNS, root, home=root))
    return root


@pytest.mark.parametrize("number, exit_code", [(1, 1), (2, 0)])
def test_two_runs_of_one_process_stay_apart_and_a_failed_one_ends_failed(two_runs, number, exit_code):
    records = inspect(two_runs / str(number))
    (run,) = [record["run"] for record in records if record["type"] == "run"]
    assert run["display_name"] == f"run {number}"
    assert run["project"] == "project"
    assert run["run_group"] == "group"
    assert run["tags"] == ["tag"]
    history = [record["history"]["item"] for record in records if record["type"] == "history"]
    assert [(item["val/accuracy"], item["trainer/global_step"]) for item in history] == [(number / 10, number)]
    configs = [record["config"]["update"] for record in records if record["type"] == "config"]
    assert [config["number"] for config in configs if "number" in config] == [number]
    assert [record["exit"].get("exit_code", 0) for record in records if record["type"] == "exit"] == [exit_code]


def test_auto_without_a_login_is_offline(two_runs):
    assert len(list((two_runs / "1" / "wandb").glob("offline-run-*"))) == 1


def test_a_logger_that_was_never_used_starts_no_run(two_runs):
    assert not (two_runs / "3").exists()


UNREACHABLE = """
import logging, sys
from fer_lightning.training.wandb_logger import WandbRunLogger

logging.basicConfig()
logger = WandbRunLogger(sys.argv[1], "online", "project", None, None, None, [], 5, False)
logger.log_metrics({"loss": 1.0}, step=0)
logger.close(failed=False)
"""


def test_online_without_a_server_goes_offline_and_says_so(in_process_of_its_own, tmp_path):
    _, errors = in_process_of_its_own(
        UNREACHABLE,
        tmp_path / "run",
        home=tmp_path,
        WANDB_API_KEY="0" * 40,
        WANDB_BASE_URL="http://127.0.0.1:9",  # the discard port: refused
        WANDB_HTTP_TIMEOUT="1",
    )
    assert "this run is logged offline; upload it later with fer dashboard --sync" in errors
    assert any(record["type"] == "history" for record in inspect(tmp_path / "run"))


def test_a_run_of_a_wandb_sweep_is_that_of_its_agent(in_process_of_its_own, tmp_path):
    code = UNREACHABLE.replace('"online"', '"offline"')
    _, errors = in_process_of_its_own(
        code, tmp_path / "run", home=tmp_path, WANDB_SWEEP_ID="sweep1", WANDB_RUN_ID="agents", WANDB_PROJECT="theirs"
    )
    assert "Ignoring" not in errors
    (run,) = [record["run"] for record in inspect(tmp_path / "run") if record["type"] == "run"]
    assert (run["run_id"], run["project"], run["sweep_id"]) == ("agents", "theirs", "sweep1")


def test_a_server_that_breaks_off_leaves_an_offline_run(tmp_path, monkeypatch):
    modes = []

    def init(mode, **others):
        modes.append(mode)
        if mode == "online":
            raise CommError("no answer")
        return "a run"

    monkeypatch.setattr(wandb_logger, "choose_mode", lambda mode: "online")
    monkeypatch.setattr(wandb, "init", init)
    logger = WandbRunLogger(str(tmp_path), "auto", "project", None, None, None, [], 5, False)
    assert logger.experiment == "a run"
    assert modes == ["online", "offline"]


class TestChooseMode:
    @pytest.fixture(autouse=True)
    def no_wish(self, monkeypatch):
        monkeypatch.delenv("WANDB_MODE", raising=False)

    @pytest.mark.parametrize("mode", ["offline", "disabled"])
    def test_no_server_is_asked_where_none_is_wanted(self, monkeypatch, mode):
        monkeypatch.delattr(wandb, "login")
        assert choose_mode(mode) == mode

    @pytest.mark.parametrize("wish, mode", [("offline", "offline"), ("dryrun", "offline"), ("disabled", "disabled")])
    def test_auto_obeys_the_environment(self, monkeypatch, wish, mode):
        monkeypatch.delattr(wandb, "login")
        monkeypatch.setenv("WANDB_MODE", wish)
        assert choose_mode("auto") == mode

    @pytest.mark.parametrize("wish", ["", "online", "run"])
    def test_auto_is_online_when_logged_in(self, monkeypatch, wish):
        monkeypatch.setenv("WANDB_MODE", wish)
        monkeypatch.setattr(wandb, "login", lambda prompt: True)
        assert choose_mode("auto") == "online"

    def test_auto_is_offline_without_a_login(self, monkeypatch):
        monkeypatch.setattr(wandb, "login", lambda prompt: False)
        assert choose_mode("auto") == "offline"

    def test_online_without_a_login_is_refused(self, monkeypatch):
        monkeypatch.setattr(wandb, "login", lambda prompt: False)
        with pytest.raises(UserError, match="needs a login: run wandb login"):
            choose_mode("online")

    @pytest.mark.parametrize("mode", ["auto", "online"])
    def test_a_server_out_of_reach_means_offline(self, monkeypatch, mode):
        def login(prompt):
            raise AuthenticationError("no answer")

        monkeypatch.setattr(wandb, "login", login)
        assert choose_mode(mode) == "offline"


def test_an_unknown_mode_is_refused():
    with pytest.raises(UserError, match="use one of auto, online, offline, disabled"):
        WandbRunLogger("run", "sometimes", "project", None, None, None, [], 5, False)


def test_disabled_logs_nothing(tmp_path):
    logger = WandbRunLogger(str(tmp_path), "disabled", "project", None, None, None, [], 5, False)
    logger.log_metrics({"loss": 1.0}, step=0)
    logger.close(failed=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "choice, names",
    [
        ("wandb", ["wandb"]),
        ("csv", ["csv"]),
        ("tensorboard", ["tensorboard"]),
        ("[csv,wandb]", ["csv", "wandb"]),
        ("none", []),
    ],
)
def test_every_choice_of_loggers_composes_and_is_built(choice, names, tmp_path):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("train", [f"logger={choice}", f"output_dir={tmp_path}"])
    loggers = cfg.get("logger") or {}
    assert sorted(loggers) == names
    for name in names:
        logger = instantiate(loggers[name], _convert_="all")
        if name == "wandb":
            assert logger.save_dir == str(tmp_path)
        else:
            assert Path(logger.log_dir) == tmp_path / name


def test_a_resumed_run_is_the_same_run(tmp_path):
    ids = []
    for _ in range(2):
        logger = WandbRunLogger(str(tmp_path), "disabled", "p", None, None, None, [], 30, False)
        with_id = logger._kept_id()
        ids.append(with_id)
    assert ids[0] == ids[1] == (tmp_path / "wandb" / "run_id.txt").read_text()


def test_an_unknown_mode_of_the_environment_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "nonsense")
    with pytest.raises(UserError, match="WANDB_MODE must be online, offline or disabled; got nonsense"):
        WandbRunLogger(str(tmp_path), "auto", "p", None, None, None, [], 30, False)


@pytest.fixture(scope="module")
def predictions() -> pd.DataFrame:
    """Test rows among which the last class never occurs."""
    random = np.random.default_rng(0)
    targets = random.integers(0, 3, 400)
    scores = np.exp(random.normal(size=(400, 4)) + np.eye(4)[targets])
    table = pd.DataFrame(scores / scores.sum(axis=1, keepdims=True), columns=[f"prob_{name}" for name in CLASSES])
    return table.assign(id=[str(row) for row in range(400)], split="test", target=targets)


@pytest.fixture(scope="module")
def folder(predictions: pd.DataFrame, in_process_of_its_own, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder, logged to W&B offline."""
    home = tmp_path_factory.mktemp("report")
    folder = home / "run"
    (folder / "figures").mkdir(parents=True)
    (folder / "checkpoints").mkdir()
    image = bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
        "0000000a49444154789c6360000000020001e221bc330000000049454e44ae426082"
    )
    for name in ("curves", "reliability_test"):
        (folder / "figures" / f"{name}.png").write_bytes(image)
    for name in ("best", "last"):
        (folder / "checkpoints" / f"{name}.ckpt").write_bytes(b"weights")
    (folder / "config.yaml").write_text("seed: 0\n")
    (folder / "history.csv").write_text("epoch\n1\n")
    predictions.to_parquet(folder / "predictions.parquet")
    scores = {"precision": 0.5, "recall": 0.25, "f1": 1 / 3, "support": 100}
    test = {"n": 400, "accuracy": 0.7, "accuracy_low": 0.65, "accuracy_high": 0.74}
    metrics = {
        "protocol": {"dataset": "fer2013"},
        "best_epoch": 7,
        "timing": {"fit_seconds": 12.5},
        "calibration": {"temperature": 1.3, "fitted_on": "val", "test": {"ece": 0.05, "ece_scaled": 0.02}},
        "elsewhere": {"ferplus": {"accuracy": 0.6, "left_out": {}}, "rafdb": {"missing": "No RAF-DB was found."}},
        "splits": {"test": {**test, "per_class": dict.fromkeys(CLASSES, scores)}},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    in_process_of_its_own(LOG, folder, home=home)
    return folder


@pytest.fixture(scope="module")
def records(folder: Path) -> list[dict]:
    (run,) = (folder / "wandb").glob("offline-run-*")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(run)]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    return [json.loads(line) for line in found.stdout.splitlines()]


@pytest.fixture(scope="module")
def summary(records: list[dict]) -> dict:
    merged: dict = {}
    for record in records:
        if record["type"] == "summary":
            merged.update(record["summary"]["update"])
    return merged


def table(folder: Path, summary: dict, key: str) -> pd.DataFrame:
    """The table that W&B stored under a key, read from `files/media/`."""
    (run,) = (folder / "wandb").glob("offline-run-*")
    content = json.loads((run / "files" / summary[f"{key}.path"]).read_text())
    return pd.DataFrame(content["data"], columns=content["columns"])


def test_the_confusion_chart_holds_the_counts(folder, summary, predictions):
    stored = table(folder, summary, "test/confusion_matrix_table")
    probabilities = predictions[[f"prob_{name}" for name in CLASSES]].to_numpy()
    expected = confusion_matrix(predictions["target"], probabilities.argmax(axis=1), labels=range(4))
    assert stored["nPredictions"].tolist() == expected.ravel().tolist()
    assert stored["Actual"].tolist() == np.repeat(CLASSES, 4).tolist()
    assert stored["Predicted"].tolist() == CLASSES * 4


def test_the_roc_chart_has_a_curve_of_the_right_area_for_each_class_that_occurs(folder, summary, predictions):
    stored = table(folder, summary, "test/roc_table")
    assert sorted(stored["class"].unique()) == sorted(CLASSES[:3])
    for index, name in enumerate(CLASSES[:3]):
        curve = stored[stored["class"] == name]
        expected = roc_auc_score(predictions["target"] == index, predictions[f"prob_{name}"])
        assert auc(curve["x"], curve["y"]) == pytest.approx(expected, abs=5e-3)


def test_the_precision_recall_chart_spans_all_recalls(folder, summary):
    stored = table(folder, summary, "test/precision_recall_table")
    assert stored.groupby("class")["x"].agg(["min", "max"]).to_numpy().tolist() == [[0, 1]] * 3
    assert len(stored) <= 3 * 200


def test_the_table_of_classes(folder, summary):
    stored = table(folder, summary, "test/classes")
    assert stored.columns.tolist() == ["class", "support", "precision", "recall", "f1"]
    assert stored.to_numpy().tolist() == [[name, 100, 0.5, 0.25, pytest.approx(1 / 3)] for name in CLASSES]


def test_images_lie_in_the_media_folder(folder, summary):
    (run,) = (folder / "wandb").glob("offline-run-*")
    assert summary["test/misclassified.captions"] == ["caption 0", "caption 1", "caption 2"]
    assert all((run / "files" / name).is_file() for name in summary["test/misclassified.filenames"])
    stored = run / "files" / summary["figures/reliability_test.path"]
    assert stored.read_bytes() == (folder / "figures" / "reliability_test.png").read_bytes()
    assert "figures/curves.path" not in summary  # the charts of the history show them


def test_the_summary_holds_the_scores(records, summary):
    expected = {
        "test/n": 400,
        "test/accuracy": 0.7,
        "test/accuracy_low": 0.65,
        "test/accuracy_high": 0.74,
        "best_epoch": 7,
        "timing/fit_seconds": 12.5,
        "temperature": 1.3,
        "test/ece_scaled": 0.02,
        "elsewhere/ferplus/accuracy": 0.6,
        "elsewhere/rafdb/missing": None,
    }
    assert {name: summary.get(name) for name in expected} == expected
    configs = [record["config"]["update"] for record in records if record["type"] == "config"]
    assert {"dataset": "fer2013"} in [config.get("protocol") for config in configs]


def test_the_record_is_an_artifact_that_refers_to_the_files_in_the_run_folder(folder, records):
    artifacts = [record["artifact"] for record in records if record["type"] == "artifact"]
    (artifact,) = [artifact for artifact in artifacts if artifact["type"] == "run-record"]
    stored = {entry["path"]: entry["local_path"] for entry in artifact["manifest"]["contents"]}
    names = ["config.yaml", "metrics.json", "predictions.parquet", "history.csv", "checkpoints/best.ckpt"]
    names += ["figures/curves.png", "figures/reliability_test.png"]
    assert stored == {name: str(folder.resolve() / name) for name in names}
