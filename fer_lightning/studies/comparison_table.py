"""Comparison table of a study: each published score beside the measured one and the credible range."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_lightning.errors import UserError
from fer_lightning.plots.text import as_printed
from fer_lightning.results.collect import require_one_protocol
from fer_lightning.results.intervals import (
    detectable_difference,
    mean_over_seeds,
    pool_differences,
    seeds_to_detect,
)
from fer_lightning.results.significance import adjust_p_values, compare_variants

LEVEL = 0.05
_POOLED = {f"pooled_{name}": name for name in ("difference", "low", "high", "p")}
COLUMNS = (
    "row",
    "score",
    "published",
    "published_difference",
    "mean",
    "sd",
    "low",
    "high",
    "interval",
    "n_seeds",
    "difference",
    "difference_low",
    "difference_high",
    "test",
    "pairs",
    "p",
    "p_holm",
    "effect",
    "effect_size",
    *_POOLED,
    "pooled_p_holm",
    "difference_sd",
    "difference_sd_low",
    "difference_sd_high",
    "detectable",
    "pooled_detectable",
    "seeds_for_a_point",
    "gap",
    "credible_low",
    "credible_high",
    "credible_protocol",
    "annotator_agreement",
    "variant",
    "dataset",
    "seeds",
)
_PUBLISHED = ("table", "row", "metric", "dataset", "value", "unit", "note")
_CREDIBLE = (
    *("dataset", "classes", "split", "net", "pretraining", "crops", "selection"),
    *("low", "high", "annotator_agreement", "note"),
)
_ONE_NET = "one net"


@dataclass(frozen=True)
class ComparisonRow:
    """Definition of a row: what is measured, and where.

    Attributes:
        title: Title as in `published.csv`, or any title of a row that the paper does not have.
        variant: Variant whose runs measure the row; None if no variant can.
        score: Name of the score: `accuracy`, `macro_f1`, `recall/happy`, ...
        dataset: Data set of the runs, as in their protocol; None if all runs have the same.
    """

    title: str
    variant: str | None
    score: str = "accuracy"
    dataset: str | None = None


def build_comparison(
    rows: Sequence[ComparisonRow],
    published: Mapping[str, float],
    runs: pd.DataFrame,
    reference: str | None,
    credible: Mapping[tuple[str, int, str], Credible],
    split: str = "test",
) -> pd.DataFrame:
    """Builds the comparison table of one score.

    Args:
        rows: Rows of the table, in order.
        published: Published scores by title, in 0..1 (`published_scores`).
        runs: Scores of the runs (`score_table`).
        reference: Title of the row that the others are tested against; None for no tests.
        credible: Credible ranges by data set, number of classes and test split (`read_credible`).
        split: Split whose scores are compared.

    Returns:
        A line per row with `COLUMNS`, numbers in 0..1, NaN if there is none. `published_difference` and `difference`
        are those to the reference, the latter over shared seeds with a confidence interval. `n_seeds` is 0 if the row
        was not run or no test image has its class. `low` and `high` are the ends of the 95 % interval; `interval` says
        whether it is over seeds, over the folds of one seed, which `n_seeds` then counts, or Wilson's interval over the
        test images of one seed. `p_holm` is adjusted over the tests of this table, `pairs` counts the seeds of a
        paired t-test, `effect` names the effect size, `gap` is the mean minus the published score.

        Rows with a paired t-test are also estimated together (`pool_differences`), in the `pooled_` columns.
        `difference_sd` is the standard deviation of a difference over seeds in that model, alike in all rows, with its
        interval. `detectable` and `pooled_detectable` are the smallest differences that the paired and the pooled test
        find with 80 % power at `LEVEL` divided by the number of tests, the first level of Holm's procedure
        (`detectable_difference`); `seeds_for_a_point` is the number of seeds with which the paired test finds one
        point.

    Raises:
        UserError: The runs of one data set have different protocols, or those of a row are on several data sets.
        ValueError: `reference` is not the title of a row.

    Readings:
        - The interval over folds is Student's too. Folds share most of their training images, so it is too narrow,
          which the note below the table says. No unbiased one is known (Bengio and Grandvalet, JMLR 5, 2004).
        - With two or more seeds shared with the reference: paired t-test, Student's interval and Cohen's d_z, which
          cover the variance of the seed. With one shared seed, for accuracies only: McNemar's test, the bootstrap over
          test images and the odds ratio, which cover the sampling of the test images.
        - Findings rest on the paired tests: they do not assume that all rows spread alike, as the pooled ones do.
    """
    scored = runs[runs["split"] == split]
    parts = {row.title: _runs_of(scored, row) for row in rows}
    for title, part in parts.items():
        if part["dataset"].nunique() > 1:
            raise UserError(
                f"The runs of {title} must be on one data set; they are on {', '.join(part['dataset'].unique())}: keep "
                "the data sets in separate folders."
            )
    for _, part in pd.concat(parts.values()).groupby("dataset"):
        require_one_protocol(part)
    by_title = {row.title: row for row in rows}
    if reference is not None and reference not in by_title:
        raise ValueError(f"The reference {reference!r} must be one of the rows {list(by_title)}.")
    basis = None if reference is None else by_title[reference]
    lines = []
    for row in rows:
        part = parts[row.title]
        claim = published.get(row.title, np.nan)
        line: dict[str, Any] = {"row": row.title, "score": row.score, "published": claim}
        line |= _measure(part, row.score) | _credible(part, row.score, credible)
        if basis is not None and row is not basis:
            line["published_difference"] = claim - published.get(basis.title, np.nan)
            line |= _test(part, parts[basis.title], row, basis, split)
        lines.append(line)
    if basis is not None and any("pairs" in line for line in lines):
        _pool(lines, parts, basis)
    comparison = pd.DataFrame(lines).reindex(columns=list(COLUMNS))
    for p in ("p", "pooled_p"):
        comparison[f"{p}_holm"] = adjust_p_values(comparison[p].to_numpy(np.float64), "holm")
    comparison["gap"] = comparison["mean"] - comparison["published"]
    return comparison


def _runs_of(scored: pd.DataFrame, row: ComparisonRow) -> pd.DataFrame:
    part = scored[scored["variant"] == row.variant]
    part = part if row.dataset is None else part[part["dataset"] == row.dataset]
    return part if part.empty else part.dropna(subset=[row.score])


def _measure(part: pd.DataFrame, score: str) -> dict[str, object]:
    line: dict[str, object] = {"n_seeds": len(part)}
    if part.empty:
        return line
    over = mean_over_seeds(part[score].tolist())
    line |= {"mean": over.mean, "sd": over.sd, "low": over.low, "high": over.high}
    line["interval"] = "seeds" if part["seed"].is_unique else "folds"
    if over.n == 1:
        line["interval"] = ""
        if score == "accuracy":
            only = part.iloc[0]
            low, high = (only.get(f"accuracy_{end}", np.nan) for end in ("low", "high"))
            line |= {"low": low, "high": high, "interval": "test images"}
    names = {name: part[name].iloc[0] for name in ("variant", "dataset")}
    return line | names | {"seeds": " ".join(map(str, part["seed"]))}


def _test(
    part: pd.DataFrame, other: pd.DataFrame, row: ComparisonRow, basis: ComparisonRow, split: str
) -> dict[str, object]:
    same_kind = row.score == basis.score and set(part["dataset"]) == set(other["dataset"])
    if part.empty or other.empty or not same_kind:
        return {}
    if row.variant == basis.variant:
        return {"test": "the same runs"}
    if not set(part["seed"]) & set(other["seed"]):
        return {"test": "no seed in common"}
    assert row.variant is not None and basis.variant is not None
    compared = compare_variants(pd.concat([part, other]), row.variant, basis.variant, row.score, split)
    over = compared.over_seeds
    line: dict[str, object] = {
        "difference": over.difference.mean,
        "difference_low": over.difference.low,
        "difference_high": over.difference.high,
    }
    if over.difference.n > 1 and np.isnan(over.t_p):
        return line | {"test": "none: all seeds differ alike"}
    if over.difference.n > 1:
        name = f"paired t, {over.difference.n} seeds"
        return line | {"test": name, "pairs": over.difference.n, "p": over.t_p, "effect": "d_z", "effect_size": over.dz}
    if row.score != "accuracy" or not compared.over_images:
        return line | {"test": "none: one seed"}
    images = compared.over_images[compared.shared_seeds[0]]
    low, high = compared.bootstrap
    return line | {
        "difference_low": low,
        "difference_high": high,
        "test": f"McNemar, seed {compared.shared_seeds[0]}",
        "p": images.p,
        "effect": "odds ratio",
        "effect_size": images.odds_ratio,
    }


def _pool(lines: Sequence[dict[str, Any]], parts: Mapping[str, pd.DataFrame], basis: ComparisonRow) -> None:
    """Adds the pooled estimates and the power to the lines with a paired t-test."""
    tested = [line for line in lines if "pairs" in line]
    runs = pd.concat([parts[str(title)] for title in (basis.title, *(line["row"] for line in tested))])
    pooled = pool_differences(runs.drop_duplicates(["variant", "seed"]), str(basis.variant), basis.score)
    if pooled is None:
        return
    level = LEVEL / sum("p" in line for line in lines)
    for line in tested:
        estimate = pooled.table.loc[line["variant"]]
        line |= {column: estimate[name] for column, name in _POOLED.items()}
        line |= {
            "difference_sd": pooled.sd,
            "difference_sd_low": pooled.sd_low,
            "difference_sd_high": pooled.sd_high,
            "detectable": detectable_difference(pooled.sd / line["pairs"] ** 0.5, line["pairs"] - 1, level),
            "pooled_detectable": detectable_difference(estimate["se"], pooled.df, level),
            "seeds_for_a_point": seeds_to_detect(0.01, pooled.sd, level),
        }


def _credible(
    part: pd.DataFrame, score: str, credible: Mapping[tuple[str, int, str], Credible]
) -> dict[str, float | str]:
    if part.empty or score != "accuracy":
        return {}
    protocol = json.loads(part["protocol"].iloc[0])
    known = credible.get((protocol["dataset"], len(protocol["classes"]), scored_split(protocol)))
    if known is None:
        return {}
    return {
        "credible_low": known.low,
        "credible_high": known.high,
        "credible_protocol": known.protocol,
        "annotator_agreement": known.annotator_agreement,
    }


@dataclass(frozen=True)
class Credible:
    """Range of the best credible accuracies in the literature on one test split.

    Attributes:
        protocol: The split, and the range of each kind of net and of pretraining with its test-time crops and the
            images that it was selected on, in words.
        low: Lowest accuracy of a single net with any pretraining, in 0..1.
        high: Highest accuracy of a single net.
        annotator_agreement: Share of the labels that equal the consensus of other annotators, in 0..1; NaN if unknown.
    """

    protocol: str
    low: float
    high: float
    annotator_agreement: float


def read_published(path: Path) -> pd.DataFrame:
    """Reads the transcribed tables of a paper from a `published.csv`.

    Returns:
        Columns `table`, `row`, `metric`, `dataset`, `value`, `unit` and `note`; a row per number, as printed.

    Raises:
        UserError: The file is missing or has other columns.
    """
    return _read(path, _PUBLISHED)


def published_scores(published: pd.DataFrame, table: str, metric: str, dataset: str | None = None) -> dict[str, float]:
    """One column of a published table.

    Args:
        published: Tables of the paper (`read_published`).
        table: Name of the table, for example `"Table 6"`.
        metric: Metric, for example `"accuracy"`.
        dataset: Data set as the paper names it, for example `"RAF-DB"`; None if the table has only one.

    Returns:
        Scores by title of the row, in the order of the paper; percent are scaled to 0..1.

    Raises:
        UserError: There is no such column, or it names a row twice because it spans several data sets.
    """
    rows = published[(published["table"] == table) & (published["metric"] == metric)]
    if dataset is not None:
        rows = rows[rows["dataset"] == dataset]
    if rows.empty:
        raise UserError(f"published.csv has no {metric} in {table}: it has {_contents(published)}.")
    if rows["row"].duplicated().any():
        raise UserError(f"{table} has several data sets: choose one of {', '.join(rows['dataset'].unique())}.")
    scale = rows["unit"].map(lambda unit: 0.01 if unit == "%" else 1.0)
    return dict(zip(rows["row"], rows["value"] * scale))


def read_credible(path: Path) -> dict[tuple[str, int, str], Credible]:
    """Reads the credible accuracies of the literature from a `credible.csv`.

    Returns:
        Ranges by data set, number of classes and test split (`scored_split`).

    Raises:
        UserError: The file is missing or has other columns.
    """
    ranges = {}
    for (dataset, classes, split), rows in _read(path, _CREDIBLE).groupby(["dataset", "classes", "split"], sort=False):
        single = rows[rows["net"] == _ONE_NET]
        ranges[dataset, classes, split] = Credible(
            f"{dataset} {split}: {', '.join(map(_described, rows.itertuples()))}",
            single["low"].min() / 100,
            single["high"].max() / 100,
            rows["annotator_agreement"].max() / 100,
        )
    return ranges


def _described(row: Any) -> str:
    """A row of `credible.csv` in words."""
    weights = "from scratch" if row.pretraining == "none" else f"pretrained on {row.pretraining}"
    ends = " to ".join(dict.fromkeys(as_printed(end / 100) for end in (row.low, row.high)))
    crops = row.crops if row.crops != "none" else ""
    details = "; ".join(filter(None, [crops, row.selection and f"selected on {row.selection}"]))
    return f"{row.net} {weights} {ends}{f' ({details})' if details else ''}"


def scored_split(protocol: Mapping[str, object]) -> str:
    """Name of the test split of a protocol in `credible.csv`; for a fold, the name of the division into folds."""
    split, test = str(protocol["split"]), str(protocol["test"])
    return split.split()[0] if test.startswith("fold ") else test


def _read(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    if not path.is_file():
        raise UserError(f"{path} is missing: it must hold the numbers that measured ones are compared with.")
    # Cells such as "None" are text.
    table = pd.read_csv(path, keep_default_na=False, na_values={"annotator_agreement": [""]})
    if tuple(table.columns) != columns:
        raise UserError(f"{path} must have the columns {', '.join(columns)}; got {', '.join(table.columns)}.")
    return table


def _contents(published: pd.DataFrame) -> str:
    metrics = published[["table", "metric"]].drop_duplicates().groupby("table", sort=False)["metric"].agg(", ".join)
    return "; ".join(f"{table}: {names}" for table, names in metrics.items())
