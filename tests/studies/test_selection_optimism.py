from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from fer_lightning.errors import UserError
from fer_lightning.results.collect import collect_runs
from fer_lightning.results.selection_optimism import TRACKED, TrackedPredictions, optimism_by_size
from fer_lightning.studies.definition import StudyDefinition
from fer_lightning.studies.markdown import write_study
from fer_lightning.studies.page import study_page
from fer_lightning.studies.report import StudyReport
from fer_lightning.studies.selection_optimism import BY_SIZE, FRESH, WHOLE, build_optimism

DEFINITION = StudyDefinition(
    "optimism",
    "What selection adds",
    {"accuracy": "accuracy"},
    own_rows={"PsySFA-Net": "psysfa_net", "ResNet": "resnet"},
    selection_optimism=True,
)
TARGETS = np.arange(3400) % 2
SELECTED = {0: 3, 1: 2, 2: 4}  # epoch by seed


def write_run(folder: Path, write_record, net: str, epochs: int, seed: int, images: int = 3400, **changes) -> None:
    write_record(folder, [f"baseline={net}", f"trainer.max_epochs={epochs}"], seed, np.ones(200, bool))
    path = folder / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics |= {"best_epoch": SELECTED[seed], "epochs": epochs, "track_test": True}
    metrics["protocol"]["counts"]["test"] = len(TARGETS)
    path.write_text(json.dumps({**metrics, **changes}))
    right = np.random.default_rng([seed, epochs]).random((epochs, images)) < 0.6
    targets = TARGETS[:images]
    TrackedPredictions(np.arange(1, epochs + 1), targets, np.where(right, targets, 1 - targets)).write(folder / TRACKED)


@pytest.fixture(scope="module")
def study(tmp_path_factory, write_record) -> Path:
    folder = tmp_path_factory.mktemp("study")
    for net, epochs in (("resnet", 12), ("resnet", 5), ("psysfa_net", 5)):
        for seed in range(3 if net == "resnet" else 1):
            write_run(folder / f"{net}_{epochs}_{seed}", write_record, net, epochs, seed)
    return folder


def build(folder: Path) -> StudyReport:
    return build_optimism(DEFINITION, collect_runs(folder), "fer train study=optimism", "pilot", 9, ["seed=2"])


@pytest.fixture(scope="module")
def report(study) -> StudyReport:
    return build(study)


def accuracies_of(study: Path, run: str) -> np.ndarray:
    with np.load(study / run / TRACKED) as arrays:
        return (arrays["predicted"] == arrays["targets"]).mean(axis=1)


def test_the_table_is_that_of_the_predictions(study, report):
    table = report.beside[WHOLE].set_index("row")
    assert [*table.index] == ["PsySFA-Net, 5 epochs", "ResNet, 5 epochs", "ResNet, 12 epochs", "all runs"]
    assert table["runs"].tolist() == ["1", "3", "3", "7"]
    runs = [accuracies_of(study, f"resnet_12_{seed}") for seed in range(3)]
    gains = np.array([100 * (run.max() - run[SELECTED[seed] - 1]) for seed, run in enumerate(runs)])
    half = t.ppf(0.975, 2) * gains.std(ddof=1) / 3**0.5
    row = table.loc["ResNet, 12 epochs"]
    assert row["optimism [95 %]"] == f"{gains.mean():.2f} [{gains.mean() - half:.2f}, {gains.mean() + half:.2f}]"
    assert row["best epoch"] == f"{100 * np.mean([run.max() for run in runs]):.1f} %"
    only = accuracies_of(study, "psysfa_net_5_0")
    assert table.loc["PsySFA-Net, 5 epochs", "optimism [95 %]"] == f"{100 * (only.max() - only[2]):.2f}"
    assert table.loc["PsySFA-Net, 5 epochs", "over last epoch [95 %]"] == f"{100 * (only.max() - only[-1]):.2f}"


