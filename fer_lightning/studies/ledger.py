"""The ledger: each published number, and beside it what was measured and what is credible."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fer_lightning.errors import UserError
from fer_lightning.plots.text import range_of_percents
from fer_lightning.results.collect import require_one_protocol
from fer_lightning.results.intervals import mean_over_seeds
from fer_lightning.results.significance import adjust_p_values, compare_variants

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
    "p",
    "p_holm",
    "effect",
    "effect_size",
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
_CREDIBLE = ("dataset", "classes", "split", "pretraining", "low", "high", "annotator_agreement", "note")


@dataclass(frozen=True)
class LedgerRow:
    """A row of a ledger.

    Attributes:
        title: As in `published.csv`, or own words for what the paper left out.
        variant: The variant whose runs measure it; None where nothing can.
        score: Which of its scores: `accuracy`, `macro_f1`, `recall/happy`, ...
        dataset: Data set of the runs, as protocols name it; None where all runs have the same.
    """

    title: str
    variant: str | None
    score: str = "accuracy"
    dataset: str | None = None


def build_ledger(
    rows: Sequence[LedgerRow],
    published: Mapping[str, float],
    runs: pd.DataFrame,
    reference: str | None,
    credible: Mapping[tuple[str, int, str], Credible],
    split: str = "test",
) -> pd.DataFrame:
    """Builds a table out of run records.

    Args:
        rows: What the table shows, in order.
        published: The paper's numbers by title, in 0..1 (`published_scores`).
        runs: As `collect_runs` returns it.
        reference: Title of the row that the others are tested against; None tests nothing.
        credible: What can be believed, by data set, number of classes and test split (`read_credible`).
        split: Which scores count.

    Returns:
        One line a row with `COLUMNS`, numbers in 0..1, NaN where there is none. `published_difference` is the one to
        the reference in the paper; `n_seeds` is 0 where a row was not run or no test image has its class. `low` and
        `high` are the ends of the 95 % interval over seeds, over the folds of one seed, which `n_seeds` then counts, or
        for the accuracy of one seed of Wilson's interval of the test images, as `interval` tells. `difference` is the
        one to the reference over shared seeds, with its own interval. `p_holm` is Holm's over all tests of this table,
        `effect` says which effect size it is, and `gap` is mean minus published number.

    Raises:
        UserError: Runs on one data set follow different protocols, or those of a row are on several.
        ValueError: `reference` is no row.

    Readings:
        - The interval over folds is Student's too, although folds share most of their training images: it is too
          narrow, which the text beside it says. No unbiased one is known (Bengio and Grandvalet, JMLR 5, 2004).
        - Where two or more seeds are shared with the reference, the test is the paired t-test, the interval Student's
          and the effect size Cohen's d_z: the chance of the seed. Where one is, they are McNemar's test, the bootstrap
          of the test images and the odds ratio, for accuracies alone: the chance of the images.
    """
    scored = runs[runs["split"] == split]
    parts = {row.title: _runs_of(scored, row) for row in rows}
    for title, part in parts.items():
        if part["dataset"].nunique() > 1:
            raise UserError(
                f"runs of {title} are on several data sets ({', '.join(part['dataset'].unique())}), whose scores have "
                "no mean: keep them in separate folders."
            )
    for _, part in pd.concat(parts.values()).groupby("dataset"):
        require_one_protocol(part)
    by_title = {row.title: row for row in rows}
    if reference is not None and reference not in by_title:
        raise ValueError(f"The reference {reference!r} is none of the rows {list(by_title)}.")
    basis = None if reference is None else by_title[reference]
    lines = []
    for row in rows:
        part = parts[row.title]
        claim = published.get(row.title, np.nan)
        line: dict[str, object] = {"row": row.title, "score": row.score, "published": claim}
        line |= _measure(part, row.score) | _credible(part, row.score, credible)
        if basis is not None and row is not basis:
            line["published_difference"] = claim - published.get(basis.title, np.nan)
            line |= _test(part, parts[basis.title], row, basis, split)
        lines.append(line)
    ledger = pd.DataFrame(lines).reindex(columns=list(COLUMNS))
    ledger["p_holm"] = adjust_p_values(ledger["p"].to_numpy(np.float64), "holm")
    ledger["gap"] = ledger["mean"] - ledger["published"]
    return ledger


def _runs_of(scored: pd.DataFrame, row: LedgerRow) -> pd.DataFrame:
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
    told = {name: part[name].iloc[0] for name in ("variant", "dataset")}
    return line | told | {"seeds": " ".join(map(str, part["seed"]))}


def _test(part: pd.DataFrame, other: pd.DataFrame, row: LedgerRow, basis: LedgerRow, split: str) -> dict[str, object]:
    same_kind = row.score == basis.score and set(part["dataset"]) == set(other["dataset"])
    if part.empty or other.empty or not same_kind:
        return {}
    if row.variant == basis.variant:
        return {"test": "the same runs"}
    if not set(part["seed"]) & set(other["seed"]):
        return {"test": "no seed in common"}
    assert row.variant is not None and basis.variant is not None
    found = compare_variants(pd.concat([part, other]), row.variant, basis.variant, row.score, split)
    over = found.over_seeds
    line: dict[str, object] = {
        "difference": over.difference.mean,
        "difference_low": over.difference.low,
        "difference_high": over.difference.high,
    }
    if over.difference.n > 1 and np.isnan(over.t_p):
        return line | {"test": "none: all seeds differ alike"}
    if over.difference.n > 1:
        name = f"paired t, {over.difference.n} seeds"
        return line | {"test": name, "p": over.t_p, "effect": "d_z", "effect_size": over.dz}
    if row.score != "accuracy" or not found.over_images:
        return line | {"test": "none: one seed"}
    images = found.over_images[found.shared_seeds[0]]
    low, high = found.bootstrap
    return line | {
        "difference_low": low,
        "difference_high": high,
        "test": f"McNemar, seed {found.shared_seeds[0]}",
        "p": images.p,
        "effect": "odds ratio",
        "effect_size": images.odds_ratio,
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
    """The best credible accuracies of others on one test split.

    Attributes:
        protocol: The split and, for each kind of pretraining, its range, in words.
        low: Lowest figure of any kind, in 0..1.
        high: Highest figure.
        annotator_agreement: Share of the split's labels that equal the consensus of other annotators, in 0..1; NaN
            where it is unknown.
    """

    protocol: str
    low: float
    high: float
    annotator_agreement: float


def read_published(path: Path) -> pd.DataFrame:
    """Reads the transcribed tables of a paper.

    Args:
        path: `published.csv`.

    Returns:
        Columns `table`, `row`, `metric`, `dataset`, `value`, `unit` and `note`, one number a row, as printed.

    Raises:
        UserError: The file is missing or has other columns.
    """
    return _read(path, _PUBLISHED)


def published_scores(published: pd.DataFrame, table: str, metric: str, dataset: str | None = None) -> dict[str, float]:
    """One column of a published table.

    Args:
        published: As `read_published` returns it.
        table: For example `"Table 6"`.
        metric: For example `"accuracy"`.
        dataset: For example `"RAF-DB"`; None where the table has one alone.

    Returns:
        Numbers by the name of their row, in the order of the paper; percent become 0..1.

    Raises:
        UserError: There is no such column, or it names a row twice because it spans several data sets.
    """
    rows = published[(published["table"] == table) & (published["metric"] == metric)]
    if dataset is not None:
        rows = rows[rows["dataset"] == dataset]
    if rows.empty:
        raise UserError(f"published.csv has no {metric} in {table}: it has {_contents(published)}.")
    if rows["row"].duplicated().any():
        raise UserError(f"{table} holds several data sets: name one of {', '.join(rows['dataset'].unique())}.")
    scale = rows["unit"].map(lambda unit: 0.01 if unit == "%" else 1.0)
    return dict(zip(rows["row"], rows["value"] * scale))


def read_credible(path: Path) -> dict[tuple[str, int, str], Credible]:
    """Reads what is credible.

    Args:
        path: `credible.csv`, with figures in percent, a row for each kind of pretraining.

    Returns:
        By name of the data set, number of classes and test split (see `scored_split`).

    Raises:
        UserError: The file is missing or has other columns.
    """
    found = {}
    for (dataset, classes, split), rows in _read(path, _CREDIBLE).groupby(["dataset", "classes", "split"], sort=False):
        kinds = [f"{row.pretraining} {range_of_percents(row.low / 100, row.high / 100)}" for row in rows.itertuples()]
        found[dataset, classes, split] = Credible(
            f"{dataset} {split}: {', '.join(kinds)}",
            rows["low"].min() / 100,
            rows["high"].max() / 100,
            rows["annotator_agreement"].max() / 100,
        )
    return found


def scored_split(protocol: Mapping[str, object]) -> str:
    """Name of the test split of a run, as `credible.csv` has it: for folds, how they are divided.

    Args:
        protocol: As records hold it.
    """
    split, test = str(protocol["split"]), str(protocol["test"])
    return split.split()[0] if test.startswith("fold ") else test


def _read(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    if not path.is_file():
        raise UserError(f"{path} is missing: it holds the numbers that measured ones are shown beside.")
    # "None" and the like are words here.
    table = pd.read_csv(path, keep_default_na=False, na_values={"annotator_agreement": [""]})
    if tuple(table.columns) != columns:
        raise UserError(f"{path} has the columns {', '.join(table.columns)}: expected {', '.join(columns)}.")
    return table


def _contents(published: pd.DataFrame) -> str:
    found = published[["table", "metric"]].drop_duplicates().groupby("table", sort=False)["metric"].agg(", ".join)
    return "; ".join(f"{table}: {metrics}" for table, metrics in found.items())
