from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from fer_lightning.results.calibration import calibrate
from fer_lightning.results.run_record import RunRecord

DRAWN = ["+data@elsewhere.synthetic=synthetic", "elsewhere.synthetic.size=140"]


@pytest.fixture
def drawn(tmp_path):
    return [*DRAWN, f"elsewhere.synthetic.cache_dir={tmp_path / 'cache'}"]


def test_a_run_is_scored_on_other_data_as_well(fer, tiny, drawn, tmp_path, trained_run, capsys, monkeypatch):
    """Missing data and the training data are skipped; evaluating the network logs the same as training it."""
    monkeypatch.setenv("FER_RAFDB_ROOT", "/nowhere")  # as for data=rafdb
    options = ["+data@elsewhere.rafdb=rafdb", "+data@elsewhere.folder=folder"]
    folder = tmp_path / "run"
    assert fer("train", *tiny, "trainer.max_epochs=1", *drawn, *options, f"hydra.run.dir={folder}") == 0
    found = json.loads((folder / "metrics.json").read_text())["elsewhere"]
    assert list(found) == ["synthetic", "rafdb"]
    assert found["rafdb"]["missing"].startswith("No RAF-DB was found at elsewhere.rafdb.root=/nowhere")
    told = " ".join(capsys.readouterr().out.split())
    assert told.count("elsewhere.rafdb is skipped") == 1 and "On other data, test" in told
    there = found["synthetic"]
    assert there["protocol"]["dataset"] == "synthetic" and there["protocol"]["classes"] == ["happy", "sad", "surprise"]
    assert set(there["left_out"]) == {"angry", "disgust", "fear", "neutral"}
    assert there["n"] == there["protocol"]["counts"]["test"] - sum(there["left_out"].values())
    assert (there["seen"], there["same_pictures"]) == (0, 0)

    again = tmp_path / "again"
    common = ["trainer=cpu", "trainer.precision=32-true", "trainer.enable_progress_bar=false"]
    assert fer("evaluate", *common, *drawn, f"checkpoint={folder}", f"hydra.run.dir={again}") == 0
    assert json.loads((again / "metrics.json").read_text())["elsewhere"] == {"synthetic": there}


def test_the_record_of_a_run_holds_its_temperature(trained_run):
    record = RunRecord.read(trained_run)
    classes = record.metrics["protocol"]["classes"]
    shares = dict.fromkeys(classes, 1 / 3)  # the training split has equally many images of each class
    assert record.metrics["calibration"] == calibrate(record.predictions, classes, shares)
    assert record.metrics["elsewhere"] == {}
    for name in ("ece", "loss"):
        assert record.metrics["calibration"]["test"][name] == pytest.approx(
            record.metrics["splits"]["test"][name], abs=1e-5
        )
    assert pd.read_parquet(trained_run / "predictions.parquet").equals(record.predictions)


@pytest.fixture(scope="module")
def multirun(fer, tiny, tmp_path_factory) -> Path:
    """Two learning rates, logged to W&B offline."""
    folder = tmp_path_factory.mktemp("multirun") / "rates"
    logged = ["logger=wandb", "logger.wandb.mode=offline", "logger.wandb.tags=[mine]", "callbacks=progress"]
    swept = ["trainer.max_epochs=2", "corruptions=[blur]", "optimizer.lr=1e-3,1e-2", "seed=1"]
    assert fer("train", "-m", *tiny, *logged, *swept, f"hydra.sweep.dir={folder}") == 0
    return folder


@pytest.fixture(scope="module", params=["1e-3", "1e-2"])
def logged(request, multirun) -> tuple[str, Path, list[dict]]:
    """Learning rate of a run, its W&B folder and what W&B's own viewer reads in it."""
    (folder,) = (multirun / str(["1e-3", "1e-2"].index(request.param)) / "wandb").glob("offline-run-*")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    return request.param, folder, [json.loads(line) for line in found.stdout.splitlines()]


def test_a_run_in_wandb_has_name_group_type_and_tags(logged):
    rate, _, records = logged
    (run,) = [record["run"] for record in records if record["type"] == "run"]
    assert run["display_name"] == f"resnet, optimizer.lr={float(rate)}-folder-s1"
    assert (run["run_group"], run["job_type"]) == ("rates", "train")
    assert run["tags"] == ["mine", "folder", "resnet", "official, 3 classes"]


def test_choices_and_overrides_are_the_config_in_wandb(logged):
    rate, _, records = logged
    config: dict = {}
    for record in records:
        if record["type"] == "config":
            config.update(record["config"]["update"])
    assert config["choices"]["model"] == "resnet" and config["choices"]["data"] == "folder"
    assert not any("." in group or "hydra" in group for group in config["choices"])
    assert f"optimizer.lr={float(rate)}" in config["overrides"].split()
    assert config["variant"] == f"resnet, optimizer.lr={float(rate)}"
    assert config["protocol"]["dataset"] == "folder"


