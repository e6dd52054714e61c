from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fer_lightning.errors import UserError
from fer_lightning.results.collect import (
    collect_runs,
    pooled_predictions,
    read_history,
    read_predictions,
    require_one_protocol,
    run_table,
)

RIGHT = np.arange(200) < 150
RIGHT_IMAGES = np.arange(200) < 150


@pytest.fixture
def study(tmp_path, write_record) -> Path:
    for number, (name, seed) in enumerate([("b", 1), ("b", 0), ("a", 0), ("a", 1)]):
        write_record(tmp_path / "study" / str(number), [f"ablation={name}"], seed, RIGHT)
    return tmp_path / "study"


def test_one_row_a_run_and_split(study):
    runs = collect_runs(study)
    assert runs["split"].tolist() == ["test", "test_clean"] * 4
    runs = runs[runs["split"] == "test"].reset_index(drop=True)
    assert list(zip(runs["variant"], runs["seed"])) == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert runs["accuracy"].tolist() == [0.75] * 4
    assert runs["recall/happy"].tolist() == [0.75] * 4
    assert [Path(folder).name for folder in runs["folder"]] == ["2", "3", "1", "0"]
    assert (runs["dataset"] == "fer2013").all() and runs["protocol"].nunique() == 1


def test_options_with_a_former_name_are_the_same_variant(tmp_path, write_record):
    typed = ["rival=vit", "study=hafem_rivals"], ["baseline=vit", "study=hafem_baselines"], ["baseline=resnet"]
    for seed, overrides in enumerate(typed):
        write_record(tmp_path / str(seed), overrides, seed, RIGHT)
    assert collect_runs(tmp_path).groupby("variant")["seed"].unique().map(list).to_dict() == {
        "resnet": [2],
        "vit": [0, 1],
    }


def test_the_real_records_agree_with_their_files():
    folder = Path(__file__).parents[2] / "experiments" / "baselines"
    runs = collect_runs(folder)
    assert len(runs) == 30
    assert runs["variant"].nunique() == 15
    for row in runs.itertuples():
        metrics = json.loads((Path(row.folder) / "metrics.json").read_text())
        assert row.accuracy == metrics["splits"][row.split]["accuracy"]
    require_one_protocol(runs)


def test_a_run_of_fer_train_is_read(trained_run):
    runs = collect_runs(trained_run)
    assert {"test", "val"} <= set(runs["split"])
    table = read_predictions(runs["folder"][0])
    assert (table["split"] == "test").sum() == 15


def test_evaluations_are_passed_over(study):
    metrics = json.loads((study / "0" / "metrics.json").read_text())
    del metrics["seed"], metrics["overrides"]
    (study / "evaluated").mkdir()
    (study / "evaluated" / "metrics.json").write_text(json.dumps(metrics))
    assert collect_runs(study)["folder"].nunique() == 4


def test_a_seed_counts_once(study, write_record):
    write_record(study / "again", ["ablation=a", "data.root=/elsewhere"], 1, RIGHT)
    with pytest.raises(UserError, match=r"/3 and .*/again are both a with seed 1, which count as one result"):
        collect_runs(study)


def test_one_seed_on_two_data_sets_is_two_results(study, write_record):
    write_record(study / "other", ["ablation=a", "data=rafdb"], 1, RIGHT, dataset="rafdb")
    runs = collect_runs(study)
    own = runs[(runs["variant"] == "a") & (runs["split"] == "test")]
    assert own["dataset"].tolist() == ["fer2013", "fer2013", "rafdb"]


def test_other_networks_under_the_same_options_are_refused(study, write_record):
    write_record(study / "changed", ["ablation=a"], 2, RIGHT, parameters=11)
    with pytest.raises(UserError, match=r"Runs of a .*\(Net with 10 parameters and Net with 11 parameters\)"):
        collect_runs(study)


def test_other_protocols_are_refused_by_name(study, write_record):
    write_record(study / "other", ["ablation=a"], 1, RIGHT, dataset="rafdb")
    told = r"study/2 and .*study/other follow different protocols .*dataset: 'fer2013' and 'rafdb'; fingerprint"
    with pytest.raises(UserError, match=told):
        require_one_protocol(collect_runs(study))


