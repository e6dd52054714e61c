"""Significance tests of runs and variants under one protocol.

McNemar's test on the test images, paired tests over seeds, the paired bootstrap over test images, effect sizes, and
p-values adjusted for multiple tests.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.stats import binomtest, mannwhitneyu, ttest_rel, wilcoxon
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from fer_lightning.errors import UserError, printable
from fer_lightning.results.collect import read_predictions, read_runs, require_one_protocol, require_one_test
from fer_lightning.results.intervals import SeedMean, mean_over_seeds
from fer_lightning.results.naming import name_variants, network_name
from fer_lightning.results.protocol import Protocol
from fer_lightning.results.run_record import predicted_arrays

EXACT_UP_TO = 1000


@dataclass(frozen=True)
class Discordance:
    """Discordant images of two variants and McNemar's test.

    Attributes:
        only_first: Number of images that only the first variant classifies correctly.
        only_second: Number of images that only the second classifies correctly.
        p: Two-sided p-value of McNemar's test; 1 without discordant images.
        odds_ratio: `only_first / only_second`; infinite if the latter is 0, NaN if both are.
        low: Lower end of its exact 95 % interval; NaN if both counts are 0.
        high: Upper end.
    """

    only_first: int
    only_second: int
    p: float
    odds_ratio: float
    low: float
    high: float


def compare_images(first_correct: np.ndarray, second_correct: np.ndarray) -> Discordance:
    """McNemar's test and the odds ratio of the discordant images.

    It covers the sampling of the test images, not the variance of the seed.

    Args:
        first_correct: Whether the first variant classifies each image correctly, boolean `(N,)`.
        second_correct: The same for the second variant, `(N,)`.

    Source: McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
    Psychometrika 12, 1947; the interval from Clopper and Pearson's for the share of the first among the discordant
    images, Biometrika 26, 1934.

    Readings:
        - Exact (binomial) for up to 1,000 discordant images, chi-squared with continuity correction for more.
    """
    only_first = int((first_correct & ~second_correct).sum())
    only_second = int((~first_correct & second_correct).sum())
    discordant = only_first + only_second
    if discordant == 0:
        nothing = float("nan")
        return Discordance(0, 0, 1.0, nothing, nothing, nothing)
    p = mcnemar([[0, only_first], [only_second, 0]], exact=discordant <= EXACT_UP_TO).pvalue
    share = binomtest(only_first, discordant).proportion_ci(0.95, method="exact")
    odds = only_first / only_second if only_second else float("inf")
    return Discordance(only_first, only_second, float(p), odds, _odds(share.low), _odds(share.high))


def _odds(share: float) -> float:
    return float(share / (1 - share)) if share < 1 else float("inf")


@dataclass(frozen=True)
class SeedTest:
    """Paired tests of `first - second` over seeds.

    Attributes:
        difference: Mean difference over seeds with its t interval.
        t_p: Two-sided p-value of the paired t-test; NaN for one seed.
        wilcoxon_p: Two-sided p-value of Wilcoxon's signed-rank test, exact for up to 50 seeds without ties; at least
            `2 ** (1 - n)`: 0.25 for three seeds, 0.0625 for five. NaN for one seed.
        dz: Cohen's d_z, see `cohens_dz`.
    """

    difference: SeedMean
    t_p: float
    wilcoxon_p: float
    dz: float


def compare_seeds(first: Sequence[float], second: Sequence[float]) -> SeedTest:
    """Paired tests of scores over seeds.

    Args:
        first: Scores of the first variant, one per seed.
        second: Scores of the second variant with the same seeds, in the same order.

    Readings:
        - If all differences are equal and not 0, the t-test divides by 0: p is 0 in scipy and NaN here, because equal
          differences come from deterministic networks or runs that were counted twice.
        - If all differences are 0, p is 1 in both tests.
    """
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    summary = mean_over_seeds(differences.tolist())
    if len(differences) < 2:
        return SeedTest(summary, float("nan"), float("nan"), float("nan"))
    if not differences.any():
        return SeedTest(summary, 1.0, 1.0, 0.0)
    dz = cohens_dz(differences)
    t_p = float(ttest_rel(first, second).pvalue) if np.isfinite(dz) else float("nan")
    # Without rounding, floating-point errors would break ties.
    return SeedTest(summary, t_p, float(wilcoxon(differences.round(12)).pvalue), dz)


def cohens_dz(differences: Sequence[float] | np.ndarray) -> float:
    """Cohen's d_z: the mean of paired differences in units of their sample standard deviation.

    Args:
        differences: Differences, one per pair.

    Returns:
        d_z; 0 if all differences are 0; NaN if all have another equal value, or there are fewer than 2.

    Source: Lakens, "Calculating and reporting effect sizes", Frontiers in Psychology 4:863, 2013, equation 7.
    """
    values = np.asarray(differences, dtype=np.float64)
    if len(values) < 2:
        return float("nan")
    if not values.any():
        return 0.0
    sd = float(values.std(ddof=1))
    # Smaller deviations are floating-point errors.
    return float(values.mean()) / sd if sd > 1e-12 else float("nan")


def cliffs_delta(first: Sequence[float], second: Sequence[float]) -> float:
    """Cliff's delta: P(score of `first` > score of `second`) - P(score of `first` < score of `second`).

    Args:
        first: Scores of the first variant, at least one; not paired.
        second: Scores of the second variant, at least one.

    Returns:
        -1 (all below) .. 1 (all above).

    Source: Cliff, "Dominance statistics", Psychological Bulletin 114, 1993; computed from Mann and Whitney's U, which
    counts a tie as one half: `2 U / (n m) - 1`.
    """
    above = float(mannwhitneyu(first, second).statistic)
    return 2 * above / (len(first) * len(second)) - 1


@dataclass(frozen=True)
class Comparison:
    """Tests of `variant - reference` on one split.

    Attributes:
        shared_seeds: Seeds of both.
        over_seeds: Paired tests over the shared seeds.
        cliffs_delta: Cliff's delta of all seeds of both.
        over_images: McNemar's test by shared seed; empty if the predictions of the split are not stored (`test_clean`).
        bootstrap: 95 % bootstrap interval of the difference in accuracy over test images, for the mean of the shared
            seeds; NaN if `over_images` is empty.
    """

    shared_seeds: tuple[int, ...]
    over_seeds: SeedTest
    cliffs_delta: float
    over_images: dict[int, Discordance]
    bootstrap: tuple[float, float]


def compare_variants(runs: pd.DataFrame, variant: str, reference: str, score: str, split: str = "test") -> Comparison:
    """Compares two variants by their scores and their stored predictions.

    Args:
        runs: Scores of the runs (`collect_runs`).
        variant: Name of the variant.
        reference: Name of the reference.
        score: Column of the score.
        split: Split of scores and predictions.

    Raises:
        UserError: A variant has no runs or runs on several folds, no seed is shared, the protocols differ, or the
            predictions are of different images.
    """
    first, second = _seeds_of(runs, variant, split), _seeds_of(runs, reference, split)
    require_one_protocol(pd.concat([first, second]))
    shared = sorted(set(first.index) & set(second.index))
    if not shared:
        raise UserError(
            f"{variant} (seeds {', '.join(map(str, first.index))}) and {reference} (seeds "
            f"{', '.join(map(str, second.index))}) share no seed and cannot be paired: run both with the same seeds."
        )
    pairs = {seed: _correct(first.loc[seed], second.loc[seed], split) for seed in shared}
    correct = {seed: pair for seed, pair in pairs.items() if len(pair[0])}
    return Comparison(
        tuple(shared),
        compare_seeds(first.loc[shared, score], second.loc[shared, score]),
        cliffs_delta(first[score], second[score]),
        {seed: compare_images(*pair) for seed, pair in correct.items()},
        bootstrap_difference(*np.mean(list(correct.values()), axis=0)) if correct else (float("nan"), float("nan")),
    )


def _seeds_of(runs: pd.DataFrame, variant: str, split: str) -> pd.DataFrame:
    rows = runs[(runs["variant"] == variant) & (runs["split"] == split)]
    if rows.empty:
        raise UserError(
            f"{variant} has no run that was scored on {split}: the runs are {', '.join(runs['variant'].unique())}."
        )
    if rows["seed"].duplicated().any():
        raise UserError(f"{variant} was run on several folds, which share training images: only seeds are paired.")
    return rows.set_index("seed")


def _correct(run: pd.Series, other: pd.Series, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Whether each of two runs classifies each image correctly, `(N,)` both, in the order of the first."""
    return _both_correct(run["folder"], other["folder"], json.loads(run["protocol"])["classes"], split)


