"""What W&B shows of a finished sweep beside its trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import wandb
from wandb.sdk.wandb_run import Run


def log_sweep(run: Run, trials: pd.DataFrame, summary: Mapping[str, Any], pictures: Sequence[Path]) -> None:
    """Logs the trials of a sweep as a table, its pictures and what it found.

    Args:
        run: A W&B run of its own, in the group of the trials' runs.
        trials: One row a trial.
        summary: The best trial: plain values.
        pictures: The figures of the sweep.
    """
    logged: dict[str, Any] = {f"figures/{path.stem}": wandb.Image(str(path)) for path in pictures}
    rows = trials.astype(object).where(trials.notna(), None)  # NaN is no JSON
    # A parameter can be a number in one trial and a word in another.
    logged["trials"] = wandb.Table(dataframe=rows, allow_mixed_types=True)
    run.log(logged)
    run.summary.update(dict(summary))
