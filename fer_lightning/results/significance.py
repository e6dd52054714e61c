"""Two variants under one protocol: every test that their records allow."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fer_lightning.errors import UserError
from fer_lightning.results.collect import read_predictions, require_one_protocol
from fer_lightning.evaluation.discordance import Discordance, compare_images
from fer_lightning.evaluation.effect_size import cliffs_delta
from fer_lightning.evaluation.paired_bootstrap import bootstrap_difference
from fer_lightning.evaluation.paired_seeds import SeedTest, compare_seeds
from fer_lightning.evaluation.predictions import predicted_arrays


@dataclass(frozen=True)
class Comparison:
    """`variant - reference` on one split.

    Attributes:
        variant: Name.
        reference: Name.
        score: What is compared over seeds, for example `accuracy`.
        shared_seeds: Seeds that both were run with.
        over_seeds: The scores under these seeds.
        cliffs_delta: Of all seeds of both, paired or not.
        over_images: Right and wrong predictions, seed by shared seed; empty where the split has scores and no stored
            predictions of its own (`test_clean`).
        bootstrap: 95 % interval of the difference in accuracy with redrawn test images, over all shared seeds; NaN
            where `over_images` is empty.
    """

    variant: str
    reference: str
    score: str
    shared_seeds: tuple[int, ...]
    over_seeds: SeedTest
    cliffs_delta: float
    over_images: dict[int, Discordance]
    bootstrap: tuple[float, float]


def compare_variants(runs: pd.DataFrame, variant: str, reference: str, score: str, split: str = "test") -> Comparison:
    """Compares two variants by their scores and by their stored predictions.

    Args:
        runs: As `collect_runs` returns it.
        variant: Name.
        reference: Name.
        score: A column of scores.
        split: Which predictions count.

    Raises:
        UserError: One of the two was not run, or on several folds, they share no seed, their protocols differ, or their
            predictions are of other images.
    """
    first, second = _seeds_of(runs, variant, split), _seeds_of(runs, reference, split)
    require_one_protocol(pd.concat([first, second]))
    shared = sorted(set(first.index) & set(second.index))
    if not shared:
        raise UserError(
            f"{variant} (seeds {_told(first)}) and {reference} (seeds {_told(second)}) share no seed and cannot be "
            "paired: run both with the same seeds."
        )
    pairs = {seed: _correct(first.loc[seed], second.loc[seed], split) for seed in shared}
    correct = {seed: pair for seed, pair in pairs.items() if len(pair[0])}
    return Comparison(
        variant,
        reference,
        score,
        tuple(shared),
        compare_seeds(first.loc[shared, score], second.loc[shared, score]),
        cliffs_delta(first[score], second[score]),
        {seed: compare_images(own, other) for seed, (own, other) in correct.items()},
        _redrawn(list(correct.values())),
    )


def _redrawn(pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float]:
    if not pairs:
        return float("nan"), float("nan")
    own, other = (np.mean(runs, axis=0) for runs in zip(*pairs))
    return bootstrap_difference(own, other)


def _seeds_of(runs: pd.DataFrame, variant: str, split: str) -> pd.DataFrame:
    rows = runs[(runs["variant"] == variant) & (runs["split"] == split)]
    if rows.empty:
        raise UserError(
            f"{variant} has no run that was scored on {split}: the runs are {', '.join(runs['variant'].unique())}."
        )
    if rows["seed"].duplicated().any():
        raise UserError(f"{variant} was run on several folds, which share training images: only seeds are paired.")
    return rows.set_index("seed")


def _told(rows: pd.DataFrame) -> str:
    return ", ".join(map(str, rows.index))


def _correct(own: pd.Series, other: pd.Series, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Whether each of two runs is right on each image, `(N,)` both, in the order of the first."""
    first, second = _predictions(own, split), _predictions(other, split)
    same_rows = len(first) == len(second) and first.index.is_unique and first.index.isin(second.index).all()
    if not same_rows or not first["target"].equals(second["target"].loc[first.index]):
        raise UserError(
            f"{own['folder']} and {other['folder']} predict other images or labels in {split} and cannot be paired: "
            "train one of them again."
        )
    classes = json.loads(own["protocol"])["classes"]
    pairs = [predicted_arrays(table, classes, split) for table in (first, second.loc[first.index])]
    right = [probabilities.argmax(axis=1) == targets for targets, probabilities in pairs]
    return right[0], right[1]


def _predictions(run: pd.Series, split: str) -> pd.DataFrame:
    table = read_predictions(run["folder"])
    return table[table["split"] == split].set_index("id")
