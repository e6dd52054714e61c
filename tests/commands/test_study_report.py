from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from fer_lightning.commands import study_report as study_wandb
from fer_lightning.commands.study_report import compose_study, find_included, log_study_run
from fer_lightning.files import claims_dir, conf_dir
from fer_lightning.results.metrics_schema import identity
from fer_lightning.search.report import SearchDefinition, best_table
from fer_lightning.studies.comparison_table import read_published
from fer_lightning.studies.definition import StudyDefinition
from fer_lightning.studies.discovery import StudyRuns
from fer_lightning.studies.report import StudyReport
from fer_lightning.training.wandb_logger import WandbRunLogger

OWN = """# @package _global_
hydra:
  mode: MULTIRUN
  sweep:
    dir: outputs/mine
  sweeper:
    params:
      seed: range(2)
      model: resnet
report:
  title: Mine, under ${budget}
"""
LOGGED = """
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from conftest import make_study_report
from fer_lightning.studies.page import write_page
from fer_lightning.commands.study_report import log_study_run

folder = Path(sys.argv[2])
report = make_study_report()
page = write_page(report, folder.parent / "report")
print(log_study_run(report, page, folder, [folder / "full_seed0"], "offline").name)
print(log_study_run(report, page, folder, [folder / "full_seed0"], "offline"))
"""


def test_the_grid_in_the_order_of_its_runs():
    study = compose_study("psysfa_table7", "smoke", None)
    assert study.budget == "smoke"
    variants = ["psysfa_band_low", "psysfa_band_high", "psysfa_band_low_mid", "psysfa_full", "psysfa_band_all"]
    assert study.grid == [{"seed": seed, "ablation": name} for seed in "01" for name in variants]
    assert study.report is not None and study.report["table"] == "Table 7"


def test_a_search_has_no_grid():
    study = compose_study("psysfa_mboa", None, None)
    assert study.grid == [] and study.budget == "pilot"


def test_studies_of_the_user(tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "mine.yaml").write_text(OWN)
    study = compose_study("mine", None, tmp_path)
    assert study.grid == [{"seed": "0", "model": "resnet"}, {"seed": "1", "model": "resnet"}]
    assert study.report == {"title": "Mine, under pilot"}


@pytest.mark.parametrize("name", sorted(path.stem for path in (conf_dir() / "study").glob("*.yaml")))
def test_every_study_can_be_reported(name):
    """Its rows and metrics are those of the published table that it names."""
    study = compose_study(name, "smoke", None)
    block = study.report
    if block is None:
        pytest.skip("a search that shows all that it searched")
    published = read_published(claims_dir() / block["paper"] / "published.csv") if block.get("table") else None
    if not study.grid:
        best_table({}, SearchDefinition.from_block(name, block), published)
        return
    definition = StudyDefinition.from_block(name, block)
    for metric in definition.metrics:
        definition.claims(published, metric)


def found_study(name: str, dataset: str, *overrides: tuple[str, ...]) -> StudyRuns:
    runs = {
        Path(str(number)): {"overrides": each, "protocol": {"dataset": dataset}, **identity(each)}
        for number, each in enumerate(overrides)
    }
    own = {path: run for path, run in runs.items() if run["study"] == name}
    return StudyRuns(name, Path("folder"), own, runs)


def run_of_table_6(seed: int, budget: str = "smoke") -> tuple[str, ...]:
    return (f"seed={seed}", "ablation=psysfa_full", "study=psysfa_table6", f"budget={budget}")


def test_table_4_is_the_full_net_of_table_6():
    other = ("seed=0", "ablation=psysfa_band_low", "study=psysfa_table7", "budget=smoke")
    found = found_study("psysfa_table6", "fer2013", run_of_table_6(0), run_of_table_6(1), other)
    (shared,) = find_included([found], None)
    assert (shared.name, shared.folder, shared.budget) == ("psysfa_table4", found.folder, "smoke")
    assert shared.runs == shared.beside == found.runs


def test_the_table_of_the_data_set():
    runs = [run_of_table_6(seed) for seed in (0, 1)]
    names = {
        data: [study.name for study in find_included([found_study("psysfa_table6", data, *runs)], None)]
        for data in ("rafdb", "synthetic")
    }
    assert names == {"rafdb": ["psysfa_table3"], "synthetic": []}


