from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import wandb
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from pytorch_lightning.loggers import CSVLogger
from wandb.errors import AuthenticationError, CommError

from fer_lightning.cli import conf_dir
from fer_lightning.errors import UserError
from fer_lightning.training import wandb_logger
from fer_lightning.training.wandb_logger import WandbRunLogger, choose_mode, close_wandb

TWO_RUNS = """
import os, sys
from pytorch_lightning.loggers import CSVLogger
from fer_lightning.training.wandb_logger import WandbRunLogger, close_wandb

for number, failed in ((1, True), (2, False)):
    folder = f"{sys.argv[1]}/{number}"
    logger = WandbRunLogger(folder, "auto", "project", None, f"run {number}", "group", ["tag"], 5, False)
    logger.log_hyperparams({"number": number})
    logger.log_metrics({"val/accuracy": number / 10}, step=number)
    close_wandb([CSVLogger(folder), logger], failed)
unused = WandbRunLogger(f"{sys.argv[1]}/3", "auto", "project", None, None, None, [], 5, False)
close_wandb([unused], failed=False)
assert "WANDB_MODE" not in os.environ
"""


def in_process_of_its_own(
    code: str, *arguments: object, home: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Runs code as somebody who never used W&B."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "NETRC"))}
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**environment, "HOME": str(home), **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )


def inspect(folder: Path) -> list[dict]:
    """What W&B's own viewer reads from the single run in a run folder."""
    (run,) = (folder / "wandb").glob("*run-*")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(run)]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    return [json.loads(line) for line in found.stdout.splitlines()]


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("two_runs")
    done = in_process_of_its_own(TWO_RUNS, root, home=root)
    assert done.returncode == 0, done.stderr
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


def test_online_without_a_server_goes_offline_and_says_so(tmp_path):
    done = in_process_of_its_own(
        UNREACHABLE,
        tmp_path / "run",
        home=tmp_path,
        WANDB_API_KEY="0" * 40,
        WANDB_BASE_URL="http://127.0.0.1:9",  # the discard port: refused
        WANDB_HTTP_TIMEOUT="1",
    )
    assert done.returncode == 0, done.stderr
    assert "out of reach, so this run is logged offline; wandb sync sends it later" in done.stderr
    assert any(record["type"] == "history" for record in inspect(tmp_path / "run"))


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
    close_wandb([logger, CSVLogger(tmp_path)], failed=True)
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
    with pytest.raises(UserError, match="WANDB_MODE=nonsense is unknown"):
        WandbRunLogger(str(tmp_path), "auto", "p", None, None, None, [], 30, False)
