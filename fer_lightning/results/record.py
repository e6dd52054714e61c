"""The run record: everything that later tables, figures and tests are computed from."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from fer_lightning.errors import UserError
from fer_lightning.results.collect import read_table
from fer_lightning.results.metrics_file import read_metrics
from fer_lightning.files import write_whole

_PACKAGES = ("fer_lightning", "torch", "pytorch-lightning", "torchmetrics", "timm", "albumentations", "numpy")


@dataclass(frozen=True)
class RunRecord:
    """What a finished run leaves in its folder.

    Attributes:
        metrics: Protocol, versions, commit, hardware, seed, scores per split, timing; plain JSON values.
        predictions: Columns `id`, `split`, `target`, `prob_<class>`.
        history: One row per epoch.
        robustness: As `score_corruptions` returns it; None where no corruption was scored.
    """

    metrics: dict[str, Any]
    predictions: pd.DataFrame
    history: pd.DataFrame
    robustness: pd.DataFrame | None = None

    def write(self, folder: Path) -> None:
        """Writes the record; `metrics.json` comes last, so its presence says that the record is whole."""
        write_whole(folder / "predictions.parquet", lambda path: self.predictions.to_parquet(path, index=False))
        write_whole(folder / "history.csv", lambda path: self.history.to_csv(path, index=False))
        if self.robustness is not None:
            table = self.robustness
            write_whole(folder / "robustness.csv", lambda path: table.to_csv(path, index=False))
        text = json.dumps(self.metrics, indent=2) + "\n"
        write_whole(folder / "metrics.json", lambda path: path.write_text(text))

    @classmethod
    def read(cls, folder: Path) -> RunRecord:
        """Reads the record of a finished run.

        Raises:
            UserError: The folder holds no finished run, or a file of its record is damaged.
        """
        if not (folder / "metrics.json").is_file():
            raise UserError(f"{folder} holds no finished run: metrics.json is missing.")
        metrics = read_metrics(folder / "metrics.json")
        return cls(
            metrics=metrics,
            predictions=read_table(folder / "predictions.parquet"),
            history=read_table(folder / "history.csv"),
            robustness=read_table(folder / "robustness.csv") if "robustness" in metrics else None,
        )


def describe_software() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result."""
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}


def describe_commit() -> str:
    """Commit of the code that runs, with `-dirty` where it was changed; `"unknown"` outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def describe_hardware(device: torch.device, precision: str) -> dict[str, Any]:
    """Processor, threads and accelerator of a run."""
    hardware: Mapping[str, Any] = {
        "device": device.type,
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "precision": precision,
        "platform": platform.platform(),
    }
    gpu = {"gpu": torch.cuda.get_device_name(device)} if device.type == "cuda" else {}
    return {**hardware, **gpu}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
