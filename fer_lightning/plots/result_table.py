"""Tables of a finished run in the terminal."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from fer_lightning.files import shown_path
from fer_lightning.plots.text import escape, print_fitting, print_line, score_table
from fer_lightning.results.calibration import bound_note
from fer_lightning.results.naming import run_title, upload_command

_SCORES = ("images", "accuracy [95%]", "balanced", "macro\nF1")
_LEAST = ("ECE", "AUROC", "balanced", "images")  # columns that a narrow terminal does not show


def split_table(metrics: Mapping[str, Any], without: Collection[str] = ()) -> Table:
    """One row per split with the scores.

    Args:
        metrics: Content of `metrics.json`.
        without: Headings of columns to omit.
    """
    rows = {
        split: {**_cells(scores), "AUROC": _plain(scores["auroc"]), "ECE": _plain(scores["ece"])}
        for split, scores in metrics["splits"].items()
    }
    table = _without(run_title(metrics), "split", rows, without)
    if "test_clean" in rows:
        table.caption = "test_clean: without the test images that have an exact copy in training"
    return table


def _without(title: str, heading: str, rows: Mapping[str, Mapping[str, str]], without: Collection[str]) -> Table:
    """Table of numbers by name of the row and heading of the column."""
    numbers = [name for name in next(iter(rows.values()), {}) if name not in without]
    table = score_table(title, [heading], numbers)
    for name, cells in rows.items():
        table.add_row(escape(name), *(cells[number] for number in numbers))
    return table


def class_table(metrics: Mapping[str, Any], split: str, without: Collection[str] = ()) -> Table:
    """One row per class with its scores on a split.

    Args:
        metrics: Content of `metrics.json`.
        split: A key of `metrics["splits"]`.
        without: Headings of columns to omit.
    """
    rows = {}
    for name, scores in metrics["splits"][split]["per_class"].items():
        cells = {"images": f"{scores['support']:,}", "precision": _percent(scores["precision"])}
        cells |= {"recall": _percent(scores["recall"]), "F1": _percent(scores["f1"])}
        if scores["support"] == 0:
            cells |= {"recall": "-", "F1": "-"}
        rows[name] = cells
    return _without(f"Classes, {split}", "class", rows, without)


def calibration_line(calibration: Mapping[str, Any]) -> str:
    """Sentence on the calibration error with and without a temperature.

    Args:
        calibration: Field `calibration` of `metrics.json`, with a test split.
    """
    test = calibration["test"]
    return (
        f"Calibration error on test: {test['ece']:.3f} -> {test['ece_scaled']:.3f} with temperature "
        f"{calibration['temperature']:.2f}, fitted on validation{bound_note(calibration['temperature'])}"
    )


def other_data_table(other_data: Mapping[str, Mapping[str, Any]], without: Collection[str] = ()) -> Table:
    """One row per other data set with the scores of its test split.

    Args:
        other_data: Field `elsewhere` of `metrics.json`.
        without: Headings of columns to omit.
    """
    rows = {}
    for name, scores in other_data.items():
        rows[name] = dict.fromkeys([*_SCORES, "seen,\nleft out"], "-")
        if "missing" not in scores:
            seen = "unknown" if scores["seen"] is None else f"{scores['seen']:,}"
            rows[name] |= {**_cells(scores), "seen,\nleft out": seen}
    return _without("On other data, test", "data", rows, without)


def corruption_table(robustness: Mapping[str, Any]) -> Table:
    """One row per corruption with the mean accuracy over its severities, also as a share of the clean accuracy.

    Args:
        robustness: Field `robustness` of `metrics.json`.
    """
    table = score_table("Corrupted images", ["corruption"], ["accuracy", "of clean"])
    table.add_row("clean", _percent(robustness["clean"]), "")
    for name, accuracy in robustness["accuracy"].items():
        share = robustness["relative"][name]
        table.add_row(escape(name.replace("_", " ")), _percent(accuracy), "-" if share is None else f"{share:.0%}")
    return table


def print_result(console: Console, metrics: Mapping[str, Any], folder: Path, pictures: Sequence[Path]) -> None:
    """Prints the summary tables of a run and the paths of its record and figures.

    Args:
        console: Console of the terminal.
        metrics: Content of `metrics.json`.
        folder: Run folder.
        pictures: Paths of the figures.
    """
    console.print()
    print_fitting(console, partial(split_table, metrics), _LEAST)
    for split in metrics["splits"]:
        if split == "test" or len(metrics["splits"]) == 1:
            print_fitting(console, partial(class_table, metrics, split), ("images", "precision"))
    if metrics.get("elsewhere"):
        print_fitting(console, partial(other_data_table, metrics["elsewhere"]), _LEAST)
    if metrics.get("robustness"):
        console.print(corruption_table(metrics["robustness"]))
    if "test" in metrics.get("calibration", {}):
        console.print(calibration_line(metrics["calibration"]), soft_wrap=True, highlight=False)
    # Paths stay on one line each, so that they can be copied.
    print_line(console, f"Run record: {shown_path(folder)}")
    for number, path in enumerate(pictures):
        label = "Pictures:  " if number == 0 else "           "
        print_line(console, f"{label} {shown_path(path)}")
    if command := upload_command(folder):
        print_line(console, f"W&B (offline): {shown_path(folder / 'wandb')}; to upload: {command}")


def _cells(scores: Mapping[str, Any]) -> dict[str, str]:
    """Cells of the columns `_SCORES`."""
    low, high = 100 * scores["accuracy_low"], 100 * scores["accuracy_high"]
    cells = (
        f"{scores['n']:,}",
        f"[bold]{_percent(scores['accuracy'])}[/bold] \\[{low:.1f}, {high:.1f}]",
        _percent(scores["balanced_accuracy"]),
        _percent(scores["macro_f1"]),
    )
    return dict(zip(_SCORES, cells))


def _percent(ratio: float) -> str:
    return "-" if math.isnan(ratio) else f"{ratio:.1%}"


def _plain(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
