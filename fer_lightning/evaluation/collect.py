"""Every run below a folder as one table, from which statistics and tables are computed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from fer_lightning.data.protocol import Protocol
from fer_lightning.errors import UserError
from fer_lightning.evaluation.variants import name_variants


def collect_runs(folder: Path) -> pd.DataFrame:
    """Reads all finished runs below a folder.

    Records of `fer evaluate` are no runs and are passed over.

    Args:
        folder: Holds folders of runs, at any depth, or is one.

    Returns:
        One row a run and split: `variant` (see `name_variants`), `seed`, `split`, `dataset`, `protocol` (JSON),
        `folder`, `model`, `parameters`, `commit`, then its scores in 0..1: `accuracy`, `macro_f1` and so on, and those
        of a class as `recall/happy`, NaN where no image has that class. Sorted by variant, data set, seed and split.

    Raises:
        UserError: No run is there; a record cannot be read; a variant was run twice under one seed and protocol, which
            would count as two seeds; or runs with the same options hold different networks.
    """
    records = {path.parent: _read(path) for path in sorted(folder.rglob("metrics.json"))}
    runs = {path: metrics for path, metrics in records.items() if "seed" in metrics}
    if not runs:
        raise UserError(
            f"{folder} holds no finished runs, which are folders with metrics.json: make them with fer train."
        )
    names = name_variants([metrics["overrides"] for metrics in runs.values()])
    rows = [
        _row(path, metrics, name, split)
        for (path, metrics), name in zip(runs.items(), names)
        for split in metrics["splits"]
    ]
    table = pd.DataFrame(rows)
    _refuse_repetitions(table)
    return table.sort_values(["variant", "dataset", "seed", "split"], kind="stable", ignore_index=True)


def require_one_protocol(runs: pd.DataFrame) -> None:
    """Refuses runs whose scores were not obtained in the same way; the folds of one cross-validation were.

    Args:
        runs: Column `protocol`, as `collect_runs` returns it.

    Raises:
        UserError: Protocols differ; it names in what.
    """
    first, *others = (Protocol.from_dict(json.loads(text)).over_folds() for text in runs["protocol"].unique())
    for other in others:
        first.require_same(other)


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
    return pd.read_parquet(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        metrics = json.loads(path.read_text())
        return {**metrics, "protocol": metrics["protocol"], "splits": metrics["splits"]}
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is no record of a run: remove it, or train that run again.") from None


def _row(folder: Path, metrics: Mapping[str, Any], variant: str, split: str) -> dict[str, object]:
    scores = dict(metrics["splits"][split])
    classes: Iterable[tuple[str, Mapping[str, float]]] = scores.pop("per_class", {}).items()
    return {
        "variant": variant,
        "seed": metrics["seed"],
        "split": split,
        "dataset": metrics["protocol"]["dataset"],
        "protocol": json.dumps(metrics["protocol"], sort_keys=True),
        "folder": str(folder),
        "model": metrics["model"],
        "parameters": metrics["parameters"],
        "commit": metrics["commit"],
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
