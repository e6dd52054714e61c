"""Assignment of rows to training, validation and test splits."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from fer_lightning.errors import UserError

FOLDS = 10
TEST_SHARE_OF_THE_PAPER = 0.3


@dataclass(frozen=True)
class SplitPlan:
    """Split of every row, with its description.

    Attributes:
        names: `"train"`, `"val"` or `"test"` per row, `(N,)`.
        split: Definition of the splits, in words.
        selection: Description of the rows on which the best epoch is selected.
        test: Description of the rows on which the final score is computed.
    """

    names: np.ndarray
    split: str
    selection: str
    test: str


def carve(labels: np.ndarray, groups: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Stratified random subset of some rows.

    Rows are drawn class by class. Where a group has several rows, whole groups are drawn instead (folds of
    scikit-learn's `StratifiedGroupKFold`), so that no group is divided; the share is then approximate.

    Args:
        labels: Class indices `(N,)`.
        groups: Group of each row `(N,)`.
        fraction: Share of the subset, above 0 and at most 0.5.
        seed: Seed of the draw.

    Returns:
        Boolean mask `(N,)` of the chosen rows.
    """
    chosen = np.zeros(len(labels), bool)
    if _groups_repeat(groups):
        most_folds = _most_folds(labels, groups)
        if most_folds < 2:
            raise UserError(
                f"The training images must have at least two groups to carve a split from; all {len(groups)} have one."
            )
        share = max(Fraction(fraction).limit_denominator(min(20, most_folds)), Fraction(1, most_folds))
        for rows in _group_folds(labels, groups, share.denominator, seed)[: share.numerator]:
            chosen[rows] = True
        return chosen
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        order = np.random.default_rng([seed, int(label)]).permutation(rows)
        chosen[order[: round(fraction * len(rows))]] = True
    return chosen


def _groups_repeat(groups: np.ndarray) -> bool:
    return len(np.unique(groups)) < len(groups)


def _most_folds(labels: np.ndarray, groups: np.ndarray) -> int:
    """Maximum number of folds: scikit-learn needs a group for each fold, and a class with as many rows."""
    return min(len(np.unique(groups)), int(np.bincount(labels).max()))


def _group_folds(labels: np.ndarray, groups: np.ndarray, folds: int, seed: int) -> list[np.ndarray]:
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A class may have fewer rows than folds: CK+ has 18 sequences of contempt.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        return [rows for _, rows in splitter.split(np.zeros(len(labels)), labels, groups)]


def plan_splits(frame: pd.DataFrame, policy: str, val_fraction: float, seed: int, fold: int) -> SplitPlan:
    """Assigns every row to training, validation or test.

    Args:
        frame: Table of the rows, see `Samples.frame`.
        policy: `"official"` keeps the release's splits and carves what it lacks from training; `"paper_70_30"` is the
            random 70/30 split of the PsySFA-Net paper, which ignores the release's splits; `"subject_kfold"` holds
            out every tenth of the groups in turn.
        val_fraction: Share of the training rows that becomes validation where the release has none.
        seed: Seed of every random choice here.
        fold: Index of the tenth that is the test split, 0..9, for `"subject_kfold"`.

    Raises:
        UserError: The policy cannot be applied to these rows.
    """
    if not 0 < val_fraction <= 0.5:
        raise UserError(f"data.val_fraction must be above 0 and at most 0.5; got {val_fraction}.")
    if policy == "official":
        return _official(frame, val_fraction, seed)
    if policy == "paper_70_30":
        return _random(frame, val_fraction, seed)
    if policy == "subject_kfold":
        return _kfold(frame, seed, fold)
    raise UserError(f"data.split must be official, paper_70_30 or subject_kfold; got {policy!r}.")


def _carve_from(names: np.ndarray, frame: pd.DataFrame, source: str, target: str, fraction: float, seed: int) -> None:
    rows = np.flatnonzero(names == source)
    labels, groups = frame["label"].to_numpy()[rows], frame["group"].to_numpy()[rows]
    names[rows[carve(labels, groups, fraction, seed)]] = target


def _official(frame: pd.DataFrame, val_fraction: float, seed: int) -> SplitPlan:
    names = frame["split"].to_numpy(dtype=object).copy()
    official = frame["official"].to_numpy(dtype=object)
    names[names == ""] = "train"
    groups = frame["group"].to_numpy()[names == "train"]
    drawn = "stratified, group-disjoint" if _groups_repeat(groups) else "stratified"
    share = f"{val_fraction:.0%} of the training rows, {drawn}"

    def official_name(split: str) -> str:
        return "+".join(sorted(set(official[names == split]) - {""})) or split

    split = "official"
    if test_missing := not (names == "test").any():
        _carve_from(names, frame, "train", "test", val_fraction, seed + 1)
        split = "carved: the release has no labelled test split"
    if val_missing := not (names == "val").any():
        _carve_from(names, frame, "train", "val", val_fraction, seed)
        split = split if test_missing else "official, validation carved from training"
    return SplitPlan(
        names=names,
        split=split,
        selection=f"carved: {share}, seed {seed}" if val_missing else official_name("val"),
        test=f"carved: {share}, seed {seed + 1}" if test_missing else official_name("test"),
    )


def _random(frame: pd.DataFrame, val_fraction: float, seed: int) -> SplitPlan:
    names = np.full(len(frame), "train", dtype=object)
    unrelated = frame.assign(group=np.arange(len(frame)))
    _carve_from(names, unrelated, "train", "test", TEST_SHARE_OF_THE_PAPER, seed + 1)
    _carve_from(names, unrelated, "train", "val", val_fraction, seed)
    return SplitPlan(
        names=names,
        split="paper_70_30: random 70/30 over all rows, subjects and official splits ignored",
        selection=f"carved: {val_fraction:.0%} of the 70 %, stratified, seed {seed}",
        test=f"random 30 % of all rows, stratified, seed {seed + 1}",
    )


def _kfold(frame: pd.DataFrame, seed: int, fold: int) -> SplitPlan:
    labels, groups = frame["label"].to_numpy(), frame["group"].to_numpy()
    folds = min(FOLDS, _most_folds(labels, groups))
    if folds < 3:
        raise UserError("data.split=subject_kfold needs at least 3 subjects and a class with at least 3 images.")
    if not 0 <= fold < folds:
        raise UserError(f"data.fold must be from 0 to {folds - 1} for this data; got {fold}.")
    parts = _group_folds(labels, groups, folds, seed)
    names = np.full(len(frame), "train", dtype=object)
    names[parts[(fold + 1) % folds]] = "val"
    names[parts[fold]] = "test"
    kind = "subject-disjoint" if _groups_repeat(groups) else "random, without subject ids,"
    return SplitPlan(
        names=names,
        split=f"{kind} {folds}-fold, seed {seed}, fold {fold}",
        selection=f"fold {(fold + 1) % folds}",
        test=f"fold {fold}",
    )