def test_sizes_up_to_that_of_the_split(study, report):
    sizes = ["250 images", "500 images", "1,000 images", "2,000 images", "3,068 images", "3,400 images"]
    assert [*report.beside[BY_SIZE]] == ["row", *sizes] and [*report.beside[FRESH]] == ["row", *sizes[:-1]]
    runs = report.runs.set_index("run")
    tracked = TrackedPredictions.read(study / "resnet_5_1")
    expected = optimism_by_size(tracked, SELECTED[1], [250, 3068])
    for line in expected.itertuples():
        for name in ("optimism", "fresh"):
            assert runs.loc["resnet_5_1", f"{name}/{line.images}"] == pytest.approx(getattr(line, name))
    assert runs.loc["resnet_5_1", "optimism/3400"] == pytest.approx(runs.loc["resnet_5_1", "optimism"])


def test_the_verdict_says_what_the_tables_say(report):
    first, smaller, fresh = report.verdict
    runs, means = 100 * report.runs["optimism"], 100 * report.runs.groupby("variant")["optimism"].mean()
    half = t.ppf(0.975, 6) * runs.std(ddof=1) / 7**0.5
    whole = f"{runs.mean():.2f} points [{runs.mean() - half:.2f}, {runs.mean() + half:.2f}]"
    assert f"3,400 test images of fer2013, the best of all epochs scores {whole} more" in first
    assert f"(mean over 7 runs, {means.min():.2f} to {means.max():.2f} by network and length)" in first
    assert report.beside[BY_SIZE].iloc[-1]["3,068 images"].replace(" ", " points ", 1) in smaller
    assert "as many as RAF-DB's test split has" in smaller and "; on 250, " in smaller
    assert report.beside[FRESH].iloc[-1]["1,000 images"].replace(" ", " points ", 1) in fresh
    assert "scored after every epoch, for analysis, on PublicTest" in report.facts["Protocol"]


def test_files_and_page(report, tmp_path):
    names = {path.name for path in write_study(report, tmp_path)}
    tables = {"optimism.csv", "optimism_by_size.csv", "on_other_images.csv", "runs.csv", "table.md"}
    assert names == tables | {"optimism.png", "optimism_by_size.png"}
    page, markdown = study_page(report), (tmp_path / "table.md").read_text()
    for sentence in report.verdict:
        assert sentence in markdown and sentence.replace(" %", "\u00a0%").split("'")[0] in page
    assert "ResNet, 12 epochs" in page and "seed=2" in page and page.count("<figure>") == 2
    assert len(pd.read_csv(tmp_path / "runs.csv")) == 7


def test_a_short_test_split_has_one_size(tmp_path, write_record):
    write_run(tmp_path / "run", write_record, "resnet", 5, 0, images=200)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    metrics["protocol"]["counts"]["test"] = 200
    (tmp_path / "run" / "metrics.json").write_text(json.dumps(metrics))
    report = build(tmp_path)
    assert [*report.beside[BY_SIZE]] == ["row", "200 images"] and FRESH not in report.beside
    [sentence] = report.verdict
    assert "(one run, so that there is no interval)" in sentence


def test_runs_that_do_not_belong_together_are_refused(tmp_path, write_record):
    write_run(tmp_path / "a", write_record, "resnet", 5, 0)
    for name, net, message in (
        ("short", "resnet", "must hold predictions of all test images; it holds 200"),
        ("other", "psysfa_net", "follow different protocols"),
        ("options", "resnet", "must have the same options; they are resnet"),
        ("untracked", "resnet", r"track_test.npz is missing"),
    ):
        folder = tmp_path / name
        shutil.copytree(tmp_path / "a", folder / "first")
        write_run(folder / "second", write_record, net, 5, 1, images=200 if name == "short" else 3400)
        path = folder / "second" / "metrics.json"
        metrics = json.loads(path.read_text())
        if name == "other":
            metrics["protocol"]["fingerprint"] = "other"
        if name == "options":
            metrics["overrides"].append("optimizer.lr=1")
        if name == "untracked":
            (folder / "second" / TRACKED).unlink()
        path.write_text(json.dumps(metrics))
        with pytest.raises(UserError, match=message):
            build(folder)
    with pytest.raises(UserError, match="No run of study=optimism belongs to one of its rows; got vit"):
        write_run(tmp_path / "vit" / "run", write_record, "vit", 5, 0)
        build(tmp_path / "vit")
