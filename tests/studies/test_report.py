from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fer_lightning.errors import UserError
from fer_lightning.results.collect import collect_runs
from fer_lightning.studies.comparison_table import Credible
from fer_lightning.studies.definition import FurtherTable, StudyDefinition
from fer_lightning.studies.report import StudyReport, build_study, draw_other_pictures, further_table

PUBLISHED = pd.DataFrame(
    [
        ("Table 6", "Full", "accuracy", "not stated", 98.1, "%"),
        ("Table 6", "- fusion", "accuracy", "not stated", 96.6, "%"),
        ("Table 6", "- spectral", "accuracy", "not stated", 97.5, "%"),
        ("Table 4", "Overall", "accuracy", "FER2013", 94.05, "%"),
        ("Table 4", "Happy", "recall", "FER2013", 0.95, "ratio"),
        ("abstract", "HAFEM", "accuracy", "FER2013", 94.7, "%"),
        ("abstract", "HAFEM", "accuracy", "RAF-DB", 95.1, "%"),
    ],
    columns=["table", "row", "metric", "dataset", "value", "unit"],
)
CREDIBLE = {("fer2013", 2, "PublicTest"): Credible("PublicTest", 0.733, 0.768, 0.64)}
SHARES = {"full": 0.8, "no_fusion": 0.6, "no_suppression": 0.7}
BLOCK = {
    "table": "Table 6",
    "title": "Parts",
    "reference": "Full",
    "metrics": {"accuracy": "accuracy"},
    "rows": {"Full": "full", "- fusion": "no_fusion", "- spectral": "no_spectral"},
    "own_rows": {"- suppression": "no_suppression"},
}
PUBLISHED_SPREADS = pd.DataFrame(
    [
        ("Table 11", "ResNet Model", "accuracy", "not stated", 95.37, "%"),
        ("Table 11", "Proposed Model", "accuracy", "not stated", 96.5, "%"),
        ("Table 11", "ResNet Model", "standard deviation", "not stated", 0.18, "%"),
        ("Table 11", "Proposed Model", "standard deviation", "not stated", 0.12, "%"),
        ("Table 12", "Proposed vs. ResNet", "p-value", "not stated", 0.0057, ""),
        ("Table 12", "Proposed vs. ViT", "p-value", "not stated", 0.0012, ""),
    ],
    columns=["table", "row", "metric", "dataset", "value", "unit"],
)
COMPARISON = pd.DataFrame(
    {
        "variant": ["resnet", "psysfa_net", np.nan],
        "mean": [0.65432, 0.67, np.nan],
        "sd": [0.0123, np.nan, np.nan],
        "p_holm": [0.00004, np.nan, np.nan],
        "test": ["paired t, 3 seeds", None, None],
        "n_seeds": [3, 1, 0],
    }
)
TITLES = {"a": "Full", "b": "- fusion"}


def write_study(folder: Path, write_record, seeds: int, dataset: str = "fer2013") -> None:
    rng = np.random.default_rng(0)
    for name, share in SHARES.items():
        for seed in range(seeds):
            options = [f"ablation={name}", "study=parts"]
            write_record(folder / f"{name}{seed}", options, seed, rng.random(200) < share, dataset)


def build(folder: Path, **changes: object) -> StudyReport:
    definition = StudyDefinition.from_block("parts", {**BLOCK, **changes})
    return build_study(definition, collect_runs(folder), PUBLISHED, CREDIBLE, "fer train study=parts", None, 8, ["a=1"])


@pytest.fixture(scope="module")
def report(tmp_path_factory, write_record) -> StudyReport:
    folder = tmp_path_factory.mktemp("study")
    write_study(folder, write_record, seeds=2)
    write_record(folder / "elsewhere", ["ablation=band_low"], 0, np.arange(200) < 90)
    for name in ("full0", "full1", "no_fusion0"):
        history = {"epoch": [1.0, 2.0], "val/accuracy": [0.2, 0.4]}
        pd.DataFrame(history).to_csv(folder / name / "history.csv", index=False)
    return build(folder)


def test_each_published_number_stands_beside_what_was_measured(report):
    comparison = report.comparisons["accuracy"].table.set_index("row")
    assert comparison["published"].dropna().to_dict() == pytest.approx(
        {"Full": 0.981, "- fusion": 0.966, "- spectral": 0.975}
    )
    own = report.runs[report.runs["variant"] == "no_fusion"]["accuracy"]
    assert comparison.loc["- fusion", "mean"] == pytest.approx(own.mean())
    assert comparison["n_seeds"].to_dict() == {"Full": 2, "- fusion": 2, "- spectral": 0, "- suppression": 2}
    assert comparison.loc["- fusion", "test"] == "paired t, 2 seeds"


def test_clean_test_images_have_a_comparison_of_their_own(report):
    assert list(report.comparisons) == ["accuracy", "accuracy on clean test images"]


def test_runs_of_other_studies_are_left_out(report):
    assert set(report.runs["variant"]) == set(SHARES) and len(report.runs) == 6
    assert report.facts["Runs"] == "6 of 8" and report.unfinished == ["a=1"]


