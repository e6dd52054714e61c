from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from fer_lightning.errors import UserError
from fer_lightning.results.collect import collect_runs
from fer_lightning.results.intervals import (
    detectable_difference,
    mean_over_seeds,
    pool_differences,
    seeds_to_detect,
)
from fer_lightning.results.significance import adjust_p_values, compare_variants
from fer_lightning.studies.comparison_table import (
    ComparisonRow,
    Credible,
    build_comparison,
    published_scores,
    read_credible,
    read_published,
    scored_split,
)

PUBLISHED = {"Full": 0.981, "No fusion": 0.966, "No attention": 0.97, "No search": 0.979}
ROWS = [
    ComparisonRow("Full", "full"),
    ComparisonRow("No fusion", "no_fusion"),
    ComparisonRow("No attention", "no_attention"),
    ComparisonRow("No search", None),
    ComparisonRow("No suppression", "no_suppression"),
]
SHARES = {"full": 0.8, "no_fusion": 0.6, "no_attention": 0.78, "no_suppression": 0.79}
CREDIBLE = {("fer2013", 2, "PublicTest"): Credible("PublicTest", 0.733, 0.768, 0.64)}
EXPERIMENTS = Path(__file__).parents[2] / "experiments"
COUNTS = {1: 21, 2: 12, 3: 22, 4: 22, 5: 22, 6: 28, 7: 20, 8: 20, 9: 20, 10: 10, 11: 20, 12: 9}
# Images of each class of CK+ that 30 % of Table 1 are.
TEST_IMAGES = {"Happy": 62, "Sad": 34, "Anger": 41, "Neutral": 35, "Surprise": 75, "Fear": 39, "Disgust": 53}


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
    return build_comparison(ROWS, PUBLISHED, runs, "Full", CREDIBLE).set_index("row", drop=False)


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


def test_all_rows_are_estimated_together(table, runs):
    tested = table.loc[["No fusion", "No attention", "No suppression"]]
    pooled = pool_differences(runs, "full", "accuracy")
    np.testing.assert_allclose(
        tested[["pooled_difference", "pooled_low", "pooled_high", "pooled_p"]],
        pooled.table.loc[tested["variant"], ["difference", "low", "high", "p"]],
    )
    # With the same seeds everywhere, the estimates are the same, and the intervals shorter.
    np.testing.assert_allclose(tested["pooled_difference"], tested["difference"])
    assert tested["pooled_p_holm"].tolist() == pytest.approx(adjust_p_values(tested["pooled_p"].tolist(), "holm"))
    assert table.loc[["Full", "No search"], ["pooled_difference", "pooled_p_holm", "detectable"]].isna().all(axis=None)


def test_the_power_of_the_table(table, runs):
    row, pooled = table.loc["No fusion"], pool_differences(runs, "full", "accuracy")
    sds = row[["difference_sd", "difference_sd_low", "difference_sd_high"]].tolist()
    assert sds == pytest.approx([pooled.sd, pooled.sd_low, pooled.sd_high])
    assert row["pairs"] == 3
    assert row["detectable"] == pytest.approx(detectable_difference(pooled.sd / 3**0.5, 2, 0.05 / 3))
    assert row["pooled_detectable"] == pytest.approx(detectable_difference(pooled.sd / 3**0.5, 6, 0.05 / 3))
    assert row["seeds_for_a_point"] == seeds_to_detect(0.01, pooled.sd, 0.05 / 3)


def test_a_row_with_fewer_seeds_shows_less(runs):
    fewer = runs[(runs["variant"] != "no_fusion") | (runs["seed"] < 2)]
    table = build_comparison(ROWS, PUBLISHED, fewer, "Full", CREDIBLE).set_index("row")
    assert table["detectable"].idxmax() == "No fusion" and table.loc["No fusion", "pairs"] == 2
    assert table["pooled_detectable"].idxmax() == "No fusion"


def test_the_gap_to_the_claim(table):
    assert table.loc["Full", "gap"] == pytest.approx(table.loc["Full", "mean"] - 0.981)


def test_what_is_credible_stands_beside(table):
    assert table.loc["Full", ["credible_low", "credible_high", "annotator_agreement"]].tolist() == [0.733, 0.768, 0.64]
    assert np.isnan(table.loc["No search", "credible_low"])


