from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from fer_lightning import study_wandb
from fer_lightning.cli import conf_dir
from fer_lightning.study_wandb import log_study_run
from fer_lightning.training.wandb_logger import WandbRunLogger

LOGGED = """
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from conftest import make_study_report
from fer_lightning.studies.page import write_page
from fer_lightning.study_wandb import log_study_run

folder = Path(sys.argv[2])
report = make_study_report()
page = write_page(report, folder.parent / "report")
print(log_study_run(report, page, folder, "offline").name)
print(log_study_run(report, page, folder, "offline"))
"""


def finished_run(folder: Path, *loggers: str, **settings: object) -> None:
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text("{}")
    chosen = OmegaConf.merge(*(OmegaConf.load(conf_dir() / "logger" / f"{name}.yaml") for name in loggers))
    if settings:
        chosen.wandb.update(settings)
    OmegaConf.save(
        OmegaConf.create({"output_dir": str(folder), "logger": chosen}), folder / "config.yaml", resolve=True
    )


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "index.html"
    path.write_text("<p>found</p>")
    return path


@pytest.fixture
def asked(monkeypatch) -> list[tuple[str, str]]:
    """Project and mode of what would be logged."""
    asked = []

    def log(report, page, folder, node, mode):
        asked.append((node.project, mode))
        (folder / "wandb").mkdir(parents=True, exist_ok=True)
        return folder / "wandb" / "run-1"

    monkeypatch.setattr(study_wandb, "_log", log)
    return asked


@pytest.mark.slow
def test_a_study_is_logged_once_in_the_group_of_its_runs(tmp_path):
    folder = tmp_path / "components_fer2013_pilot"
    finished_run(folder / "full_seed0", "csv", "wandb", project="faces")
    command = [sys.executable, "-c", LOGGED, str(Path(__file__).parent), str(folder)]
    environment = {"HOME": str(tmp_path), "PATH": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    (logged,) = (folder / "wandb").glob("offline-run-*")
    assert done.stdout.splitlines()[-2:] == [logged.name, "None"]
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(logged)]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    records = [json.loads(line) for line in found.stdout.splitlines()]
    (run,) = [record["run"] for record in records if record["type"] == "run"]
    assert (run["project"], run["run_group"]) == ("faces", "components_fer2013_pilot")
    assert (run["display_name"], run["tags"]) == ("study table_6", ["study"])
    summary = {}
    for record in records:
        if record["type"] == "summary":
            summary.update(record["summary"]["update"])
    assert (summary["runs/finished"], summary["reference/accuracy/mean"]) == (3, 0.493)
    media = logged / "files" / "media"
    assert {path.name.partition("_0_")[0] for path in (media / "images" / "figures").iterdir()} == {"scores"}
    (page,) = (media / "html").glob("page*.html")
    assert page.read_text() == (tmp_path / "report" / "index.html").read_text()
    assert {path.relative_to(media / "table").parts[0] for path in (media / "table").rglob("*.json")} >= {"ledger"}
    assert [record["exit"].get("exit_code", 0) for record in records if record["type"] == "exit"] == [0]


@pytest.mark.parametrize("mode, logged", [("auto", [("faces", "offline")]), ("online", [("faces", "online")])])
def test_auto_is_how_the_runs_were_logged(study_report, page, asked, mode, logged):
    finished_run(page.parent / "a", "csv")
    finished_run(page.parent / "b", "wandb", project="faces", mode="offline")
    log_study_run(study_report, page, page.parent, mode)
    assert asked == logged


def test_auto_leaves_alone_who_logs_elsewhere(study_report, page, asked):
    finished_run(page.parent / "a", "csv")
    assert log_study_run(study_report, page, page.parent, "auto") is None
    log_study_run(study_report, page, page.parent, "offline")
    assert asked == [("fer_lightning", "offline")]


def test_disabled(study_report, page, asked):
    finished_run(page.parent / "a", "wandb")
    assert log_study_run(study_report, page, page.parent, "disabled") is None and asked == []


def test_what_is_new_is_logged_again(study_report, page, asked):
    finished_run(page.parent / "a", "wandb")
    for text in ("<p>found</p>", "<p>found</p>", "<p>more</p>", "<p>more</p>"):
        page.write_text(text)
        log_study_run(study_report, page, page.parent, "auto")
    assert len(asked) == 2


def test_what_was_logged_offline_can_be_logged_online(study_report, page, asked):
    for mode in ("offline", "offline", "online", "online"):
        log_study_run(study_report, page, page.parent, mode)
    assert [mode for _, mode in asked] == ["offline", "online"]


def test_the_run_is_ended_whatever_happens(study_report, page, monkeypatch):
    ends = []

    def fails(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr("fer_lightning.studies.wandb_study.log_study", fails)
    monkeypatch.setattr(WandbRunLogger, "experiment", None)
    monkeypatch.setattr(WandbRunLogger, "close", lambda self, failed: ends.append(failed))
    with pytest.raises(OSError, match="disk full"):
        log_study_run(study_report, page, page.parent, "offline")
    assert ends == [True] and not (page.parent / "wandb").exists()