def test_all_pictures_have_a_caption(report):
    assert list(report.figures) == ["scores", "curves", "ranks", "roc", "confusion"] == list(report.captions)
    assert report.captions["confusion"].startswith("Confusion matrix of Full on the test images of fer2013, 2 seeds")
    labels = [text.get_text() for text in report.figures["curves"].legends[0].get_texts()]
    assert labels == ["Full, 2 seeds", "- fusion, 1 seed"]
    assert "400" in report.figures["confusion"].axes[0].get_title(loc="left")


def test_ranks_need_two_seeds(tmp_path, write_record):
    write_study(tmp_path, write_record, seeds=1)
    assert "ranks" not in build(tmp_path).figures


def test_a_reference_that_was_not_run_yet(tmp_path, write_record):
    write_record(tmp_path / "a", ["ablation=no_fusion"], 0, np.arange(200) < 90)
    report = build(tmp_path)
    assert list(report.figures) == ["scores"]
    assert report.comparisons["accuracy"].table["n_seeds"].tolist() == [0, 1, 0, 0]


def test_classes_of_one_net(tmp_path, write_record):
    right = np.arange(200) % 4 != 0  # half of the happy ones, which are the even
    write_record(tmp_path / "a", ["ablation=full"], 0, right)
    block = {"table": "Table 4", "reference": None, "rows": {"Overall": "full"}, "own_rows": {}}
    report = build(tmp_path, **block, per_class={"metrics": {"recall": "recall"}, "rows": {"Happy": "happy"}})
    (happy,) = report.comparisons["recall"].table.to_dict("records")
    assert (happy["row"], happy["published"], happy["mean"]) == ("Happy", 0.95, 0.5)
    assert report.comparisons["accuracy"].table["mean"].tolist() == [0.75]
    assert {"scores", "scores_recall", "roc", "confusion"} <= set(report.figures)


def test_one_net_on_several_data_sets(tmp_path, write_record):
    for dataset, right in (("fer2013", 120), ("rafdb", 160)):
        write_record(tmp_path / dataset, [f"data={dataset}"], 0, np.arange(200) < right, dataset)
    rows = {"FER2013": "fer2013", "RAF-DB": "rafdb"}
    report = build(tmp_path, table="abstract", per_dataset="HAFEM", rows=rows, own_rows={}, reference=None)
    comparison = report.comparisons["accuracy"].table
    assert comparison["row"].tolist() == ["FER2013", "RAF-DB"]
    assert comparison["published"].tolist() == pytest.approx([0.947, 0.951])
    assert comparison["mean"].tolist() == [0.6, 0.8]
    assert {"roc_fer2013", "roc_rafdb", "confusion_fer2013", "confusion_rafdb"} <= set(report.figures)


def test_several_nets_are_no_single_one(tmp_path, write_record):
    write_study(tmp_path, write_record, seeds=1)
    with pytest.raises(UserError, match="compares one variant on several data sets, but its folder holds full, no_f"):
        build(tmp_path, per_dataset="HAFEM", own_rows={}, reference=None)


def test_other_published_tables_stand_beside(tmp_path, write_record):
    write_study(tmp_path, write_record, seeds=2)
    table = {"table": "Table 6", "columns": {"accuracy": "mean"}, "rows": {"- fusion": "no_fusion"}}
    report = build(tmp_path, also=[table])
    mean = report.runs.loc[report.runs["variant"] == "no_fusion", "accuracy"].mean()
    assert report.beside["Table 6"]["measured mean"].tolist() == [f"{100 * mean:.2f} %"]


def test_protocols_do_not_mix(tmp_path, write_record):
    write_study(tmp_path, write_record, seeds=1)
    path = tmp_path / "full0" / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["protocol"]["split"] = "random"
    path.write_text(json.dumps(metrics))
    with pytest.raises(UserError, match=r"different protocols.*split"):
        build(tmp_path)


def test_runs_of_one_row_with_different_options(tmp_path, write_record):
    write_study(tmp_path, write_record, seeds=1)
    write_record(tmp_path / "full1", ["ablation=full", "study=parts", "optimizer.lr=1"], 1, np.arange(200) < 90)
    with pytest.raises(UserError, match=r"runs of full must have the same options; some are .*full, optimizer.lr=1"):
        build(tmp_path)


def test_runs_of_one_row_under_another_recipe(tmp_path, write_record):
    write_study(tmp_path, write_record, seeds=1)
    write_record(tmp_path / "full1", ["experiment=strong", "ablation=full"], 1, np.arange(200) < 90)
    with pytest.raises(UserError, match=r"runs of full must have the same options; some are .*strong, full"):
        build(tmp_path)


def test_trials_of_a_search_have_no_test_scores(tmp_path, write_record):
    write_record(tmp_path / "a", ["ablation=full"], 0, np.arange(200) < 90)
    path = tmp_path / "a" / "metrics.json"
    metrics = json.loads(path.read_text())
    path.write_text(json.dumps({**metrics, "splits": {"val": metrics["splits"]["test"]}}))
    with pytest.raises(UserError, match=r"a was not scored on test, like the trials of a search"):
        build(tmp_path)


