from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from fer_lightning.data.splits import SplitPlan, carve, plan_splits
from fer_lightning.errors import UserError


def make_frame(labels: list[int], splits: list[str] | str = "", groups: list[str] | None = None) -> pd.DataFrame:
    ids = [f"row{number}" for number in range(len(labels))]
    split = [splits] * len(labels) if isinstance(splits, str) else splits
    official = [{"train": "Training", "val": "PublicTest", "test": "PrivateTest", "": ""}[name] for name in split]
    return pd.DataFrame(
        {"id": ids, "label": labels, "official": official, "split": split, "group": ids if groups is None else groups}
    )


def subjects_frame(subjects: int = 30, each: int = 7, classes: int = 4) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    labels = rng.integers(0, classes, subjects * each).tolist()
    return make_frame(labels, groups=[f"S{number // each:03}" for number in range(subjects * each)])


def plan(frame: pd.DataFrame, policy: str, fraction: float = 0.1, seed: int = 0, fold: int = 0) -> SplitPlan:
    return plan_splits(frame, policy, fraction, seed, fold)


def counts_of(frame: pd.DataFrame, names: np.ndarray, split: str) -> list[int]:
    return np.bincount(frame["label"][names == split], minlength=frame["label"].max() + 1).tolist()


def assert_no_group_is_divided(frame: pd.DataFrame, names: np.ndarray) -> None:
    assert (frame.assign(name=names).groupby("group")["name"].nunique() == 1).all()


class TestCarve:
    def test_every_class_gives_its_share(self) -> None:
        labels = np.repeat([0, 1, 2], [100, 40, 10])
        chosen = carve(labels, np.arange(150), 0.1, seed=0)
        assert np.bincount(labels[chosen]).tolist() == [10, 4, 1]

    def test_order_of_rows_does_not_matter_for_the_shares(self) -> None:
        labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [100, 40, 10]))
        assert np.bincount(labels[carve(labels, np.arange(150), 0.3, seed=0)]).tolist() == [30, 12, 3]

    def test_is_a_function_of_the_seed(self) -> None:
        labels, groups = np.repeat([0, 1], 50), np.arange(100)
        first = carve(labels, groups, 0.2, seed=3)
        np.testing.assert_array_equal(first, carve(labels, groups, 0.2, seed=3))
        assert (first != carve(labels, groups, 0.2, seed=4)).any()

    def test_draws_are_not_the_first_rows(self) -> None:
        chosen = carve(np.zeros(1000, int), np.arange(1000), 0.1, seed=0)
        assert 400 < np.flatnonzero(chosen).mean() < 600

    @pytest.mark.parametrize("fraction", [0.1, 0.25, 0.4])
    def test_groups_stay_whole_and_shares_are_about_right(self, fraction: float) -> None:
        frame = subjects_frame(subjects=60)
        labels, groups = frame["label"].to_numpy(), frame["group"].to_numpy()
        chosen = carve(labels, groups, fraction, seed=1)
        assert not set(groups[chosen]) & set(groups[~chosen])
        assert chosen.mean() == pytest.approx(fraction, abs=0.02)
        of_class = np.bincount(labels[chosen]) / np.bincount(labels)
        assert np.abs(of_class - fraction).max() < 0.12
        np.testing.assert_array_equal(chosen, carve(labels, groups, fraction, seed=1))

    def test_one_group_cannot_be_divided(self) -> None:
        with pytest.raises(UserError, match="at least two groups"):
            carve(np.zeros(9, int), np.full(9, "S001"), 0.1, seed=0)

    def test_few_large_groups_give_at_least_one(self) -> None:
        groups = np.repeat(["a", "b", "c"], 10)
        assert carve(np.tile([0, 1], 15), groups, 0.1, seed=0).sum() == 10


class TestOfficial:
    def test_complete_release_is_kept(self) -> None:
        splits = ["train"] * 10 + ["val"] * 4 + ["test"] * 6
        result = plan(make_frame([0, 1] * 10, splits), "official")
        assert result.names.tolist() == splits
        assert (result.split, result.selection, result.test) == ("official", "PublicTest", "PrivateTest")

    def test_validation_is_carved_from_training_and_test_is_untouched(self) -> None:
        frame = make_frame([0] * 60 + [1] * 40 + [0, 1] * 10, ["train"] * 100 + ["test"] * 20)
        result = plan(frame, "official")
        assert counts_of(frame, result.names, "val") == [6, 4]
        assert counts_of(frame, result.names, "train") == [54, 36]
        assert (result.names == "test").tolist() == [False] * 100 + [True] * 20
        assert result.split == "official, validation carved from training"
        assert result.selection == "carved: 10% of the training rows, stratified, seed 0"
        assert result.test == "PrivateTest"

    def test_missing_test_is_carved_and_said_so(self) -> None:
        frame = make_frame([0] * 100 + [1] * 50 + [0, 1] * 5, ["train"] * 150 + ["val"] * 10)
        result = plan(frame, "official")
        assert counts_of(frame, result.names, "test") == [10, 5]
        assert counts_of(frame, result.names, "val") == [5, 5]
        assert result.split == "carved: the release has no labelled test split"
        assert result.test == "carved: 10% of the training rows, stratified, seed 1"
        assert result.selection == "PublicTest"

    def test_without_any_official_split_three_disjoint_ones_are_made(self) -> None:
        frame = make_frame([0] * 100 + [1] * 50)
        result = plan(frame, "official", fraction=0.2)
        assert counts_of(frame, result.names, "test") == [20, 10]
        assert counts_of(frame, result.names, "val") == [16, 8]
        assert counts_of(frame, result.names, "train") == [64, 32]

    def test_subjects_are_not_divided(self) -> None:
        frame = subjects_frame()
        result = plan(frame, "official")
        assert_no_group_is_divided(frame, result.names)
        assert set(result.names) == {"train", "val", "test"}
        assert "stratified, group-disjoint" in result.selection

    def test_a_release_without_training_rows_is_left_to_the_caller(self) -> None:
        assert set(plan(make_frame([0, 1], "test"), "official").names) == {"test"}


