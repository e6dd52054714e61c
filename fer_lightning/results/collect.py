"""Every run below a folder as one table, from which statistics and tables are computed."""

from __future__ import annotations

import csv
import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_lightning.results.protocol import Protocol
from fer_lightning.errors import UserError, printable
from fer_lightning.results.metrics_file import NAME, read_metrics
from fer_lightning.evaluation.predictions import PROBABILITY_PREFIX
from fer_lightning.evaluation.variants import by_current_name, name_variants

_CHOICE = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*")
log = logging.getLogger(__name__)


def collect_runs(folder: Path) -> pd.DataFrame:
    """Reads all finished runs below a folder.

    Records of `fer evaluate` are no runs and are passed over.

    Args:
        folder: Holds folders of runs, at any depth, or is one.

    Returns:
        One row a run and split: `variant` (see `name_variants`), `seed`, `split`, `dataset`, `protocol` (JSON),
        `folder`, `model`, `parameters`, `commit`, then its scores in 0..1: `accuracy`, `macro_f1` and so on, and those
        of a class as `recall/happy`, NaN where no image has that class. Sorted by variant, data set, seed and split.

    Damaged records are logged and left out.

    Raises:
        UserError: No run is there that can be read; a variant was run twice under one seed and protocol, which
            would count as two seeds; or runs with the same options hold different networks.
    """
    runs, damaged = read_runs(folder)
    for problem in damaged:
        log.warning("Left out: %s", problem)
    if not runs and damaged:
        raise UserError(f"{folder} holds no run whose record can be read: {damaged[0]}")
    if not runs:
        raise UserError(
            f"{folder} holds no finished runs, which are folders with metrics.json: make them with fer train."
        )
    names = map(printable, name_variants([metrics["overrides"] for metrics in runs.values()]))
    rows = [
        _row(path, metrics, name, split)
        for (path, metrics), name in zip(runs.items(), names)
        for split in metrics["splits"]
    ]
    table = pd.DataFrame(rows)
    _refuse_repetitions(table)
    return table.sort_values(["variant", "dataset", "seed", "split"], kind="stable", ignore_index=True)


def read_runs(folder: Path) -> tuple[dict[Path, dict[str, Any]], list[str]]:
    """Reads the records of all finished runs below a folder; one that is damaged does not hide the others.

    Args:
        folder: Holds folders of runs, at any depth, or is one.

    Returns:
        The content of `metrics.json` by folder of the run, its `overrides` by their current names, and for each damaged
        record a sentence that names its file.
    """
    runs, damaged = {}, []
    for path in sorted(folder.rglob(NAME)):
        try:
            metrics = read_metrics(path)
            if "seed" in metrics:
                metrics["overrides"] = list(map(by_current_name, metrics["overrides"]))
                _check_choices(metrics["overrides"], path)
                _check_tables(path.parent, metrics["protocol"]["classes"])
                runs[path.parent] = metrics
        except UserError as error:
            damaged.append(str(error))
    return runs, damaged


def require_one_protocol(runs: pd.DataFrame) -> None:
    """Refuses runs whose scores were not obtained in the same way; the folds of one cross-validation were.

    Args:
        runs: Columns `protocol` and `folder`, as `collect_runs` returns them.

    Raises:
        UserError: Protocols differ; it names two of the runs, and in what.
    """
    distinct = runs.drop_duplicates("protocol")
    first, *others = (Protocol.from_dict(json.loads(text)).over_folds() for text in distinct["protocol"])
    for other, folder in zip(others, distinct["folder"].iloc[1:]):
        first.require_same(other, f"{distinct['folder'].iloc[0]} and {folder}")


def read_predictions(folder: str | Path) -> pd.DataFrame:
    """The table of predictions of a run.

    Args:
        folder: Of the run.

    Returns:
        Columns `id`, `split`, `target`, `prob_<class>`.

    Raises:
        UserError: The file is missing.
    """
    path = Path(folder) / "predictions.parquet"
    if not path.is_file():
        raise UserError(f"{path} is missing: tests on single images need the predictions that fer train writes there.")
    return read_table(path)


def read_table(path: Path) -> pd.DataFrame:
    """A table that a run wrote, `.csv` or `.parquet`.

    Raises:
        UserError: It cannot be read.
    """
    try:
        if path.is_file() and path.suffix == ".parquet":
            return pd.read_parquet(path)
        if path.is_file():
            _check_lines(path)
            return pd.read_csv(path)
        problem = "it is not a file"
    except Exception as error:  # pandas and pyarrow have many; whatever they meet, the file is damaged
        problem = str(error) or type(error).__name__
    raise UserError(f"{path} is damaged: {' '.join(problem.split())[:200]}")


