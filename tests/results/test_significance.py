from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, bootstrap, chi2, t
from statsmodels.stats.weightstats import DescrStatsW

from fer_lightning.errors import UserError
from fer_lightning.results.collect import collect_runs
from fer_lightning.results.significance import (
    adjust_p_values,
    bootstrap_difference,
    cliffs_delta,
    cohens_dz,
    compare,
    compare_images,
    compare_seeds,
    compare_variants,
)

FIRST, SECOND = [0.60, 0.62, 0.61], [0.58, 0.61, 0.58]


@pytest.fixture
def right() -> dict[tuple[str, int], np.ndarray]:
    rng = np.random.default_rng(0)
    return {(name, seed): rng.random(200) < share for name, share in (("a", 0.8), ("b", 0.6)) for seed in range(3)}


@pytest.fixture
def folder(tmp_path, write_record, right) -> Path:
    for (name, seed), correct in right.items():
        write_record(tmp_path / f"{name}{seed}", [f"ablation={name}"], seed, correct)
    return tmp_path


def test_every_test_sees_the_right_numbers(folder, right):
    found = compare_variants(collect_runs(folder), "a", "b", "accuracy")
    scores = [[right[name, seed].mean() for seed in range(3)] for name in "ab"]
    assert found.over_seeds == compare_seeds(*scores)
    assert found.shared_seeds == (0, 1, 2)
    for seed in range(3):
        assert found.over_images[seed] == compare_images(right["a", seed], right["b", seed])
    low, high = found.bootstrap
    assert low < found.over_seeds.difference.mean < high
    assert found.cliffs_delta == 1


def test_scores_of_a_class(folder, right):
    found = compare_variants(collect_runs(folder), "a", "b", "recall/sad")
    expected = np.mean([right["a", seed][1::2].mean() - right["b", seed][1::2].mean() for seed in range(3)])
    assert found.over_seeds.difference.mean == pytest.approx(expected)


def test_only_shared_seeds_are_paired(folder, right, write_record):
    write_record(folder / "a9", ["ablation=a"], 9, right["a", 0])
    assert compare_variants(collect_runs(folder), "a", "b", "accuracy").shared_seeds == (0, 1, 2)


def test_rows_are_paired_by_id(folder):
    runs = collect_runs(folder)
    before = compare_variants(runs, "a", "b", "accuracy")
    path = folder / "b1" / "predictions.parquet"
    pd.read_parquet(path).iloc[::-1].to_parquet(path, index=False)
    assert compare_variants(runs, "a", "b", "accuracy") == before


def test_one_seed_has_the_tests_on_images(tmp_path, write_record, right):
    for name in "ab":
        write_record(tmp_path / name, [f"ablation={name}"], 0, right[name, 0])
    found = compare_variants(collect_runs(tmp_path), "a", "b", "accuracy")
    assert math.isnan(found.over_seeds.t_p)
    assert found.over_images[0].p < 0.05


def test_no_shared_seed(tmp_path, write_record, right):
    write_record(tmp_path / "a", ["ablation=a"], 0, right["a", 0])
    write_record(tmp_path / "b", ["ablation=b"], 1, right["b", 0])
    with pytest.raises(UserError, match=r"a \(seeds 0\) and b \(seeds 1\) share no seed"):
        compare_variants(collect_runs(tmp_path), "a", "b", "accuracy")


def test_other_protocols_are_refused(tmp_path, write_record, right):
    write_record(tmp_path / "a", ["ablation=a"], 0, right["a", 0])
    write_record(tmp_path / "b", ["ablation=b"], 0, right["b", 0], dataset="rafdb")
    with pytest.raises(UserError, match="dataset: 'fer2013' and 'rafdb'"):
        compare_variants(collect_runs(tmp_path), "a", "b", "accuracy")


@pytest.mark.parametrize("change", ["id", "target", "fewer"])
def test_other_images_are_refused(folder, change):
    path = folder / "b1" / "predictions.parquet"
    table = pd.read_parquet(path)
    if change == "id":
        table.loc[7, "id"] = "elsewhere"
    if change == "target":
        table.loc[7, "target"] = 1 - table.loc[7, "target"]
    table.iloc[: 199 if change == "fewer" else 200].to_parquet(path, index=False)
    with pytest.raises(UserError, match=r"a1 and .*b1 predict different images or labels in test"):
        compare_variants(collect_runs(folder), "a", "b", "accuracy")