def test_titles_that_begin_alike_stay_apart(tmp_path, write_record):
    write_study(tmp_path, write_record, seeds=1)
    for name in ("full", "no_fusion"):
        pd.DataFrame({"epoch": [1.0, 2.0], "val/accuracy": [0.2, 0.4]}).to_csv(tmp_path / f"{name}0" / "history.csv")
    rows = {f"{'psysfa_net, ' * 4}data.batch_size={size}": name for size, name in ((8, "full"), (16, "no_fusion"))}
    report = build(tmp_path, table=None, rows={}, own_rows=rows, reference=None)
    labels = [text.get_text() for text in report.figures["curves"].legends[0].get_texts()]
    assert labels == [f"{title}, 1 seed" for title in rows]


def test_a_score_that_records_do_not_have(tmp_path, write_record):
    write_study(tmp_path, write_record, seeds=1)
    with pytest.raises(UserError, match=r"needs the scores acuracy, which its records do not have: .*accuracy"):
        build(tmp_path, metrics={"accuracy": "acuracy"})


def test_no_run_belongs_to_a_row(tmp_path, write_record):
    write_record(tmp_path / "a", ["ablation=band_low"], 0, np.arange(200) < 90)
    with pytest.raises(UserError, match="No run of study=parts belongs to one of its rows; got band_low"):
        build(tmp_path)


def test_spreads_beside_published_ones():
    rows = {"ResNet Model": "resnet", "Proposed Model": "psysfa_net"}
    table = further_table(
        FurtherTable("Table 11", {"accuracy": "mean", "standard deviation": "sd"}, rows), PUBLISHED_SPREADS, COMPARISON
    )
    assert table.to_dict("records") == [
        {
            "row": "ResNet Model",
            "published accuracy, as a claim": "95.37 %",
            "measured mean": "65.43 %",
            "published standard deviation, as a claim": "0.18 %",
            "measured sd": "1.23 %",
            "seeds": "3",
        },
        {
            "row": "Proposed Model",
            "published accuracy, as a claim": "96.5 %",
            "measured mean": "67.00 %",
            "published standard deviation, as a claim": "0.12 %",
            "measured sd": "-",
            "seeds": "1",
        },
    ]


def test_p_values_tell_their_test():
    rows = {"Proposed vs. ResNet": "resnet", "Proposed vs. ViT": "vit"}
    table = further_table(FurtherTable("Table 12", {"p-value": "p_holm"}, rows), PUBLISHED_SPREADS, COMPARISON)
    assert table["published p-value, as a claim"].tolist() == ["0.0057", "0.0012"]
    assert table["measured p (Holm)"].tolist() == ["< 0.0001", "not run"]
    assert table["test"].tolist() == ["paired t, 3 seeds", "-"]


@pytest.mark.parametrize(
    ("columns", "rows", "told"),
    [
        ({"p-value": "median"}, {}, "cannot show median: choose from mean, sd, p, p_holm"),
        ({"p-value": "p"}, {"Proposed vs. GAN": "gan"}, "Table 12 has no p-value of 'Proposed vs. GAN'"),
        ({"accuracy": "mean"}, {}, "no accuracy in Table 12"),
    ],
)
def test_what_is_wrong_is_told(columns, rows, told):
    with pytest.raises(UserError, match=told):
        further_table(FurtherTable("Table 12", columns, rows), PUBLISHED_SPREADS, COMPARISON)


@pytest.fixture
def folder(tmp_path, write_record) -> Path:
    for name in TITLES:
        write_record(tmp_path / name, [f"ablation={name}"], 0, np.arange(200) < 150)
    return tmp_path


def draw(folder: Path, **asked: bool) -> tuple[dict, dict[str, str]]:
    runs = collect_runs(folder)
    definition = StudyDefinition("study", "Title", {"accuracy": "accuracy"}, {"Full": "a"}, **asked)
    return draw_other_pictures(definition, runs[runs["split"] == "test"], TITLES)


def test_corrupted_images_under_the_titles_of_the_rows(folder):
    for name, accuracy in (("a", 0.4), ("b", 0.5)):
        table = {"corruption": ["clean", "blur"], "severity": [0, 1], "accuracy": [0.75, accuracy]}
        pd.DataFrame(table).to_csv(folder / name / "robustness.csv", index=False)
    pictures, tables = draw(folder, robustness=True)
    assert list(pictures) == ["robustness"]
    (text,) = tables.values()
    assert text.startswith("| corruption | Full | - fusion |") and "40.0 %" in text and "50.0 %" in text


def test_what_was_not_scored_or_not_asked_for_is_not_shown(folder):
    assert draw(folder, robustness=True) == ({}, {})
    assert draw(folder) == ({}, {})


def test_data_sets_of_the_others(folder):
    pictures, tables = draw(folder, cross_dataset=True)
    assert list(pictures) == ["cross_dataset_1", "cross_dataset_2"]
    assert "**Full**" in tables["Across data sets"] and "75.0 %" in tables["Across data sets"]
