"""Collects runs: the records below a folder, the table of their scores, and their predictions and histories."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_lightning.errors import UserError, printable
from fer_lightning.files import shown_path
from fer_lightning.results.metrics_schema import (
    NAME,
    STARTED,
    UNFINISHED,
    UnfinishedRun,
    is_run_of,
    read_metrics,
    read_started,
    read_unfinished,
    typed_options,
)
from fer_lightning.results.naming import name_variants, variant_name
from fer_lightning.results.protocol import Protocol
from fer_lightning.results.run_record import PROBABILITY_PREFIX, predicted_arrays, read_table

log = logging.getLogger(__name__)
_NO_SCORES = ("split", "protocol", "folder", "record", "model", "parameters", "commit")


def collect_runs(folder: Path) -> pd.DataFrame:
    """Scores (`score_table`) of all finished runs below a folder; errors as in `read_runs`."""
    return score_table(read_runs(folder))


def read_runs(folder: Path, evaluations: bool = False) -> dict[Path, dict[str, Any]]:
    """Reads the records of all finished runs below a folder. Damaged records are logged and skipped.

    Args:
        folder: Folder with run folders at any depth, or a run folder.
        evaluations: Whether records of `fer evaluate` are read too.

    Returns:
        Content of `metrics.json` by run folder.

    Raises:
        UserError: There is no such folder, or no run in it can be read.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} must be a folder that fer train wrote, for example outputs; it does not exist.")
    runs, damaged = {}, []
    for path in sorted(folder.rglob(NAME)):
        try:
            metrics = read_metrics(path)
            if evaluations or "seed" in metrics:
                _check_tables(path.parent, metrics["protocol"]["classes"])
                runs[path.parent] = metrics
        except UserError as error:
            log.warning("Left out: %s", error)
            damaged.append(str(error))
    if not runs and damaged:
        raise UserError(f"No record of a run in {folder} can be read: {damaged[0]}")
    if not runs:
        raise UserError(f"{folder} must have finished runs, folders with metrics.json: train some with fer train.")
    return runs


def unfinished_runs(folder: Path, records: Mapping[Path, Mapping[str, Any]]) -> list[str]:
    """Names of the runs below a folder that have none of its records (`read_runs`).

    They failed, were stopped, are still running, or never started.
    """
    begun, names = {}, []
    for path in sorted(folder.rglob(STARTED)):
        if not (path.parent / NAME).is_file():
            with _left_out():
                begun[path.parent] = read_started(path.parent)
    for path in sorted(folder.rglob(UNFINISHED)):
        planned: list[UnfinishedRun] = []
        with _left_out():
            planned = read_unfinished(path)
        finished = [record for run, record in records.items() if run.is_relative_to(path.parent)]
        for run in planned:
            if any(is_run_of(record, run.options) for record in finished):  # trained since
                continue
            names.append(printable(f"{run.name} ({run.outcome})"))
            listed = [place for place, started in begun.items() if is_run_of(started, run.options)]
            for place in listed:
                del begun[place]
    for place, started in begun.items():
        seed = typed_options(started["overrides"]).get("seed", "0")
        names.append(printable(f"{variant_name(started['variant'])} seed={seed} in {shown_path(place)}"))
    return names


@contextmanager
def _left_out() -> Iterator[None]:
    """Context in which a damaged file is logged and skipped."""
    try:
        yield
    except UserError as error:
        log.warning("Left out: %s", error)


def score_table(runs: Mapping[Path, Mapping[str, Any]]) -> pd.DataFrame:
    """Tabulates the scores of runs.

    Args:
        runs: Records by run folder (`read_runs`).

    Returns:
        One row per run and split, sorted by variant, data set, seed and split: `variant` (see `name_variants`), `seed`,
        `split`, `dataset`, `protocol` (JSON), `folder`, `record` (its `metrics.json`), `model`, `parameters`, `commit`,
        then the scores in 0..1: `accuracy`, `macro_f1` and so on, and those of a class as `recall/happy`, NaN if no
        image has that class.

    Raises:
        UserError: A variant was run twice with one seed and protocol, which would count as two seeds; or runs with the
            same options have different networks.
    """
    names = map(printable, name_variants([metrics["variant"] for metrics in runs.values()]))
    rows = [
        _row(path, metrics, name, split)
        for (path, metrics), name in zip(runs.items(), names)
        for split in metrics["splits"]
    ]
    table = pd.DataFrame(rows)
    _refuse_repetitions(table)
    return table.sort_values(["variant", "dataset", "seed", "split"], kind="stable", ignore_index=True)


def require_one_protocol(runs: pd.DataFrame) -> None:
    """Checks that runs (`score_table`) have one protocol, or are folds of one cross-validation.

    Raises:
        UserError: The protocols of two runs differ, or a run was scored on the test split after every epoch.
    """
    require_one_test(dict(zip(runs["folder"], runs.get("record", ()))))  # scores on other data sets have no records
    require_same_protocol(runs)