def test_what_is_credible_on_another_split_does_not(runs):
    other = {("fer2013", 2, "PrivateTest"): Credible("PrivateTest", 0.725, 0.761, np.nan)}
    table = build_comparison(ROWS, PUBLISHED, runs, "Full", other)
    assert table[["credible_low", "credible_high", "credible_protocol", "annotator_agreement"]].isna().all(axis=None)


def test_one_seed_is_tested_on_its_images(tmp_path, write_record):
    runs = write_study(tmp_path, write_record, seeds=1)
    row = build_comparison(ROWS, PUBLISHED, runs, "Full", {}).set_index("row").loc["No fusion"]
    found = compare_variants(runs, "no_fusion", "full", "accuracy")
    assert (row["test"], row["p"]) == ("McNemar, seed 0", found.over_images[0].p)
    assert (row["effect"], row["effect_size"]) == ("odds ratio", found.over_images[0].odds_ratio)
    assert (row["difference_low"], row["difference_high"]) == found.bootstrap
    assert row["interval"] == "test images" and np.isnan(row["sd"])
    assert (row["low"], row["high"]) == (row["mean"] - 0.1, row["mean"] + 0.1)
    assert row[["pooled_difference", "detectable"]].isna().all()


def test_one_seed_of_another_score_is_not_tested(tmp_path, write_record):
    runs = write_study(tmp_path, write_record, seeds=1)
    rows = [ComparisonRow("Full", "full", "recall/sad"), ComparisonRow("No fusion", "no_fusion", "recall/sad")]
    row = build_comparison(rows, {}, runs, "Full", CREDIBLE).set_index("row").loc["No fusion"]
    assert row["test"] == "none: one seed"
    assert row[["p", "low", "credible_low"]].isna().all()


def test_the_clean_part_has_no_predictions_of_its_own(tmp_path, write_record):
    write_study(tmp_path, write_record, seeds=1)
    table = build_comparison(ROWS, PUBLISHED, collect_runs(tmp_path), "Full", {}, split="test_clean")
    assert table.set_index("row").loc["No fusion", "test"] == "none: one seed"
    assert table["p"].isna().all() and table["mean"].notna().sum() == 4


def test_classes_as_rows(runs):
    rows = [ComparisonRow("Happy", "full", "recall/happy"), ComparisonRow("Sad", "full", "recall/sad")]
    table = build_comparison(rows, {"Happy": 0.98, "Sad": 0.98}, runs, None, {})
    own = runs[runs["variant"] == "full"]
    assert table["mean"].tolist() == pytest.approx([own["recall/happy"].mean(), own["recall/sad"].mean()])
    assert table["test"].isna().all()


def test_seeds_that_differ_alike_are_not_tested(tmp_path, write_record):
    for name, right in (("full", np.arange(200) < 150), ("no_fusion", np.arange(200) < 130)):
        for seed in range(3):
            write_record(tmp_path / f"{name}{seed}", [f"ablation={name}"], seed, right)
    row = build_comparison(ROWS[:2], PUBLISHED, collect_runs(tmp_path), "Full", {}).set_index("row").loc["No fusion"]
    assert row["test"] == "none: all seeds differ alike"
    assert row["difference"] == pytest.approx(-0.1) and np.isnan(row["p"])


def test_no_seed_in_common(tmp_path, write_record):
    right = np.arange(200) < 150
    write_record(tmp_path / "a", ["ablation=full"], 0, right)
    write_record(tmp_path / "b", ["ablation=no_fusion"], 1, right)
    row = build_comparison(ROWS[:2], PUBLISHED, collect_runs(tmp_path), "Full", {}).set_index("row").loc["No fusion"]
    assert row["test"] == "no seed in common" and np.isnan(row["difference"])


def test_a_reference_that_was_not_run_tests_nothing(runs):
    table = build_comparison(ROWS, PUBLISHED, runs[runs["variant"] != "full"], "Full", {})
    assert table["p"].isna().all() and table["mean"].notna().sum() == 3


def test_nothing_was_run(runs):
    table = build_comparison(ROWS, PUBLISHED, runs.iloc[:0], "Full", CREDIBLE)
    assert (table["n_seeds"] == 0).all() and table["mean"].isna().all()


