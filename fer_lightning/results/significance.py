"""Significance tests of runs and variants under one protocol: every test that their records allow.

McNemar's test of the images that only one of them gets right, paired tests of scores under the same seeds, the paired
bootstrap over test images, effect sizes, and p-values adjusted for many tests in one table.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.stats import binomtest, mannwhitneyu, ttest_rel, wilcoxon
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from fer_lightning.errors import UserError, printable
from fer_lightning.results.collect import read_predictions, read_runs, require_one_protocol
from fer_lightning.results.intervals import SeedMean, mean_over_seeds
from fer_lightning.results.naming import name_variants
from fer_lightning.results.protocol import Protocol
from fer_lightning.results.run_record import predicted_arrays

EXACT_UP_TO = 1000


@dataclass(frozen=True)
class Discordance:
    """Two variants on the same test images.

    Attributes:
        only_first: Images that only the first gets right.
        only_second: Images that only the second gets right.
        p: Two-sided p of McNemar's test; 1 where no image tells them apart.
        odds_ratio: `only_first / only_second`; infinite where the latter is 0, NaN where both are.
        low: Lower end of its exact 95 % interval; NaN where both counts are 0.
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

    It covers the chance of having drawn these test images, not that of the seed: one run stands for each variant.

    Args:
        first_correct: Whether one variant is right, boolean `(N,)`.
        second_correct: The same for the other on the same images, `(N,)`.

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
    """What seeds say about `first - second`.

    Attributes:
        difference: Mean difference over seeds with its t interval.
        t_p: Two-sided p of the paired t-test; NaN for one seed.
        wilcoxon_p: Two-sided p of Wilcoxon's signed-rank test, exact for up to 50 seeds without ties. It cannot fall
            below `2 ** (1 - n)`: 0.25 for three seeds, 0.0625 for five. NaN for one seed.
        dz: Cohen's d_z, see `cohens_dz`.
    """

    difference: SeedMean
    t_p: float
    wilcoxon_p: float
    dz: float


def compare_seeds(first: Sequence[float], second: Sequence[float]) -> SeedTest:
    """Tests scores that are paired by seed.

    Args:
        first: Scores of one variant, one a seed.
        second: Scores of the other under the same seeds, in the same order.

    Readings:
        - All differences equal and not 0: the t-test divides by 0. Its p is 0 by scipy, here NaN: seeds that agree to
          the last digit (a deterministic net, one run counted twice) are no evidence of that size.
        - All differences 0: p is 1 in both tests.
    """
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    summary = mean_over_seeds(differences.tolist())
    if len(differences) < 2:
        return SeedTest(summary, float("nan"), float("nan"), float("nan"))
    if not differences.any():
        return SeedTest(summary, 1.0, 1.0, 0.0)
    dz = cohens_dz(differences)
    t_p = float(ttest_rel(first, second).pvalue) if np.isfinite(dz) else float("nan")
    # Differences of equal scores may be off by rounding, which would rank ties apart.
    return SeedTest(summary, t_p, float(wilcoxon(differences.round(12)).pvalue), dz)


def cohens_dz(differences: Sequence[float] | np.ndarray) -> float:
    """Cohen's d_z: the mean of paired differences in units of their sample standard deviation.

    Args:
        differences: One a pair.

    Returns:
        d_z; 0 where all differences are 0; NaN where they are equal otherwise (nothing to measure by) or fewer than 2.

    Source: Lakens, "Calculating and reporting effect sizes", Frontiers in Psychology 4:863, 2013, equation 7.
    """
    values = np.asarray(differences, dtype=np.float64)
    if len(values) < 2:
        return float("nan")
    if not values.any():
        return 0.0
    sd = float(values.std(ddof=1))
    # Scores are shares of some thousand images: a deviation of 1e-12 is rounding.
    return float(values.mean()) / sd if sd > 1e-12 else float("nan")


def cliffs_delta(first: Sequence[float], second: Sequence[float]) -> float:
    """Cliff's delta: how much likelier a score of `first` lies above one of `second` than below.

    It needs no pairs: the seeds of both may differ, in number too.

    Args:
        first: Scores of one variant, at least one.
        second: Scores of the other, at least one.

    Returns:
        -1 (all below) .. 1 (all above). One score each gives no other values than these ends and 0, and says nothing.

    Source: Cliff, "Dominance statistics", Psychological Bulletin 114, 1993; by way of Mann and Whitney's U, which
    counts a tie as one half: `2 U / (n m) - 1`.
    """
    above = float(mannwhitneyu(first, second).statistic)
    return 2 * above / (len(first) * len(second)) - 1


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
    return _both_correct(own["folder"], other["folder"], json.loads(own["protocol"])["classes"], split)