def require_same_protocol(runs: pd.DataFrame) -> None:
    """Checks as `require_one_protocol`, also for runs whose scores are not compared.

    Raises:
        UserError: The protocols of two runs differ.
    """
    distinct = runs.drop_duplicates("protocol")
    first, *others = (Protocol.from_dict(json.loads(text)).over_folds() for text in distinct["protocol"])
    for other, folder in zip(others, distinct["folder"].iloc[1:]):
        first.require_same(other, f"{distinct['folder'].iloc[0]} and {folder}")


def require_one_test(records: Mapping[Any, Mapping[str, Any]]) -> None:
    """Checks that each run of a comparison was scored on the test split once; records are by name of the run.

    Raises:
        UserError: A run was trained with `track_test=true`.
    """
    if tracked := [name for name, record in records.items() if record.get("track_test")]:
        raise UserError(
            f"Runs that are compared must be scored on the test split once; {tracked[0]} was trained with "
            "track_test=true, for study=selection_optimism only: train it without track_test to compare it."
        )


def read_predictions(folder: str | Path) -> pd.DataFrame:
    """Predictions of the run in a folder: columns `id`, `split`, `target`, `prob_<class>`.

    Raises:
        UserError: The file is missing or damaged.
    """
    path = Path(folder) / "predictions.parquet"
    if not path.is_file():
        raise UserError(f"{path} is missing: tests on images need the predictions that fer train writes there.")
    return read_table(path)


def _check_tables(folder: Path, classes: Sequence[str]) -> None:
    """Checks the tables of a run that exist; raises `UserError` for a damaged one."""
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
        # With the fields that earlier versions did not write: equal protocols are equal texts.
        "protocol": json.dumps(Protocol.from_dict(metrics["protocol"]).to_dict(), sort_keys=True),
        "folder": str(folder),
        "record": metrics,
        "model": printable(metrics["model"]),
        "parameters": metrics["parameters"],
        "commit": printable(metrics["commit"]),
        **scores,
        **{f"{score}/{name}": _of_class(values, score) for name, values in classes for score in values},
    }


def _of_class(values: Mapping[str, float], score: str) -> float:
    """Score of a class; NaN without images of the class, for which records have 0."""
    return float("nan") if values.get("support") == 0 and score != "support" else values[score]


def _refuse_repetitions(table: pd.DataFrame) -> None:
    for (variant, seed, _, _), same in table.groupby(["variant", "seed", "protocol", "split"]):
        if len(same) > 1:
            raise UserError(
                f"{' and '.join(same['folder'])} are both {variant} with seed {seed}, which count as one result: move "
                "all but one to another folder."
            )
    for (variant, _), same in table.groupby(["variant", "protocol"]):
        nets = same[["model", "parameters"]].drop_duplicates()
        if len(nets) > 1:
            names = " and ".join(f"{net.model} with {net.parameters:,} parameters" for net in nets.itertuples())
            raise UserError(
                f"Runs of {variant} have the same options but different networks ({names}): the configuration changed "
                "between them; keep them in separate folders."
            )


def run_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Table of runs (`score_table`), without paths of this machine.

    Returns:
        A row per run: `run` (name of its folder), `variant`, `dataset`, `seed`, the scores of the test split,
        `val/accuracy`, `test_clean/accuracy`, `best_epoch`, `epochs`, `train_seconds`, `parameters`, `commit`.
    """
    rows = []
    for folder, splits in runs.groupby("folder", sort=False):
        scored = splits.set_index("split")
        test = scored.loc["test"]
        metrics = test["record"]
        row = {
            "run": printable(Path(str(folder)).name),
            **{name: test[name] for name in ("variant", "dataset", "seed")},
        }
        row |= {name: value for name, value in test.items() if name not in (*row, *_NO_SCORES)}
        row |= {f"{split}/accuracy": scored["accuracy"].get(split, np.nan) for split in ("val", "test_clean")}
        row |= {name: metrics.get(name) for name in ("best_epoch", "epochs")}
        row["train_seconds"] = metrics.get("timing", {}).get("train_seconds")
        rows.append(row | {"parameters": test["parameters"], "commit": test["commit"]})
    return pd.DataFrame(rows).dropna(axis="columns", how="all")


def read_history(folder: str) -> pd.DataFrame | None:
    """History of a run, a row per epoch; None if it has none."""
    path = Path(folder) / "history.csv"
    return read_table(path) if path.is_file() else None


def pooled_predictions(runs: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Concatenated test predictions of all seeds of a variant on one data set, from their test rows (`score_table`).

    Returns:
        Targets `(N,)` and probabilities `(N, K)` of all runs, and the K class names.

    Raises:
        UserError: A run has no predictions.
    """
    classes: list[str] = json.loads(runs["protocol"].iloc[0])["classes"]
    arrays = [predicted_arrays(read_predictions(folder), classes, "test") for folder in runs["folder"]]
    targets, probabilities = (np.concatenate(parts) for parts in zip(*arrays))
    return targets, probabilities, classes