def test_other_protocols_are_refused(tmp_path, write_record):
    write_record(tmp_path / "one", ["ablation=full"], 0, np.arange(200) < 150)
    write_record(tmp_path / "other", ["ablation=full"], 7, np.arange(200) < 150)
    path = tmp_path / "other" / "metrics.json"
    path.write_text(path.read_text().replace('"official"', '"paper_70_30"'))
    with pytest.raises(UserError, match=r"different protocols .*split: 'official' and 'paper_70_30'"):
        build_comparison(ROWS, PUBLISHED, collect_runs(tmp_path), "Full", {})


def test_data_sets_as_rows(tmp_path, write_record):
    for seed in range(3):
        write_record(tmp_path / f"fer{seed}", ["ablation=full"], seed, np.arange(200) < 150 + seed)
    write_record(tmp_path / "raf", ["ablation=full"], 0, np.arange(200) < 190, dataset="rafdb")
    rows = [ComparisonRow("FER2013", "full", dataset="fer2013"), ComparisonRow("RAF-DB", "full", dataset="rafdb")]
    table = build_comparison(rows, {"FER2013": 0.947, "RAF-DB": 0.951}, collect_runs(tmp_path), None, CREDIBLE)
    assert table["n_seeds"].tolist() == [3, 1]
    assert table["dataset"].tolist() == ["fer2013", "rafdb"]
    assert table["credible_low"].notna().tolist() == [True, False]


def test_data_sets_have_no_mean(tmp_path, write_record):
    for dataset in ("fer2013", "rafdb"):
        write_record(tmp_path / dataset, ["ablation=full"], 0, np.arange(200) < 150, dataset=dataset)
    with pytest.raises(UserError, match="The runs of Full must be on one data set; they are on fer2013, rafdb"):
        build_comparison(ROWS, PUBLISHED, collect_runs(tmp_path), None, {})


def test_folds_are_told_from_seeds_and_count_where_a_class_has_images(tmp_path, write_record):
    for fold, right in enumerate((150, 140, 100)):
        write_record(tmp_path / str(fold), ["ablation=full", f"data.fold={fold}"], 0, np.arange(200) < right)
        path = tmp_path / str(fold) / "metrics.json"
        metrics = json.loads(path.read_text())
        metrics["protocol"] |= {"split": f"by subject, fold {fold}", "fingerprint": str(fold)}
        metrics["splits"]["test"]["per_class"]["happy"]["support"] = 0 if fold == 2 else 100
        path.write_text(json.dumps(metrics))
    rows = [ComparisonRow("Overall", "full"), ComparisonRow("Happy", "full", "recall/happy")]
    table = build_comparison(rows, {}, collect_runs(tmp_path), None, {})
    assert table["interval"].tolist() == ["folds", "folds"] and table["n_seeds"].tolist() == [3, 2]
    assert table["mean"].tolist() == pytest.approx([0.65, 0.725])


def test_the_reference_is_a_row(runs):
    with pytest.raises(ValueError, match="'Nobody' must be one of the rows"):
        build_comparison(ROWS, PUBLISHED, runs, "Nobody", {})


@pytest.fixture(scope="module")
def psysfa() -> pd.DataFrame:
    return read_published(EXPERIMENTS / "psysfa_net" / "published.csv")


def cell(published: pd.DataFrame, table: int, row: str, metric: str, dataset: str | None = None) -> float:
    rows = published[(published["table"] == f"Table {table}") & published["row"].str.startswith(row)]
    rows = rows[rows["metric"] == metric]
    return rows[rows["dataset"] == dataset]["value"].item() if dataset else rows["value"].item()