class TestPaper:
    def test_shares(self) -> None:
        frame = make_frame([0] * 600 + [1] * 400, ["train"] * 500 + ["test"] * 500)
        result = plan(frame, "paper_70_30")
        assert counts_of(frame, result.names, "test") == [180, 120]
        assert counts_of(frame, result.names, "val") == [42, 28]
        assert counts_of(frame, result.names, "train") == [378, 252]
        assert result.split.startswith("paper_70_30")

    def test_ignores_subjects_and_official_splits(self) -> None:
        frame = subjects_frame().assign(split="train")
        names = plan(frame, "paper_70_30").names
        assert (frame.assign(name=names).groupby("group")["name"].nunique() > 1).any()
        assert (names == "test").mean() == pytest.approx(0.3, abs=0.02)


class TestSubjectFolds:
    def test_every_row_is_tested_once_and_subjects_never_cross(self) -> None:
        frame = subjects_frame()
        tested = np.zeros(len(frame), int)
        sizes = []
        for fold in range(10):
            result = plan(frame, "subject_kfold", fold=fold)
            assert_no_group_is_divided(frame, result.names)
            assert set(result.names) == {"train", "val", "test"}
            assert result.selection != result.test == f"fold {fold}"
            tested += result.names == "test"
            sizes.append((result.names == "test").sum())
        assert (tested == 1).all()
        assert max(sizes) - min(sizes) <= 14  # two subjects

    def test_validation_of_a_fold_is_the_test_of_the_next(self) -> None:
        frame = subjects_frame()
        for fold in (0, 9):
            val = plan(frame, "subject_kfold", fold=fold).names == "val"
            np.testing.assert_array_equal(val, plan(frame, "subject_kfold", fold=(fold + 1) % 10).names == "test")

    def test_fewer_subjects_than_folds(self) -> None:
        frame = subjects_frame(subjects=4)
        assert plan(frame, "subject_kfold", fold=3).split == "subject-disjoint 4-fold, seed 0, fold 3"
        with pytest.raises(UserError, match=r"^data.fold must be from 0 to 3 for this data; got 4\.$"):
            plan(frame, "subject_kfold", fold=4)

    def test_a_rare_class_is_no_reason_to_warn(self, recwarn: pytest.WarningsRecorder) -> None:
        frame = subjects_frame()
        frame.loc[0, "label"] = 4
        plan(frame, "subject_kfold")
        assert not recwarn.list

    @pytest.mark.parametrize("frame", [subjects_frame(subjects=2), make_frame([0, 1, 2])], ids=["subjects", "rows"])
    def test_too_little_data(self, frame: pd.DataFrame) -> None:
        with pytest.raises(UserError, match="needs at least 3 subjects and a class with at least 3 images"):
            plan(frame, "subject_kfold")


@pytest.mark.parametrize("policy", ["official", "paper_70_30", "subject_kfold"])
@pytest.mark.parametrize("grouped", [False, True])
def test_seed_alone_decides(policy: str, grouped: bool) -> None:
    frame = subjects_frame() if grouped else make_frame([0, 1, 2] * 20)
    first = plan(frame, policy, seed=7).names
    np.random.seed(99)  # noqa: NPY002 - the split must not depend on global state
    np.testing.assert_array_equal(first, plan(frame, policy, seed=7).names)
    assert (first != plan(frame, policy, seed=8).names).any()


@pytest.mark.parametrize(
    ("policy", "fraction", "fold", "told"),
    [
        ("official", 0.0, 0, "data.val_fraction must be above 0 and at most 0.5; got 0.0."),
        ("official", 0.6, 0, "data.val_fraction must be above 0 and at most 0.5; got 0.6."),
        ("subject_kfold", 0.1, 10, "data.fold must be from 0 to 9 for this data; got 10."),
        ("subject_kfold", 0.1, -1, "data.fold must be from 0 to 9 for this data; got -1."),
        ("leave_one_out", 0.1, 0, "data.split must be official, paper_70_30 or subject_kfold; got 'leave_one_out'."),
    ],
)
def test_mistakes_are_told_in_one_sentence(policy: str, fraction: float, fold: int, told: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(told)}$"):
        plan(subjects_frame(), policy, fraction=fraction, fold=fold)