def test_a_split_without_stored_predictions_has_the_tests_on_seeds(folder, right):
    found = compare_variants(collect_runs(folder), "a", "b", "accuracy", split="test_clean")
    assert found.over_seeds == compare_seeds(*([right[name, seed].mean() for seed in range(3)] for name in "ab"))
    assert found.over_images == {}
    assert all(map(math.isnan, found.bootstrap))


def test_folds_are_not_paired_as_if_they_were_seeds(folder):
    runs = collect_runs(folder)
    again = runs[(runs["variant"] == "a") & (runs["seed"] == 0)].assign(protocol="another fold")
    with pytest.raises(UserError, match="a was run on several folds"):
        compare_variants(pd.concat([runs, again]), "a", "b", "accuracy")


def test_an_unknown_variant_is_named(folder):
    with pytest.raises(UserError, match="c has no run that was scored on test: the runs are a, b"):
        compare_variants(collect_runs(folder), "c", "b", "accuracy")


def test_the_published_finding_on_real_records():
    # experiments/psysfa_net/README.md: 341 images against 270, exact McNemar p = 0.005.
    runs = collect_runs(Path(__file__).parents[2] / "experiments" / "psysfa_net")
    found = compare_variants(runs[runs["dataset"] == "fer2013"], "psysfa", "resnet", "accuracy").over_images[0]
    assert (found.only_first, found.only_second) == (341, 270)
    assert found.p == pytest.approx(0.0046, abs=5e-5)