class TestPsySFANet:
    def test_every_table_is_whole(self, psysfa):
        sizes = psysfa.groupby("table").size()
        assert {number: sizes[f"Table {number}"] for number in range(1, 13)} == COUNTS
        assert not psysfa.duplicated(["table", "row", "metric", "dataset"]).any()

    @pytest.mark.parametrize(
        "place, value",
        [
            ((1, "Disgust", "images", "RAF-DB"), 1500),
            ((1, "Fear", "images", "CK+"), 129),
            ((2, "Learning Rate", "lower bound"), 1e-5),
            ((2, "Dropout", "optimized value"), 0.3555),
            ((3, "Disgust", "precision"), 0.923),
            ((4, "Anger", "recall"), 0.958),
            ((5, "Fear", "F1"), 0.9620),
            ((5, "Overall", "accuracy"), 97.06),
            ((6, "- Dynamic", "macro recall"), 0.964),
            ((6, "Backbone", "accuracy"), 94.7),
            ((7, "High", "F1"), 0.909),
            ((8, "11x11", "precision"), 0.952),
            ((9, "Gabor + CNN", "recall"), 0.960),
            ((10, "Attention CNN", "accuracy"), 91.78),
            ((11, "ResNet", "standard deviation"), 0.18),
            ((12, "Proposed vs. ResNet", "p-value"), 0.0057),
        ],
    )
    def test_spot_values(self, psysfa, place, value):
        assert cell(psysfa, *place) == value

    def test_ratios_and_percentages_are_what_they_say(self, psysfa):
        assert psysfa.loc[psysfa["unit"] == "ratio", "value"].between(0.8, 1).all()
        assert psysfa.loc[(psysfa["unit"] == "%") & (psysfa["metric"] == "accuracy"), "value"].between(80, 100).all()

    def test_every_f1_follows_from_precision_and_recall(self, psysfa):
        wide = psysfa.pivot_table(index=["table", "row"], columns="metric", values="value")
        rows = wide.loc[["Table 3", "Table 4", "Table 5", "Table 7", "Table 8", "Table 9"]].dropna(subset="F1")
        assert len(rows) == 36
        f1 = 2 * rows["precision"] * rows["recall"] / (rows["precision"] + rows["recall"])
        assert ((f1 - rows["F1"]).abs() < 0.0011).all()

    def test_the_full_row_of_table_6_is_the_mean_of_table_3(self, psysfa):
        for metric in ("precision", "recall", "F1"):
            mean = sum(published_scores(psysfa, "Table 3", metric).values()) / 7
            assert cell(psysfa, 6, "Full", f"macro {metric}") == pytest.approx(mean, abs=0.0006)

    def test_the_same_accuracies_in_tables_10_and_11(self, psysfa):
        tables = [published_scores(psysfa, f"Table {number}", "accuracy") for number in (10, 11)]
        assert list(tables[0].values()) == list(tables[1].values())


class TestWherePsySFANetContradictsItself:
    def test_classes_do_not_add_up_to_the_totals_of_the_text(self, psysfa):
        told = psysfa[psysfa["row"] == "Whole dataset"].set_index("dataset")["value"].to_dict()
        summed = psysfa[psysfa["table"] == "Table 1"].groupby("dataset")["value"].sum().to_dict()
        assert told == {"RAF-DB": 24000, "FER2013": 35887, "CK+": 1124}
        assert summed == {"RAF-DB": 30500, "FER2013": 33000, "CK+": 1124}

    @pytest.mark.parametrize("number, inside", [(3, False), (4, False), (5, True)])
    def test_an_accuracy_lies_between_the_lowest_and_the_highest_recall(self, psysfa, number, inside):
        recalls = 100 * pd.Series(published_scores(psysfa, f"Table {number}", "recall"))
        rounding = 0.05 if number < 5 else 0.005
        accuracy = cell(psysfa, number, "Overall", "accuracy")
        assert (recalls.min() - rounding <= accuracy < recalls.max() + rounding) == inside

    def test_the_recalls_of_table_5_are_another_accuracy(self, psysfa):
        recalls = published_scores(psysfa, "Table 5", "recall")
        right = {name: round(recalls[name] * count) for name, count in TEST_IMAGES.items()}
        assert all(abs(right[name] / count - recalls[name]) < 1e-4 for name, count in TEST_IMAGES.items())
        assert round(100 * sum(right.values()) / sum(TEST_IMAGES.values()), 2) == 97.05

    def test_one_net_has_two_accuracies(self, psysfa):
        rows = ((6, "Full"), (7, "Mid"), (8, "7x7"), (9, "Diagonal"), (10, "Proposed"), (11, "Proposed"))
        assert [cell(psysfa, number, row, "accuracy") for number, row in rows] == [98.1, 96.5, 96.5, 96.5, 96.5, 96.5]

    def test_p_values_that_the_deviations_do_not_allow(self, psysfa):
        # The deviation of a difference is at most the sum of both, so five runs have a t of at least this.
        means = published_scores(psysfa, "Table 11", "accuracy")
        spreads = published_scores(psysfa, "Table 11", "standard deviation")
        claims = psysfa[psysfa["table"] == "Table 12"].set_index("row")
        baselines = [name for name in means if name != "Proposed Model"]
        impossible = []
        for baseline, (row, claim) in zip(baselines, claims.iterrows()):
            # All granted that rounding can hide: 0.05 points of a mean, 0.005 of a deviation.
            difference = means["Proposed Model"] - means[baseline] - 0.001
            spread = spreads["Proposed Model"] + spreads[baseline] + 0.0001
            if claim["value"] > 2 * t.sf(difference / spread * 5**0.5, 4):
                impossible.append(row)
        assert len(impossible) == 8
        assert set(claims.index) - set(impossible) == {"Proposed vs. Attention-based Transformer"}
        assert claims["note"].str.contains("too large for Table 11").sum() == 8
        assert claims.loc[impossible, "note"].str.contains("too large for Table 11").all()


