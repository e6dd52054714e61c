"""What papers claim and what is credible: the transcribed numbers that stand beside measured ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fer_lightning.errors import UserError
from fer_lightning.plots.text import range_of_percents

_PUBLISHED = ("table", "row", "metric", "dataset", "value", "unit", "note")
_CREDIBLE = ("dataset", "classes", "split", "pretraining", "low", "high", "annotator_agreement", "note")


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
