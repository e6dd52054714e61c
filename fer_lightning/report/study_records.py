"""What the records of a study hold beside their scores: epochs, times, machines, predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_lightning.errors import printable
from fer_lightning.results import metrics_file
from fer_lightning.results.collect import read_predictions, read_table
from fer_lightning.evaluation.predictions import predicted_arrays

_NO_SCORES = ("split", "protocol", "folder", "model")


def read_metrics(folder: str) -> dict[str, Any]:
    """The record of a run, as `collect_runs` has accepted it."""
    return metrics_file.read_metrics(Path(folder) / metrics_file.NAME)


def run_table(runs: pd.DataFrame) -> pd.DataFrame:
    """One row a run, with all that the tables of a study are computed from.

    Args:
        runs: As `collect_runs` returns it.

    Returns:
        `run` (name of its folder), `variant`, `dataset`, `seed`, the scores of the test split, `val/accuracy`,
        `test_clean/accuracy`, `best_epoch`, `epochs`, `train_seconds`, `parameters`, `commit`; no paths of the machine.
    """
    rows = []
    for folder, splits in runs.groupby("folder", sort=False):
        scored = splits.set_index("split")
        test = scored.loc["test"]
        metrics = read_metrics(str(folder))
        row = {
            "run": printable(Path(str(folder)).name),
            **{name: test[name] for name in ("variant", "dataset", "seed")},
        }
        row |= {name: value for name, value in test.items() if name not in (*row, *_NO_SCORES, "parameters", "commit")}
        row |= {f"{split}/accuracy": scored["accuracy"].get(split, np.nan) for split in ("val", "test_clean")}
        row |= {name: metrics.get(name) for name in ("best_epoch", "epochs")}
        row["train_seconds"] = metrics.get("timing", {}).get("train_seconds")
        rows.append(row | {"parameters": test["parameters"], "commit": test["commit"]})
    return pd.DataFrame(rows).dropna(axis="columns", how="all")


def read_history(folder: str) -> pd.DataFrame | None:
    """The epochs of a run, or None where it has none."""
    path = Path(folder) / "history.csv"
    return read_table(path) if path.is_file() else None


def pooled_predictions(runs: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The test predictions of all seeds of a variant on one data set, one below the other.

    Args:
        runs: Test rows of these runs, as `collect_runs` returns them.

    Returns:
        Targets `(N,)` and probabilities `(N, K)`, N over all runs, and the K class names.

    Raises:
        UserError: A run has no predictions.
    """
    classes: list[str] = json.loads(runs["protocol"].iloc[0])["classes"]
    arrays = [predicted_arrays(read_predictions(folder), classes, "test") for folder in runs["folder"]]
    targets, probabilities = (np.concatenate(parts) for parts in zip(*arrays))
    return targets, probabilities, classes