def test_the_history_in_wandb_has_rate_speed_and_memory(logged):
    _, folder, records = logged
    history = [record["history"]["item"] for record in records if record["type"] == "history"]
    rows = [row for row in history if "lr" in row]
    stored = pd.read_csv(folder.parents[1] / "history.csv")
    assert [row["lr"] for row in rows] == stored["lr"].tolist()
    assert [row["epoch"] for row in rows] == [0, 1]
    speed = stored["images"] / stored["train_seconds"]
    assert [row["images_per_second"] for row in rows] == pytest.approx(speed.tolist())
    assert all(0.1 < row["memory_gb"] < 100 for row in rows)
    steps = {row["trainer/global_step"] for row in rows}
    assert steps == {row["trainer/global_step"] for row in history if "val/accuracy" in row}


def test_the_summary_in_wandb_is_that_of_the_selected_epoch(logged):
    _, folder, records = logged
    defined = [record["metric"] for record in records if record["type"] == "metric"]
    assert [metric["summary"] for metric in defined if metric.get("name") == "val/accuracy"] == [{"max": True}]
    summary: dict = {}
    for record in records:
        if record["type"] == "summary":
            summary.update(record["summary"]["update"])
    metrics = json.loads((folder.parents[1] / "metrics.json").read_text())
    assert summary["val/accuracy"] == metrics["splits"]["val"]["accuracy"]
    assert summary["robustness/blur"] == metrics["robustness"]["accuracy"]["blur"]


def test_wandb_logs_lines_and_no_frame_of_the_progress_bar(logged):
    _, _, records = logged
    lines = [record["output_logger"]["line"] for record in records if record["type"] == "output_logger"]
    epochs = [line for line in lines if "epoch 1/2" in line or "epoch 2/2" in line]
    assert len(epochs) == 2 and len(lines) < 20
    assert not any("\x1b" in line for line in lines)
    assert not any(record["type"] in ("output", "output_raw") for record in records)


def test_no_chart_in_wandb_has_a_picture_of_the_same(logged):
    _, folder, _ = logged
    drawn = {path.stem for path in (folder.parents[1] / "figures").glob("*.png")}
    assert {"confusion_test", "roc_test", "curves", "robustness", "reliability_test"} <= drawn
    shown = {path.name.rpartition("_")[0].rpartition("_")[0] for path in (folder / "files").rglob("figures/*.png")}
    assert shown == {"reliability_test", "corruptions"}
    tables = {path.name.partition("_")[0] for path in (folder / "files").rglob("robustness/*.json")}
    assert tables == {"severity"}


def test_every_panel_of_the_saved_workspace_shows_what_a_run_logs(logged):
    pytest.importorskip("wandb_workspaces", reason="needs the extra workspaces")
    from fer_lightning.studies.wandb_study import build_workspace, view_panels

    _, _, records = logged
    known: set[str] = set()
    config: dict = {}
    for record in records:
        if record["type"] == "history":
            known.update(record["history"]["item"])
        if record["type"] == "summary":
            known.update(record["summary"]["update"])
        if record["type"] == "config":
            config.update(record["config"]["update"])
    workspace = build_workspace("me", "faces", "rates", view_panels())
    used = panel_keys(workspace._to_model().model_dump(mode="json", by_alias=True))
    assert {"val/accuracy", "lr", "test/ece_scaled", "robustness/severity_table"} <= used["metrics"]
    # Tables and pictures are files.
    assert [name for name in used["metrics"] if name not in known and f"{name}.path" not in known] == []
    absent = {name for name in used["config"] if not _has(config, name)}
    assert absent == {"choices.value.ablation"}  # of a run without one


def _has(config: dict, name: str) -> bool:
    """Whether a config has what a panel names as `optimizer.value.lr`."""
    first, _, *rest = name.split(".")
    value = config.get(first)
    for key in rest:
        value = value.get(key) if isinstance(value, dict) else None
    return value is not None


def panel_keys(model: dict) -> dict[str, set[str]]:
    """Metrics and options that the panels of a workspace name."""
    metrics: set[str] = set()
    options: set[str] = set()
    values: list = [model]
    for value in values:
        if isinstance(value, list):
            values += value
        if not isinstance(value, dict):
            continue
        values += value.values()
        settings = value.get("config") if "viewType" in value else None
        if not settings:
            continue
        metrics.update(name.removeprefix("summary_metrics.") for name in settings.get("metrics") or [])
        metrics.update(settings.get("mediaKeys") or [])
        if settings.get("groupBy"):
            options.add(settings["groupBy"])
        for field in (settings.get("userQuery") or {}).get("queryFields", []):
            for below in field["fields"]:
                metrics.update(each["value"] for each in below.get("args") or [] if each["name"] == "tableKey")
        for column in settings.get("columns") or []:
            if isinstance(column, dict):
                kind, _, name = column["accessor"].partition(":")
                (options if kind == "config" else metrics).add(name)
    return {"metrics": metrics, "config": options}