def test_hafems_abstract():
    hafem = read_published(EXPERIMENTS / "hafem" / "published.csv")
    accuracy = hafem[hafem["metric"] == "accuracy"].set_index("dataset")["value"].to_dict()
    assert accuracy == {"FER2013": 94.7, "RAF-DB": 95.1, "AffectNet": 88.9, "FERPlus": 92.4}
    assert sorted(hafem["value"]) == sorted([94.7, 95.1, 88.9, 92.4, 0.982, 52, 30, 0.001, 10, 4, 68])


def test_percent_become_ratios(psysfa):
    scores = published_scores(psysfa, "Table 8", "accuracy")
    assert list(scores) == ["3x3", "5x5", "7x7 (Proposed)", "9x9", "11x11"]
    assert scores["3x3"] == pytest.approx(0.949)
    assert published_scores(psysfa, "Table 8", "recall")["3x3"] == 0.949


def test_a_table_of_several_data_sets_wants_one_named(psysfa):
    with pytest.raises(UserError, match=r"Table 1 has several data sets: choose one of RAF-DB, FER2013, CK\+"):
        published_scores(psysfa, "Table 1", "images")
    assert published_scores(psysfa, "Table 1", "images", "CK+")["Sad"] == 112


def test_what_the_paper_does_not_have_is_named(psysfa):
    with pytest.raises(UserError, match=r"has no accuracy in Table 2: it has Table 1: images; Table 2: lower bound"):
        published_scores(psysfa, "Table 2", "accuracy")


def test_other_columns_are_refused(tmp_path):
    path = tmp_path / "published.csv"
    with pytest.raises(UserError, match=r"published\.csv is missing"):
        read_published(path)
    path.write_text("table,value\n")
    with pytest.raises(UserError, match=r"must have the columns table, row, metric.*; got table, value"):
        read_published(path)


def test_what_is_credible():
    known = read_credible(EXPERIMENTS / "credible.csv")
    public, private = known["fer2013", 7, "PublicTest"], known["fer2013", 7, "PrivateTest"]
    assert (public.low, public.high, public.annotator_agreement) == pytest.approx((0.733, 0.733, 0.627))
    assert public.protocol == "fer2013 PublicTest: one net from scratch 73.3 % (ten crops; selected on PrivateTest)"
    assert (private.low, private.high) == pytest.approx((0.725, 0.761))  # ensembles are not in it
    assert "one net pretrained on ImageNet-22k 76.1 % (ten crops; selected on PublicTest)" in private.protocol
    assert "ensemble from scratch 75.2 %, ensemble pretrained on ImageNet-1k 76.8 %" in private.protocol
    assert known["ferplus", 8, "PrivateTest"].protocol.endswith("extra faces 91.85 % (selected on the test images)")
    assert np.isnan(private.annotator_agreement)
    assert known["affectnet", 8, "val_set"].low == pytest.approx(0.61)


@pytest.mark.parametrize(
    ("split", "test", "name"),
    [
        ("official", "PrivateTest", "PrivateTest"),
        ("random 70/30", "random 30 % of all rows, stratified, seed 1", "random 30 % of all rows, stratified, seed 1"),
        ("subject-disjoint 10-fold, seed 0, fold 3", "fold 3", "subject-disjoint"),
        ("random, without subject ids, 10-fold, seed 0, fold 3", "fold 3", "random,"),
    ],
)
def test_the_split_that_is_compared(split, test, name):
    assert scored_split({"split": split, "test": test}) == name
