"""What a finished run says in the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from fer_lightning.files import shown_path
from fer_lightning.plots.text import escape, print_line
from fer_lightning.results.calibration import bound_note


def split_table(metrics: Mapping[str, Any]) -> Table:
    """One row per split with the scores.

    Args:
        metrics: Content of `metrics.json`.
    """
    protocol = metrics["protocol"]
    seed = f", seed {metrics['seed']}" if "seed" in metrics else ""
    title = f"{metrics['model']} on {protocol['dataset']}{seed}"
    table = Table(title=escape(title), title_justify="left", title_style="bold")
    table.add_column("split")
    for heading in ("images", "accuracy", "95% interval", "balanced", "macro F1", "AUROC", "ECE"):
        table.add_column(heading, justify="right")
    if "test_clean" in metrics["splits"]:
        table.caption = "test_clean: without the test images that have an exact copy in training"
        table.caption_justify = "left"
    for split, scores in metrics["splits"].items():
        table.add_row(
            escape(split),
            f"{scores['n']:,}",
            f"[bold]{_percent(scores['accuracy'])}[/bold]",
            f"{100 * scores['accuracy_low']:.1f}–{_percent(scores['accuracy_high'])}",
            _percent(scores["balanced_accuracy"]),
            _percent(scores["macro_f1"]),
            _plain(scores["auroc"]),
            _plain(scores["ece"]),
        )
    return table


def class_table(metrics: Mapping[str, Any], split: str) -> Table:
    """One row per class with its scores on a split.

    Args:
        metrics: Content of `metrics.json`.
        split: A key of `metrics["splits"]`.
    """
    table = Table(title=escape(f"Classes, {split}"), title_justify="left", title_style="bold")
    table.add_column("class")
    for heading in ("images", "precision", "recall", "F1"):
        table.add_column(heading, justify="right")
    for name, scores in metrics["splits"][split]["per_class"].items():
        cells = [_percent(scores[key]) for key in ("precision", "recall", "f1")]
        if scores["support"] == 0:
            cells[1:] = ["-", "-"]
        table.add_row(escape(name), f"{scores['support']:,}", *cells)
    return table


def calibration_line(calibration: Mapping[str, Any]) -> str:
    """What a temperature does to the confidence, in a sentence.

    Args:
        calibration: That of `metrics.json`, with a test split.
    """
    test = calibration["test"]
    return (
        f"Calibration error on test: {test['ece']:.3f} -> {test['ece_scaled']:.3f} with temperature "
        f"{calibration['temperature']:.2f}, fitted on validation{bound_note(calibration['temperature'])}"
    )


def elsewhere_table(elsewhere: Mapping[str, Mapping[str, Any]]) -> Table:
    """One row per other data set with the scores of its test split.

    Args:
        elsewhere: That of `metrics.json`.
    """
    table = Table(title="On other data, test", title_justify="left", title_style="bold")
    table.add_column("data")
    for heading in ("images", "accuracy", "95% interval", "balanced", "macro F1", "seen, left out"):
        table.add_column(heading, justify="right")
    for name, scores in elsewhere.items():
        if "missing" in scores:
            table.add_row(escape(name), *["-"] * 6)
            continue
        table.add_row(
            escape(name),
            f"{scores['n']:,}",
            f"[bold]{_percent(scores['accuracy'])}[/bold]",
            f"{100 * scores['accuracy_low']:.1f}–{_percent(scores['accuracy_high'])}",
            _percent(scores["balanced_accuracy"]),
            _percent(scores["macro_f1"]),
            "unknown" if scores["seen"] is None else f"{scores['seen']:,}",
        )
    return table


def print_result(console: Console, metrics: Mapping[str, Any], folder: Path, pictures: Sequence[Path]) -> None:
    """Prints the closing tables of a run and where its record and pictures are.

    Args:
        console: Where to print.
        metrics: Content of `metrics.json`.
        folder: The run folder.
        pictures: The figures that were written.
    """
    console.print()
    console.print(split_table(metrics))
    for split in metrics["splits"]:
        if split == "test" or len(metrics["splits"]) == 1:
            console.print(class_table(metrics, split))
    if metrics.get("elsewhere"):
        console.print(elsewhere_table(metrics["elsewhere"]))
    if "test" in metrics.get("calibration", {}):
        console.print(calibration_line(metrics["calibration"]), soft_wrap=True, highlight=False)
    # Paths stay on one line each, so that they can be copied.
    print_line(console, f"Run record: {shown_path(folder)}")
    for number, path in enumerate(pictures):
        label = "Pictures:  " if number == 0 else "           "
        print_line(console, f"{label} {shown_path(path)}")


def _percent(ratio: float) -> str:
    return "-" if math.isnan(ratio) else f"{ratio:.1%}"


def _plain(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