def _both_correct(run: str, other: str, classes: Sequence[str], split: str) -> tuple[np.ndarray, np.ndarray]:
    first, second = _predictions(run, split), _predictions(other, split)
    same_rows = len(first) == len(second) and first.index.is_unique and first.index.isin(second.index).all()
    if not same_rows or not first["target"].equals(second["target"].loc[first.index]):
        raise UserError(
            f"{run} and {other} predict different images or labels in {split} and cannot be paired: train one of them "
            "again."
        )
    pairs = [predicted_arrays(table, classes, split) for table in (first, second.loc[first.index])]
    right = [probabilities.argmax(axis=1) == targets for targets, probabilities in pairs]
    return right[0], right[1]


def _predictions(folder: str, split: str) -> pd.DataFrame:
    table = read_predictions(folder)
    return table[table["split"] == split].set_index("id")


def bootstrap_difference(first_correct: np.ndarray, second_correct: np.ndarray) -> tuple[float, float]:
    """Paired bootstrap interval of the difference in accuracy, first minus second, over test images.

    With several seeds, the interval is that of the difference of the mean accuracies of these seeds.

    Args:
        first_correct: Whether the first variant classifies each image correctly, boolean `(N,)`, or the share of its
            seeds that do.
        second_correct: The same for the second variant, `(N,)`.

    Returns:
        Ends of the 95 % interval: percentiles of 9,999 resampled differences, the same in every call.

    Source: Efron and Tibshirani, "An introduction to the bootstrap", 1993, section 13.3.
    """
    differences = np.asarray(first_correct, dtype=np.float64) - np.asarray(second_correct, dtype=np.float64)
    values, counts = np.unique(differences, return_counts=True)
    # Only the number of drawn images by difference matters, and it is multinomial.
    drawn = np.random.default_rng(0).multinomial(len(differences), counts / len(differences), size=9999)
    low, high = np.quantile(drawn @ values / len(differences), [(1 - 0.95) / 2, (1 + 0.95) / 2])
    return float(low), float(high)


