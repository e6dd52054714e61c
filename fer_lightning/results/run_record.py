"""Run record: metrics, predictions and history of a run, from which all reports are computed."""

from __future__ import annotations

import csv
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_lightning.errors import UserError
from fer_lightning.files import write_csv, write_json, write_whole
from fer_lightning.results.metrics_schema import read_metrics

_PACKAGES = ("fer_lightning", "torch", "pytorch-lightning", "torchmetrics", "timm", "albumentations", "numpy")
PROBABILITY_PREFIX = "prob_"
TARGET_PREFIX = "target_"  # of the targets of AFFECT


@dataclass(frozen=True)
class RunRecord:
    """Record of a finished run.

    Attributes:
        metrics: Protocol, versions, commit, hardware, seed, scores per split, timing; plain JSON values.
        predictions: Columns `id`, `split`, `target`, `prob_<class>`; of networks that predict them also `valence` and
            `arousal` and, where the data has them, `target_valence` and `target_arousal`, NaN where not annotated.
        history: One row per epoch.
        robustness: Scores on corrupted images (`score_corruptions`), or None.
    """

    metrics: dict[str, Any]
    predictions: pd.DataFrame
    history: pd.DataFrame
    robustness: pd.DataFrame | None = None

    def write(self, folder: Path) -> None:
        """Writes the record; `metrics.json` is written last, so that it exists only if the record is complete."""
        write_whole(folder / "predictions.parquet", lambda path: self.predictions.to_parquet(path, index=False))
        write_csv(folder / "history.csv", self.history, index=False)
        if self.robustness is not None:
            write_csv(folder / "robustness.csv", self.robustness, index=False)
        write_json(folder / "metrics.json", self.metrics)

    @classmethod
    def read(cls, folder: Path) -> RunRecord:
        """Reads the record of a finished run.

        Raises:
            UserError: The folder has no finished run, or a file of the record is damaged.
        """
        if not (folder / "metrics.json").is_file():
            raise UserError(f"{folder} must be the folder of a finished run; metrics.json is missing.")
        metrics = read_metrics(folder / "metrics.json")
        return cls(
            metrics=metrics,
            predictions=read_table(folder / "predictions.parquet"),
            history=read_table(folder / "history.csv"),
            robustness=read_table(folder / "robustness.csv") if "robustness" in metrics else None,
        )


def describe_software() -> dict[str, str]:
    """Versions of Python and of the packages that affect results."""
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}


def describe_commit() -> str:
    """Commit of this code, with `-dirty` if it was changed; `"unknown"` outside a Git checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def describe_code() -> dict[str, Any]:
    """Fields `versions` and `commit` of a record."""
    return {"versions": describe_software(), "commit": describe_commit()}


def predicted_arrays(predictions: pd.DataFrame, classes: Sequence[str], split: str) -> tuple[np.ndarray, np.ndarray]:
    """Targets and probabilities of one split.

    Args:
        predictions: Columns `split`, `target` and `prob_<class>` for every class.
        classes: The K class names in the order of the logits.
        split: Name of the split.

    Returns:
        Targets `(N,)` int64 and probabilities `(N, K)` float64.
    """
    rows = predictions[predictions["split"] == split]
    columns = [PROBABILITY_PREFIX + name for name in classes]
    return rows["target"].to_numpy(np.int64), rows[columns].to_numpy(np.float64)


def read_table(path: Path) -> pd.DataFrame:
    """Reads a table of a run, `.csv` or `.parquet`.

    Raises:
        UserError: The file is missing or damaged.
    """
    try:
        if path.is_file() and path.suffix == ".parquet":
            return pd.read_parquet(path)
        if path.is_file():
            _check_lines(path)
            return pd.read_csv(path)
        problem = "it is not a file"
    except Exception as error:  # pandas and pyarrow raise many types for damaged files
        problem = str(error) or type(error).__name__
    raise UserError(f"{path} is damaged: {' '.join(problem.split())[:200]}")


def _check_lines(path: Path) -> None:
    """Checks that all lines have equally many cells, because pandas would shift the others into wrong columns.

    Raises:
        ValueError: They do not, or two columns have one name.
    """
    with path.open(encoding="utf-8", newline="") as file:
        lines = [*filter(None, csv.reader(file))]
    if not lines or len(set(lines[0])) < len(lines[0]) or any(len(line) != len(lines[0]) for line in lines):
        raise ValueError("its first line must name each column once, and the others must have a value for each.")
