from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fer_lightning.errors import UserError
from fer_lightning.results.collect import collect_runs
from fer_lightning.results.significance import compare_variants
from fer_lightning.evaluation.discordance import compare_images
from fer_lightning.evaluation.paired_seeds import compare_seeds


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
    with pytest.raises(UserError, match=r"a1 and .*b1 predict other images or labels in test"):
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