def _both_correct(own: str, other: str, classes: Sequence[str], split: str) -> tuple[np.ndarray, np.ndarray]:
    first, second = _predictions(own, split), _predictions(other, split)
    same_rows = len(first) == len(second) and first.index.is_unique and first.index.isin(second.index).all()
    if not same_rows or not first["target"].equals(second["target"].loc[first.index]):
        raise UserError(
            f"{own} and {other} predict other images or labels in {split} and cannot be paired: "
            "train one of them again."
        )
    pairs = [predicted_arrays(table, classes, split) for table in (first, second.loc[first.index])]
    right = [probabilities.argmax(axis=1) == targets for targets, probabilities in pairs]
    return right[0], right[1]


def _predictions(folder: str, split: str) -> pd.DataFrame:
    table = read_predictions(folder)
    return table[table["split"] == split].set_index("id")


def bootstrap_difference(
    first_correct: np.ndarray, second_correct: np.ndarray, level: float = 0.95, resamples: int = 9999
) -> tuple[float, float]:
    """Interval of the difference in accuracy, first minus second, by redrawing test images.

    Each image is drawn together with what both variants say about it. With several seeds its share of correct runs
    counts, so that the interval is that of the difference of the mean accuracies under these very seeds.

    Args:
        first_correct: Whether one variant is right, boolean `(N,)`, or its share of correct runs.
        second_correct: The same for the other on the same images, `(N,)`.
        level: Confidence level in 0..1.
        resamples: Number of redrawn test sets; they are the same in every call.

    Returns:
        Lower and upper end, the percentiles of the redrawn differences. Both are 0 where no image tells the two apart.

    Source: Efron and Tibshirani, "An introduction to the bootstrap", 1993, section 13.3.
    """
    differences = np.asarray(first_correct, dtype=np.float64) - np.asarray(second_correct, dtype=np.float64)
    values, counts = np.unique(differences, return_counts=True)
    # Images with the same difference are alike: how many of each kind are drawn decides, and that is multinomial.
    drawn = np.random.default_rng(0).multinomial(len(differences), counts / len(differences), size=resamples)
    low, high = np.quantile(drawn @ values / len(differences), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def adjust_p_values(p_values: Sequence[float], method: Literal["holm", "bonferroni"]) -> np.ndarray:
    """Adjusts the p-values of one table for their number.

    Args:
        p_values: One a comparison; NaN where none was made, which does not count.
        method: `"holm"` or `"bonferroni"`. Both bound the chance of a single false claim in the table, whatever depends
            on what; Holm's are never larger.

    Returns:
        Adjusted p-values in the same order, at most 1; NaN where there was none.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6, 1979.
    """
    values = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(len(values), np.nan)
    tested = np.isfinite(values)
    if tested.any():
        adjusted[tested] = multipletests(values[tested], method=method)[1]
    return adjusted


def compare(*runs: str | Path, split: str = "test") -> pd.DataFrame:
    """Compares finished runs in pairs, image by image.

    The intervals and tests cover the chance of having drawn these test images, not that of the seed: to compare
    variants over seeds, use `fer report`.

    Args:
        runs: Folders of two or more runs, or folders that hold some.
        split: Split whose predictions are compared.

    Returns:
        One row a pair: `first` and `second` (the names of the runs), `dataset`, `split`, `images`, `accuracy_first`,
        `accuracy_second`, `difference` (first - second) with its 95 % interval `low` and `high` by the paired
        bootstrap, `only_first` and `only_second` (images that only this run gets right), `p` of McNemar's test, and
        `p_holm`, adjusted by Holm's method over all pairs.

    Raises:
        UserError: There are fewer than two runs, or their protocols or images differ.

    Example:
        >>> compare("outputs/two/0", "outputs/two/1")[["difference", "low", "high", "p_holm"]]  # doctest: +SKIP
    """
    found = {folder.resolve(): metrics for run in runs for folder, metrics in read_runs(Path(run)).items()}
    if len(found) < 2:
        raise UserError(f"A comparison needs the folders of two or more runs; got {len(found)}.")
    names = dict(zip(found, _run_names(found)))
    rows = []
    for one, other in combinations(found, 2):
        protocol = Protocol.from_dict(found[one]["protocol"])
        protocol.require_same(Protocol.from_dict(found[other]["protocol"]), f"{names[one]} and {names[other]}")
        first, second = _both_correct(str(one), str(other), protocol.classes, split)
        if not len(first):
            raise UserError(f"{names[one]} and {names[other]} hold no predictions of split={split}: use split=test.")
        low, high = bootstrap_difference(first, second)
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
                "difference": first.mean() - second.mean(),
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
    """Variants of the runs; with the seed, or else the folder, where several have the same name."""
    names = [printable(name) for name in name_variants([run["variant"] for run in runs.values()])]
    seeds = [f"seed {run['seed']}" for run in runs.values()]
    for details in (seeds, [folder.name for folder in runs], runs):
        counts = Counter(names)
        names = [name if counts[name] == 1 else f"{name}, {printable(more)}" for name, more in zip(names, details)]
    return names