def test_records_of_versions_without_a_field_have_the_same_protocol(study):
    path = study / "0" / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["protocol"] |= {"tta": "none", "prior": "training"}
    path.write_text(json.dumps(metrics))
    assert collect_runs(study)["protocol"].nunique() == 1


def test_nothing_there(tmp_path):
    with pytest.raises(UserError, match="must have finished runs"):
        collect_runs(tmp_path)
    with pytest.raises(UserError, match="nowhere must be a folder that fer train wrote"):
        collect_runs(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["{", "[1]", '{"seed": 1}'])
def test_a_broken_record_is_named_and_hides_no_other(study, text, caplog):
    (study / "0" / "metrics.json").write_text(text)
    assert sorted(Path(folder).name for folder in collect_runs(study)["folder"].unique()) == ["1", "2", "3"]
    assert f"Left out: {study / '0' / 'metrics.json'}" in caplog.text


@pytest.mark.parametrize(
    "table",
    [
        "",
        "epoch,train/loss,val/loss\n1,0.5\n",
        "epoch,val/loss\n1,0.5,0.6\n2,0.4,0.5\n",
        "epoch,val/loss,val/loss\n1,0.5,0.6\n",
        "epoch,val/loss\n1,0.5\n2,0.4,7\n",
    ],
    ids=["empty", "a value is missing", "a name is missing", "a name twice", "a value too many"],
)
def test_a_table_whose_values_are_shifted_is_named(study, table, caplog):
    """Pandas would read them into other columns, or as row names."""
    (study / "0" / "history.csv").write_text(table)
    assert sorted(Path(folder).name for folder in collect_runs(study)["folder"].unique()) == ["1", "2", "3"]
    assert f"Left out: {study / '0' / 'history.csv'} is damaged: its first line must name each column" in caplog.text


def test_missing_predictions_are_named(tmp_path):
    with pytest.raises(UserError, match=r"predictions\.parquet is missing"):
        read_predictions(tmp_path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_record) -> Path:
    folder = tmp_path_factory.mktemp("study")
    for seed in (0, 1):
        write_record(folder / f"a{seed}", ["ablation=a"], seed, RIGHT_IMAGES if seed else ~RIGHT_IMAGES)
        path = folder / f"a{seed}" / "metrics.json"
        metrics = json.loads(path.read_text()) | {"best_epoch": 3, "epochs": 4, "timing": {"train_seconds": 2.5 + seed}}
        metrics["splits"]["val"] = {"accuracy": 0.6 + seed / 10}
        metrics["splits"]["test_clean"]["accuracy"] = 0.5
        path.write_text(json.dumps(metrics))
    return folder


def test_one_row_a_run_with_all_that_tables_need(folder):
    runs = collect_runs(folder)
    table = run_table(runs)
    assert table["variant"].tolist() == ["a", "a"] and table["seed"].tolist() == [0, 1]
    assert table["run"].tolist() == ["a0", "a1"]
    assert table["accuracy"].tolist() == [0.25, 0.75]
    assert table["val/accuracy"].tolist() == [0.6, 0.7]
    assert table["test_clean/accuracy"].tolist() == [0.5, 0.5]
    assert table["train_seconds"].tolist() == [2.5, 3.5]
    assert (table["best_epoch"] == 3).all() and (table["epochs"] == 4).all()
    assert {"accuracy_low", "accuracy_high", "recall/happy", "commit", "parameters", "dataset"} <= set(table)
    assert str(folder) not in table.to_csv()


def test_predictions_of_all_seeds_one_below_the_other(folder):
    runs = collect_runs(folder)
    targets, probabilities, classes = pooled_predictions(runs[runs["split"] == "test"])
    assert classes == ["happy", "sad"] and probabilities.shape == (400, 2)
    right = probabilities.argmax(axis=1) == targets
    assert (right[:200] == ~RIGHT_IMAGES).all() and (right[200:] == RIGHT_IMAGES).all()


def test_a_run_without_epochs_has_no_history(folder):
    assert read_history(str(folder / "a0")) is None
    pd.DataFrame({"epoch": [1.0]}).to_csv(folder / "a1" / "history.csv", index=False)
    history = read_history(str(folder / "a1"))
    assert history is not None and history["epoch"].tolist() == [1.0]
