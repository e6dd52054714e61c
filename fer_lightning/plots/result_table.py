"""Tables of a finished run in the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from fer_lightning.files import shown_path
from fer_lightning.plots.text import escape, print_line, score_table
from fer_lightning.results.calibration import bound_note
from fer_lightning.results.naming import run_title

_SCORES = ("images", "accuracy", "95% interval", "balanced", "macro F1")


def split_table(metrics: Mapping[str, Any]) -> Table:
    """One row per split with the scores.

    Args:
        metrics: Content of `metrics.json`.
    """
    table = score_table(run_title(metrics), ["split"], [*_SCORES, "AUROC", "ECE"])
    if "test_clean" in metrics["splits"]:
        table.caption = "test_clean: without the test images that have an exact copy in training"
        table.caption_justify = "left"
    for split, scores in metrics["splits"].items():
        table.add_row(escape(split), *_cells(scores), _plain(scores["auroc"]), _plain(scores["ece"]))
    return table


def class_table(metrics: Mapping[str, Any], split: str) -> Table:
    """One row per class with its scores on a split.

    Args:
        metrics: Content of `metrics.json`.
        split: A key of `metrics["splits"]`.
    """
    table = score_table(f"Classes, {split}", ["class"], ["images", "precision", "recall", "F1"])
    for name, scores in metrics["splits"][split]["per_class"].items():
        cells = [_percent(scores[key]) for key in ("precision", "recall", "f1")]
        if scores["support"] == 0:
            cells[1:] = ["-", "-"]
        table.add_row(escape(name), f"{scores['support']:,}", *cells)
    return table


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


def other_data_table(other_data: Mapping[str, Mapping[str, Any]]) -> Table:
    """One row per other data set with the scores of its test split.

    Args:
        other_data: Field `elsewhere` of `metrics.json`.
    """
    table = score_table("On other data, test", ["data"], [*_SCORES, "seen, left out"])
    for name, scores in other_data.items():
        if "missing" in scores:
            table.add_row(escape(name), *["-"] * 6)
        else:
            seen = "unknown" if scores["seen"] is None else f"{scores['seen']:,}"
            table.add_row(escape(name), *_cells(scores), seen)
    return table


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
    console.print(split_table(metrics))
    for split in metrics["splits"]:
        if split == "test" or len(metrics["splits"]) == 1:
            console.print(class_table(metrics, split))
    if metrics.get("elsewhere"):
        console.print(other_data_table(metrics["elsewhere"]))
    if metrics.get("robustness"):
        console.print(corruption_table(metrics["robustness"]))
    if "test" in metrics.get("calibration", {}):
        console.print(calibration_line(metrics["calibration"]), soft_wrap=True, highlight=False)
    # Paths stay on one line each, so that they can be copied.
    print_line(console, f"Run record: {shown_path(folder)}")
    for number, path in enumerate(pictures):
        label = "Pictures:  " if number == 0 else "           "
        print_line(console, f"{label} {shown_path(path)}")


def _cells(scores: Mapping[str, Any]) -> list[str]:
    """Cells of the columns `_SCORES`."""
    return [
        f"{scores['n']:,}",
        f"[bold]{_percent(scores['accuracy'])}[/bold]",
        f"{100 * scores['accuracy_low']:.1f}–{_percent(scores['accuracy_high'])}",
        _percent(scores["balanced_accuracy"]),
        _percent(scores["macro_f1"]),
    ]


def _percent(ratio: float) -> str:
    return "-" if math.isnan(ratio) else f"{ratio:.1%}"


def _plain(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
