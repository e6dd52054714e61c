from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fer_lightning.errors import UserError
from fer_lightning.results.collect import collect_runs
from fer_lightning.results.significance import compare_variants
from fer_lightning.evaluation.multiplicity import adjust_p_values
from fer_lightning.results.intervals import mean_over_seeds
from fer_lightning.studies.ledger import LedgerRow, build_ledger
from fer_lightning.report.published import Credible

PUBLISHED = {"Full": 0.981, "No fusion": 0.966, "No attention": 0.97, "No search": 0.979}
ROWS = [
    LedgerRow("Full", "full"),
    LedgerRow("No fusion", "no_fusion"),
    LedgerRow("No attention", "no_attention"),
    LedgerRow("No search", None),
    LedgerRow("No suppression", "no_suppression"),
]
SHARES = {"full": 0.8, "no_fusion": 0.6, "no_attention": 0.78, "no_suppression": 0.79}
CREDIBLE = {("fer2013", 2, "PublicTest"): Credible("PublicTest", 0.733, 0.768, 0.64)}


def write_study(folder: Path, write_record, seeds: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    for name, share in SHARES.items():
        for seed in range(seeds):
            write_record(folder / f"{name}{seed}", [f"ablation={name}"], seed, rng.random(200) < share)
    return on_test(folder)


def on_test(folder: Path) -> pd.DataFrame:
    runs = collect_runs(folder)
    return runs[runs["split"] == "test"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, write_record) -> pd.DataFrame:
    return write_study(tmp_path_factory.mktemp("study"), write_record, seeds=3)


@pytest.fixture(scope="module")
def table(runs) -> pd.DataFrame:
    return build_ledger(ROWS, PUBLISHED, runs, "Full", CREDIBLE).set_index("row", drop=False)


def test_the_mean_and_its_interval(table, runs):
    expected = mean_over_seeds(runs.loc[runs["variant"] == "no_fusion", "accuracy"].tolist())
    row = table.loc["No fusion"]
    assert (row["mean"], row["sd"], row["low"], row["high"]) == (
        expected.mean,
        expected.sd,
        expected.low,
        expected.high,
    )
    assert (row["n_seeds"], row["seeds"], row["interval"]) == (3, "0 1 2", "seeds")


def test_no_column_is_the_best_seed(table, runs):
    best = runs.loc[runs["variant"] == "full", "accuracy"].max()
    assert best not in table.loc["Full"].tolist()


def test_published_and_measured_never_share_a_column(table):
    assert table["published"].dropna().tolist() == list(PUBLISHED.values())
    measured = table.loc["No suppression"]
    assert np.isnan(measured["published"]) and measured["mean"] > 0.5
    claimed = table.loc["No search"]
    assert claimed["published"] == 0.979 and np.isnan(claimed["mean"]) and claimed["n_seeds"] == 0


def test_differences_are_to_the_reference(table, runs):
    for title, variant in (("No fusion", "no_fusion"), ("No attention", "no_attention")):
        found = compare_variants(runs, variant, "full", "accuracy").over_seeds
        row = table.loc[title]
        assert (row["difference"], row["difference_low"], row["p"]) == (
            found.difference.mean,
            found.difference.low,
            found.t_p,
        )
        assert (row["test"], row["effect"], row["effect_size"]) == ("paired t, 3 seeds", "d_z", found.dz)
        assert row["published_difference"] == pytest.approx(PUBLISHED[title] - 0.981)
    assert table.loc["Full", ["difference", "p", "published_difference"]].isna().all()


def test_holm_counts_the_tests_of_the_table(table):
    tested = table.loc[["No fusion", "No attention", "No suppression"]]
    assert tested["p_holm"].tolist() == pytest.approx(adjust_p_values(tested["p"].tolist(), "holm"))
    assert table.loc[["Full", "No search"], "p_holm"].isna().all()


def test_the_gap_to_the_claim(table):
    assert table.loc["Full", "gap"] == pytest.approx(table.loc["Full", "mean"] - 0.981)


def test_what_is_credible_stands_beside(table):
    assert table.loc["Full", ["credible_low", "credible_high", "annotator_agreement"]].tolist() == [0.733, 0.768, 0.64]
    assert np.isnan(table.loc["No search", "credible_low"])


def test_what_is_credible_on_another_split_does_not(runs):
    other = {("fer2013", 2, "PrivateTest"): Credible("PrivateTest", 0.725, 0.761, np.nan)}
    table = build_ledger(ROWS, PUBLISHED, runs, "Full", other)
    assert table[["credible_low", "credible_high", "credible_protocol", "annotator_agreement"]].isna().all(axis=None)


def test_one_seed_is_tested_on_its_images(tmp_path, write_record):
    runs = write_study(tmp_path, write_record, seeds=1)
    row = build_ledger(ROWS, PUBLISHED, runs, "Full", {}).set_index("row").loc["No fusion"]
    found = compare_variants(runs, "no_fusion", "full", "accuracy")
    assert (row["test"], row["p"]) == ("McNemar, seed 0", found.over_images[0].p)
    assert (row["effect"], row["effect_size"]) == ("odds ratio", found.over_images[0].odds_ratio)
    assert (row["difference_low"], row["difference_high"]) == found.bootstrap
    assert row["interval"] == "test images" and np.isnan(row["sd"])
    assert (row["low"], row["high"]) == (row["mean"] - 0.1, row["mean"] + 0.1)


def test_one_seed_of_another_score_is_not_tested(tmp_path, write_record):
    runs = write_study(tmp_path, write_record, seeds=1)
    rows = [LedgerRow("Full", "full", "recall/sad"), LedgerRow("No fusion", "no_fusion", "recall/sad")]
    row = build_ledger(rows, {}, runs, "Full", CREDIBLE).set_index("row").loc["No fusion"]
    assert row["test"] == "none: one seed"
    assert row[["p", "low", "credible_low"]].isna().all()


def test_the_clean_part_has_no_predictions_of_its_own(tmp_path, write_record):
    write_study(tmp_path, write_record, seeds=1)
    table = build_ledger(ROWS, PUBLISHED, collect_runs(tmp_path), "Full", {}, split="test_clean")
    assert table.set_index("row").loc["No fusion", "test"] == "none: one seed"
    assert table["p"].isna().all() and table["mean"].notna().sum() == 4


def test_classes_as_rows(runs):
    rows = [LedgerRow("Happy", "full", "recall/happy"), LedgerRow("Sad", "full", "recall/sad")]
    table = build_ledger(rows, {"Happy": 0.98, "Sad": 0.98}, runs, None, {})
    own = runs[runs["variant"] == "full"]
    assert table["mean"].tolist() == pytest.approx([own["recall/happy"].mean(), own["recall/sad"].mean()])
    assert table["test"].isna().all()


def test_seeds_that_differ_alike_are_not_tested(tmp_path, write_record):
    for name, right in (("full", np.arange(200) < 150), ("no_fusion", np.arange(200) < 130)):
        for seed in range(3):
            write_record(tmp_path / f"{name}{seed}", [f"ablation={name}"], seed, right)
    row = build_ledger(ROWS[:2], PUBLISHED, collect_runs(tmp_path), "Full", {}).set_index("row").loc["No fusion"]
    assert row["test"] == "none: all seeds differ alike"
    assert row["difference"] == pytest.approx(-0.1) and np.isnan(row["p"])


def test_no_seed_in_common(tmp_path, write_record):
    right = np.arange(200) < 150
    write_record(tmp_path / "a", ["ablation=full"], 0, right)
    write_record(tmp_path / "b", ["ablation=no_fusion"], 1, right)
    row = build_ledger(ROWS[:2], PUBLISHED, collect_runs(tmp_path), "Full", {}).set_index("row").loc["No fusion"]
    assert row["test"] == "no seed in common" and np.isnan(row["difference"])


def test_a_reference_that_was_not_run_tests_nothing(runs):
    table = build_ledger(ROWS, PUBLISHED, runs[runs["variant"] != "full"], "Full", {})
    assert table["p"].isna().all() and table["mean"].notna().sum() == 3


def test_nothing_was_run(runs):
    table = build_ledger(ROWS, PUBLISHED, runs.iloc[:0], "Full", CREDIBLE)
    assert (table["n_seeds"] == 0).all() and table["mean"].isna().all()


def test_other_protocols_are_refused(tmp_path, write_record):
    write_record(tmp_path / "one", ["ablation=full"], 0, np.arange(200) < 150)
    write_record(tmp_path / "other", ["ablation=full"], 7, np.arange(200) < 150)
    path = tmp_path / "other" / "metrics.json"
    path.write_text(path.read_text().replace('"official"', '"paper_70_30"'))
    with pytest.raises(UserError, match=r"different protocols .*split: 'official' and 'paper_70_30'"):
        build_ledger(ROWS, PUBLISHED, collect_runs(tmp_path), "Full", {})


def test_data_sets_as_rows(tmp_path, write_record):
    for seed in range(3):
        write_record(tmp_path / f"fer{seed}", ["ablation=full"], seed, np.arange(200) < 150 + seed)
    write_record(tmp_path / "raf", ["ablation=full"], 0, np.arange(200) < 190, dataset="rafdb")
    rows = [LedgerRow("FER2013", "full", dataset="fer2013"), LedgerRow("RAF-DB", "full", dataset="rafdb")]
    table = build_ledger(rows, {"FER2013": 0.947, "RAF-DB": 0.951}, collect_runs(tmp_path), None, CREDIBLE)
    assert table["n_seeds"].tolist() == [3, 1]
    assert table["dataset"].tolist() == ["fer2013", "rafdb"]
    assert table["credible_low"].notna().tolist() == [True, False]


def test_data_sets_have_no_mean(tmp_path, write_record):
    for dataset in ("fer2013", "rafdb"):
        write_record(tmp_path / dataset, ["ablation=full"], 0, np.arange(200) < 150, dataset=dataset)
    with pytest.raises(UserError, match=r"runs of Full are on several data sets \(fer2013, rafdb\)"):
        build_ledger(ROWS, PUBLISHED, collect_runs(tmp_path), None, {})


def test_folds_are_told_from_seeds_and_count_where_a_class_has_images(tmp_path, write_record):
    for fold, right in enumerate((150, 140, 100)):
        write_record(tmp_path / str(fold), ["ablation=full", f"data.fold={fold}"], 0, np.arange(200) < right)
        path = tmp_path / str(fold) / "metrics.json"
        metrics = json.loads(path.read_text())
        metrics["protocol"] |= {"split": f"by subject, fold {fold}", "fingerprint": str(fold)}
        metrics["splits"]["test"]["per_class"]["happy"]["support"] = 0 if fold == 2 else 100
        path.write_text(json.dumps(metrics))
    rows = [LedgerRow("Overall", "full"), LedgerRow("Happy", "full", "recall/happy")]
    table = build_ledger(rows, {}, collect_runs(tmp_path), None, {})
    assert table["interval"].tolist() == ["folds", "folds"] and table["n_seeds"].tolist() == [3, 2]
    assert table["mean"].tolist() == pytest.approx([0.65, 0.725])


def test_the_reference_is_a_row(runs):
    with pytest.raises(ValueError, match="'Nobody' is none of the rows"):
        build_ledger(ROWS, PUBLISHED, runs, "Nobody", {})