def adjust_p_values(p_values: Sequence[float], method: Literal["holm", "bonferroni"]) -> np.ndarray:
    """Adjusted p-values of a family of tests.

    Args:
        p_values: p-values; NaN entries are not counted as tests.
        method: `"holm"` or `"bonferroni"`. Both bound the family-wise error rate under any dependence; Holm's are never
            larger.

    Returns:
        Adjusted p-values in the same order, at most 1; NaN where the input is.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6, 1979.
    """
    values = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(len(values), np.nan)
    tested = np.isfinite(values)
    if tested.any():
        adjusted[tested] = multipletests(values[tested], method=method)[1]
    return adjusted


def compare(*runs: str | Path, split: str = "test") -> pd.DataFrame:
    """Compares finished runs and evaluations in pairs, image by image; the first of a pair is its reference.

    Intervals and tests cover the sampling of the test images, not the variance of the seed: to compare variants over
    seeds, use `fer report`.

    Args:
        runs: Folders of `fer train` or `fer evaluate`, or folders with those; two or more runs.
        split: Split whose predictions are compared.

    Returns:
        A row per pair: `first` and `second` (names of the runs), `dataset`, `split`, `images`, `accuracy_first`,
        `accuracy_second`, `difference` (second - first, as `fer report` shows variant - reference) with its 95 %
        bootstrap interval `low` and `high`, `only_first` and `only_second` (images that only this run classifies
        correctly), `p` of McNemar's test, and `p_holm`, adjusted over all pairs. Pairs are in the order of the runs.

    Raises:
        UserError: There are fewer than two runs, one was trained with `track_test=true`, or their protocols or images
            differ.

    Example:
        >>> table = compare("outputs/two/0", "outputs/two/1")
        >>> table[["first", "second", "accuracy_first", "accuracy_second", "difference"]].round(3)
          first second  accuracy_first  accuracy_second  difference
        0  good   poor            0.85              0.5       -0.35
        >>> bool(table["p_holm"][0] < 0.001)
        True
    """
    read = (read_runs(Path(run), evaluations=True) for run in runs)
    records = {folder.resolve(): metrics for below in read for folder, metrics in below.items()}
    if len(records) < 2:
        raise UserError(f"A comparison needs the folders of two or more runs; got {len(records)}.")
    names = dict(zip(records, _run_names(records)))
    require_one_test({names[folder]: record for folder, record in records.items()})
    for folder, name in names.items():
        if split not in (scored := read_predictions(folder)["split"].unique()):
            raise UserError(f"{name} holds no predictions of split={split}: use split={' or '.join(scored)}.")
    rows = []
    for one, other in combinations(records, 2):
        protocol = Protocol.from_dict(records[one]["protocol"])
        # The same images with other views or another prior are compared; their names say which is which.
        second_protocol = Protocol.from_dict(records[other]["protocol"])
        second_protocol = replace(second_protocol, tta=protocol.tta, prior=protocol.prior)
        protocol.require_same(second_protocol, f"{names[one]} and {names[other]}")
        first, second = _both_correct(str(one), str(other), protocol.classes, split)
        low, high = bootstrap_difference(second, first)
        images = compare_images(first, second)
        rows.append(
            {
                "first": names[one],
                "second": names[other],
                "dataset": protocol.dataset,
                "split": split,
                "images": len(first),
                "accuracy_first": first.mean(),
                "accuracy_second": second.mean(),
                "difference": second.mean() - first.mean(),
                "low": low,
                "high": high,
                "only_first": images.only_first,
                "only_second": images.only_second,
                "p": images.p,
            }
        )
    table = pd.DataFrame(rows)
    return table.assign(p_holm=adjust_p_values(table["p"], "holm"))


def _run_names(runs: Mapping[Path, Mapping[str, Any]]) -> list[str]:
    """Variants of the runs, with the seed or else the folder if several have the same name."""
    names = [
        printable(network_name(run.get("model", name)) if name == "default" else name)
        for run, name in zip(runs.values(), name_variants([run.get("variant", {}) for run in runs.values()]))
    ]
    seeds = [f"seed {run.get('seed', run.get('trained_seed', 'unknown'))}" for run in runs.values()]
    for details in (seeds, [folder.name for folder in runs], runs):
        counts = Counter(names)
        names = [name if counts[name] == 1 else f"{name}, {printable(more)}" for name, more in zip(names, details)]
    return names