def test_a_study_that_leaves_its_data_open_is_included_on_any():
    baselines = compose_study("hafem_baselines", "smoke", None).grid
    runs = [
        (*(f"{name}={value}" for name, value in run.items()), "study=hafem_baselines", "budget=smoke", "data=rafdb")
        for run in baselines
    ]
    (shared,) = find_included([found_study("hafem_baselines", "rafdb", *runs)], None)
    assert shared.name == "psysfa_table10" and len(shared.runs) == 20
    assert shared.command(("seed", "baseline")).endswith("budget=smoke data=rafdb")


@pytest.mark.parametrize(
    "beside",
    [run_of_table_6(1, budget="pilot"), ("seed=1", "ablation=psysfa_full", "study=psysfa_table4", "budget=smoke")],
    ids=["another budget", "named by a run"],
)
def test_what_is_open_of_another_budget_or_named_is_not_included(beside):
    whole = [run_of_table_6(seed) for seed in (0, 1)]
    assert find_included([found_study("psysfa_table6", "fer2013", *whole)], None)
    found = found_study("psysfa_table6", "fer2013", *whole[:1], beside)
    own = StudyRuns(found.name, found.folder, dict([*found.runs.items()][:1]), found.beside)
    assert find_included([own], None) == []
    assert find_included([found_study("psysfa_table6", "fer2013", *whole[:1])], None) == []


def test_a_study_is_included_once_in_a_folder():
    runs = [run_of_table_6(seed) for seed in (0, 1)]
    other = [(f"seed={seed}", "ablation=psysfa_band_low", "study=psysfa_table7", "budget=smoke") for seed in (0, 1)]
    found = [found_study(name, "fer2013", *runs, *other) for name in ("psysfa_table6", "psysfa_table7")]
    assert [study.name for study in find_included(found, None)] == ["psysfa_table4"]


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

    def record(report, page, folder, node, mode):
        asked.append((node.project, mode))
        (folder / "wandb").mkdir(parents=True, exist_ok=True)
        return folder / "wandb" / "run-1"

    monkeypatch.setattr(study_wandb, "_log", record)
    return asked


def log(report: StudyReport, page: Path, mode: str) -> Path | None:
    """Logs a study whose runs are the folders beside its page."""
    runs = [path for path in sorted(page.parent.iterdir()) if path.is_dir()]
    return log_study_run(report, page, page.parent, runs, mode)


@pytest.mark.slow
def test_a_study_is_logged_once_in_the_group_of_its_runs(tmp_path):
    folder = tmp_path / "components_fer2013_pilot"
    finished_run(folder / "full_seed0", "csv", "wandb", project="faces")
    command = [sys.executable, "-c", LOGGED, str(Path(__file__).parents[1]), str(folder)]
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
    assert (run["display_name"], run["tags"]) == ("study table_6", ["table_6", "study"])
    assert run["job_type"] == "study"
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
    log(study_report, page, mode)
    assert asked == logged


def test_auto_leaves_alone_who_logs_elsewhere(study_report, page, asked):
    finished_run(page.parent / "a", "csv")
    assert log(study_report, page, "auto") is None
    log(study_report, page, "offline")
    assert asked == [("fer_lightning", "offline")]


def test_disabled(study_report, page, asked):
    finished_run(page.parent / "a", "wandb")
    assert log(study_report, page, "disabled") is None and asked == []


def test_what_is_new_is_logged_again(study_report, page, asked):
    finished_run(page.parent / "a", "wandb")
    for text in ("<p>found</p>", "<p>found</p>", "<p>more</p>", "<p>more</p>"):
        page.write_text(text)
        log(study_report, page, "auto")
    assert len(asked) == 2


def test_what_was_logged_offline_can_be_logged_online(study_report, page, asked):
    for mode in ("offline", "offline", "online", "online"):
        log(study_report, page, mode)
    assert [mode for _, mode in asked] == ["offline", "online"]


def test_the_run_is_ended_whatever_happens(study_report, page, monkeypatch):
    ends = []

    def fails(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr("fer_lightning.studies.wandb_study.log_study", fails)
    monkeypatch.setattr(WandbRunLogger, "experiment", None)
    monkeypatch.setattr(WandbRunLogger, "close", lambda self, failed: ends.append(failed))
    with pytest.raises(OSError, match="disk full"):
        log(study_report, page, "offline")
    assert ends == [True] and not (page.parent / "wandb").exists()