def correct(both: int, only_first: int, only_second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    first = [True] * (both + only_first) + [False] * (only_second + neither)
    second = [True] * both + [False] * only_first + [True] * only_second + [False] * neither
    return np.array(first), np.array(second)


def test_exact_by_hand():
    # 8 to 2 of 10: 2 * (1 + 10 + 45) / 1024 = 0.109375.
    found = compare_images(*correct(50, 8, 2, 40))
    assert (found.only_first, found.only_second) == (8, 2)
    assert found.p == pytest.approx(0.109375)
    assert found.odds_ratio == 4


def test_exact_agrees_with_scipys_sign_test():
    found = compare_images(*correct(1000, 341, 270, 500))
    assert found.p == pytest.approx(binomtest(341, 611).pvalue)


def test_many_discordant_images_use_chi_squared():
    # (|700 - 600| - 1)^2 / 1300 = 7.5392.
    found = compare_images(*correct(0, 700, 600, 0))
    assert found.p == pytest.approx(chi2.sf(99**2 / 1300, 1))
    assert found.p == pytest.approx(binomtest(700, 1300).pvalue, rel=0.01)


def test_the_interval_holds_the_odds_at_the_edge_of_the_sign_test():
    found = compare_images(*correct(3, 30, 12, 5))
    assert found.low < 30 / 12 < found.high
    for odds in (found.low, found.high):
        side = "greater" if odds == found.low else "less"
        assert binomtest(30, 42, odds / (1 + odds), alternative=side).pvalue == pytest.approx(0.025, abs=1e-6)


@pytest.mark.filterwarnings("error")
def test_identical_predictions_are_not_told_apart():
    found = compare_images(*correct(6, 0, 0, 4))
    assert found.p == 1
    assert math.isnan(found.odds_ratio) and math.isnan(found.low)


def test_one_sided_discordance_has_infinite_odds():
    found = compare_images(*correct(6, 3, 0, 4))
    assert found.p == 0.25
    assert found.odds_ratio == found.high == math.inf
    assert math.isfinite(found.low)


def test_agrees_with_values_worked_out_by_hand():
    # Differences 0.02, 0.01, 0.03: mean 0.02, sd 0.01, t = 0.02 / (0.01 / sqrt 3) = 3.4641 with 2 degrees of freedom,
    # whose two-sided p is 1 - t / sqrt(t^2 + 2) = 1 - 3.4641 / sqrt(14) = 0.07418; t(0.975, 2) = 4.30265.
    found = compare_seeds(FIRST, SECOND)
    assert found.difference.mean == pytest.approx(0.02)
    assert found.difference.sd == pytest.approx(0.01)
    assert found.dz == pytest.approx(2)
    assert found.t_p == pytest.approx(0.07418, abs=5e-6)
    half = 4.30265 * 0.01 / math.sqrt(3)
    assert (found.difference.low, found.difference.high) == pytest.approx((0.02 - half, 0.02 + half), abs=1e-7)
    assert found.wilcoxon_p == 0.25  # two of the eight signings are as extreme


def test_agrees_with_statsmodels():
    first, second = [0.61, 0.64, 0.58, 0.66, 0.63], [0.60, 0.60, 0.59, 0.62, 0.61]
    differences = DescrStatsW([a - b for a, b in zip(first, second)])
    found = compare_seeds(first, second)
    assert found.t_p == pytest.approx(differences.ttest_mean()[1])
    assert (found.difference.low, found.difference.high) == pytest.approx(differences.tconfint_mean())


def test_wilcoxon_counts_signings():
    # Of 0.01, 0.02, 0.03, 0.04, -0.05 the negative one has rank 5; 10 of the 32 sets of ranks sum to 5 at most.
    found = compare_seeds([0.01, 0.02, 0.03, 0.04, -0.05], [0.0] * 5)
    assert found.wilcoxon_p == pytest.approx(2 * 10 / 32)


def test_swapping_turns_the_sign():
    there, back = compare_seeds(FIRST, SECOND), compare_seeds(SECOND, FIRST)
    assert back.difference.mean == -there.difference.mean
    assert back.dz == pytest.approx(-there.dz)
    assert back.t_p == pytest.approx(there.t_p)


def test_one_seed_has_a_difference_and_no_test():
    found = compare_seeds([0.6], [0.5])
    assert found.difference.mean == pytest.approx(0.1)
    assert all(map(math.isnan, (found.t_p, found.wilcoxon_p, found.dz, found.difference.low)))


@pytest.mark.filterwarnings("error")
def test_equal_scores_do_not_differ():
    found = compare_seeds([0.6, 0.7], [0.6, 0.7])
    assert (found.t_p, found.wilcoxon_p, found.dz) == (1, 1, 0)


@pytest.mark.filterwarnings("error")
def test_differences_without_variance_are_no_proof():
    found = compare_seeds([0.6, 0.7, 0.8], [0.5, 0.6, 0.7])
    assert math.isnan(found.t_p) and math.isnan(found.dz)
    assert found.wilcoxon_p == 0.25


def test_the_t_interval_and_the_p_agree():
    found = compare_seeds(FIRST, SECOND)
    share = t.cdf(found.difference.mean / (found.difference.sd / math.sqrt(3)), 2)
    assert found.t_p == pytest.approx(2 * (1 - share))


@pytest.fixture
def correct_by_chance() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    first = rng.random(400) < 0.7
    return first, np.where(rng.random(400) < 0.8, first, rng.random(400) < 0.5)


def test_agrees_with_scipys_bootstrap(correct_by_chance):
    first, second = (array.astype(float) for array in correct_by_chance)
    theirs = bootstrap(
        (first, second),
        lambda a, b, axis: (a - b).mean(axis=axis),
        paired=True,
        method="percentile",
        batch=500,
        rng=np.random.default_rng(5),
    ).confidence_interval
    assert bootstrap_difference(*correct_by_chance) == pytest.approx((theirs.low, theirs.high), abs=0.004)


def test_agrees_with_the_normal_approximation(correct_by_chance):
    first, second = correct_by_chance
    difference = first.astype(float) - second
    half = 1.96 * difference.std() / np.sqrt(len(difference))
    assert bootstrap_difference(*correct_by_chance) == pytest.approx(
        (difference.mean() - half, difference.mean() + half), abs=0.004
    )


def test_pairs_are_kept(correct_by_chance):
    first, second = correct_by_chance
    apart = bootstrap_difference(first, np.random.default_rng(0).permutation(second))
    together = bootstrap_difference(first, second)
    assert together[1] - together[0] < 0.8 * (apart[1] - apart[0])


def test_the_same_call_says_the_same(correct_by_chance):
    assert bootstrap_difference(*correct_by_chance) == bootstrap_difference(*correct_by_chance)


def test_shares_of_several_seeds(correct_by_chance):
    first, second = correct_by_chance
    assert bootstrap_difference(np.mean([first, first], axis=0), np.mean([second, second], axis=0)) == pytest.approx(
        bootstrap_difference(first, second)
    )


def test_identical_predictions(correct_by_chance):
    assert bootstrap_difference(correct_by_chance[0], correct_by_chance[0]) == (0, 0)


def test_dz_by_hand():
    # 1, 2, 3: mean 2, sd 1.
    assert cohens_dz([1, 2, 3]) == pytest.approx(2)
    assert cohens_dz([-1, 1]) == 0


def test_dz_without_variance():
    assert cohens_dz([0.0, 0.0]) == 0
    assert math.isnan(cohens_dz([0.6 - 0.5, 0.7 - 0.6]))  # equal but for rounding
    assert math.isnan(cohens_dz([0.1]))


@pytest.mark.parametrize(
    "first, second",
    [([3, 4], [1, 2]), ([1, 2], [3, 4]), ([1, 2, 3], [2, 2]), ([0.61, 0.64, 0.6], [0.6, 0.62, 0.59, 0.63])],
)
def test_cliffs_delta_counts_every_pair(first, second):
    pairs = [(a > b) - (a < b) for a, b in product(first, second)]
    assert cliffs_delta(first, second) == pytest.approx(sum(pairs) / len(pairs))


def holm(p_values: list[float]) -> list[float]:
    """Step by step: the smallest times m, the next times m - 1, ..., never falling."""
    adjusted, highest = [0.0] * len(p_values), 0.0
    for step, index in enumerate(np.argsort(p_values)):
        highest = max(highest, min(1.0, (len(p_values) - step) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def test_by_hand():
    assert adjust_p_values([0.01, 0.04, 0.03], "holm") == pytest.approx([0.03, 0.06, 0.06])
    assert adjust_p_values([0.01, 0.04, 0.5], "bonferroni") == pytest.approx([0.03, 0.12, 1])


def test_holm_agrees_with_the_loop():
    p_values = np.random.default_rng(0).beta(0.4, 1, 12).tolist()
    assert adjust_p_values(p_values, "holm") == pytest.approx(holm(p_values))


def test_what_was_not_tested_does_not_count():
    found = adjust_p_values([0.02, np.nan, 0.03], "bonferroni")
    assert found == pytest.approx([0.04, np.nan, 0.06], nan_ok=True)


@pytest.mark.parametrize("p_values", [[], [np.nan, np.nan]])
def test_no_test_at_all(p_values):
    assert np.isnan(adjust_p_values(p_values, "holm")).sum() == len(p_values)


def test_runs_are_compared_in_pairs(tmp_path, write_record, right):
    for name, seed in (("a", 0), ("b", 0), ("b", 1)):
        write_record(tmp_path / f"{name}{seed}", [f"ablation={name}"], seed, right[name, seed])
    table = compare(tmp_path / "a0", str(tmp_path / "b0"), tmp_path / "b1")
    names = ["a", "b, seed 0", "b, seed 1"]
    assert [*zip(table["first"], table["second"])] == [(names[0], names[1]), (names[0], names[2]), (names[1], names[2])]
    pairs = [(("a", 0), ("b", 0)), (("a", 0), ("b", 1)), (("b", 0), ("b", 1))]
    for row, (one, other) in zip(table.itertuples(), pairs):
        images = compare_images(right[one], right[other])
        assert (row.only_first, row.only_second, row.p) == (images.only_first, images.only_second, images.p)
        assert (row.low, row.high) == bootstrap_difference(right[other], right[one])
        assert row.difference == pytest.approx(right[other].mean() - right[one].mean())
        assert (row.dataset, row.split, row.images) == ("fer2013", "test", 200)
    np.testing.assert_array_equal(table["p_holm"], adjust_p_values(table["p"], "holm"))


def test_a_difference_has_the_sign_that_it_has_in_a_report(tmp_path, write_record, right):
    for name in ("a", "b"):
        write_record(tmp_path / name, [f"ablation={name}"], 0, right[name, 0])
    reported = compare_variants(collect_runs(tmp_path), "b", "a", "accuracy").over_seeds.difference.mean
    assert compare(tmp_path / "a", tmp_path / "b")["difference"][0] == pytest.approx(reported)
    assert compare(tmp_path / "b", tmp_path / "a")["difference"][0] == pytest.approx(-reported)


def test_runs_of_the_same_variant_and_seed_are_named_by_their_folders(tmp_path, write_record, right):
    for name in ("old", "new"):
        write_record(tmp_path / name, ["ablation=a"], 0, right["a", 0])
    [row] = compare(tmp_path).itertuples()
    assert (row.first, row.second, row.p) == ("a, seed 0, new", "a, seed 0, old", 1)


def test_runs_of_other_protocols_or_images_are_not_compared(tmp_path, write_record, right):
    write_record(tmp_path / "a", ["ablation=a"], 0, right["a", 0])
    write_record(tmp_path / "b", ["ablation=b"], 0, right["b", 0], dataset="rafdb")
    with pytest.raises(UserError, match="a and b follow different protocols and cannot be compared"):
        compare(tmp_path)
    write_record(tmp_path / "c", ["ablation=c"], 0, right["b", 0])
    table = pd.read_parquet(tmp_path / "c" / "predictions.parquet")
    table.iloc[:150].to_parquet(tmp_path / "c" / "predictions.parquet")
    with pytest.raises(UserError, match="predict different images or labels in test"):
        compare(tmp_path / "a", tmp_path / "c")