def _check_lines(path: Path) -> None:
    """Refuses lines of other lengths, whose values pandas would shift into other columns.

    Raises:
        ValueError: It says what must hold.
    """
    with path.open(encoding="utf-8", newline="") as file:
        lines = [*filter(None, csv.reader(file))]
    if not lines or len(set(lines[0])) < len(lines[0]) or any(len(line) != len(lines[0]) for line in lines):
        raise ValueError("its first line must name each column once, and the others must have a value for each.")


def _check_choices(overrides: Sequence[str], path: Path) -> None:
    """Refuses names that are looked up in `conf/` and cannot be one there, such as paths that leave it.

    Raises:
        UserError: It names the file.
    """
    for option in overrides:
        key, _, value = option.lstrip("+").partition("=")
        if key in ("study", "budget", "data") and not _CHOICE.fullmatch(value):
            raise UserError(f"{path} is not a record of a run: {key}={value[:60]} cannot have been typed. Remove it.")


def _check_tables(folder: Path, classes: Sequence[str]) -> None:
    """Reads the tables of a run where they are there, and refuses what they cannot hold.

    Raises:
        UserError: It names the file.
    """
    predictions, history, robustness = (
        read_table(path) if path.exists() or path.is_symlink() else None
        for path in (folder / name for name in ("predictions.parquet", "history.csv", "robustness.csv"))
    )
    if predictions is not None:
        wanted = {"id", "split", "target", *(PROBABILITY_PREFIX + name for name in classes)}
        if missing := wanted - set(predictions):
            raise UserError(f"{folder / 'predictions.parquet'} is damaged: it has no column {min(missing)!r}.")
        try:
            targets = predictions["target"].to_numpy(np.int64)
            probabilities = predictions[[PROBABILITY_PREFIX + name for name in classes]].to_numpy(np.float64)
        except (TypeError, ValueError):
            targets = probabilities = np.array([np.nan])
        inside = len(targets) == 0 or (targets.min() >= 0 and targets.max() < len(classes))
        if not inside or not ((probabilities >= 0) & (probabilities <= 1.001)).all():
            raise UserError(
                f"{folder / 'predictions.parquet'} is damaged: it must hold a class and probabilities for each image."
            )
    if history is not None and not history.empty:
        numbers = history.drop(columns="epoch", errors="ignore").select_dtypes("number")
        odd = set(history) - {"epoch"} - set(numbers) - set(history.columns[history.isna().all()])
        if "epoch" not in history or odd or not pd.api.types.is_numeric_dtype(history["epoch"]):
            raise UserError(f"{folder / 'history.csv'} is damaged: it must hold numbers, and a column epoch.")
        if history["epoch"].duplicated().any() or not np.isfinite(history["epoch"]).all():
            raise UserError(f"{folder / 'history.csv'} is damaged: it must hold each epoch once.")
        if (numbers.abs() > 1e12).any(axis=None):
            raise UserError(f"{folder / 'history.csv'} is damaged: its numbers must be finite.")
    if robustness is not None:
        wanted = {"corruption", "severity", "accuracy"}
        numeric = wanted <= set(robustness) and all(
            pd.api.types.is_numeric_dtype(robustness[name]) and robustness[name].between(0, 5).all()
            for name in ("severity", "accuracy")
        )
        if not numeric:
            raise UserError(
                f"{folder / 'robustness.csv'} is damaged: it must hold an accuracy for each corruption and severity."
            )


def _row(folder: Path, metrics: Mapping[str, Any], variant: str, split: str) -> dict[str, object]:
    scores = dict(metrics["splits"][split])
    classes: Iterable[tuple[str, Mapping[str, float]]] = scores.pop("per_class", {}).items()
    return {
        "variant": variant,
        "seed": metrics["seed"],
        "split": split,
        "dataset": printable(metrics["protocol"]["dataset"]),
        "protocol": json.dumps(metrics["protocol"], sort_keys=True),
        "folder": str(folder),
        "model": printable(metrics["model"]),
        "parameters": metrics["parameters"],
        "commit": printable(metrics["commit"]),
        **scores,
        **{f"{score}/{name}": _of_class(own, score) for name, own in classes for score in own},
    }


def _of_class(own: Mapping[str, float], score: str) -> float:
    """NaN for what a class without images cannot have, which the record tells as 0."""
    return float("nan") if own.get("support") == 0 and score != "support" else own[score]


def _refuse_repetitions(table: pd.DataFrame) -> None:
    for (variant, seed, _, _), same in table.groupby(["variant", "seed", "protocol", "split"]):
        if len(same) > 1:
            raise UserError(
                f"{' and '.join(same['folder'])} are both {variant} with seed {seed}, which is one result and not two: "
                "move all but one elsewhere."
            )
    for (variant, _), same in table.groupby(["variant", "protocol"]):
        nets = same[["model", "parameters"]].drop_duplicates()
        if len(nets) > 1:
            told = " and ".join(f"{net.model} with {net.parameters:,} parameters" for net in nets.itertuples())
            raise UserError(
                f"Runs of {variant} have the same options but hold different networks ({told}): the configuration "
                "changed between them, so keep them in separate folders."
            )
