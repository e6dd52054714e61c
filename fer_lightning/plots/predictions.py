"""Figures of runs: confusion matrix, ROC and precision-recall curves, reliability, training curves, and comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter

from fer_lightning.plots.style import (
    ACCENT,
    FAINT,
    INK,
    MUTED,
    SHADES,
    TRAIN,
    VALIDATION,
    class_colour,
    class_dash,
    house_style,
)
from fer_lightning.plots.text import p_value, shorten
from fer_lightning.results.calibration import BINS, reliability, scale_probabilities
from fer_lightning.results.curves import ClassCurve, confusion_counts, macro_area, precision_recall_curves, roc_curves
from fer_lightning.results.intervals import accuracy_interval


@house_style
def draw_confusion(targets: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], split: str) -> Figure:
    """Draws the confusion matrix, with each row in percent of its true class and counts.

    Args:
        targets: Class indices `(N,)`.
        probabilities: `(N, K)`.
        classes: The K class names.
        split: Name of the split in the title.
    """
    predicted = probabilities.argmax(axis=1)
    counts = confusion_counts(targets, predicted, len(classes))
    support = counts.sum(axis=1)
    share = counts / np.maximum(support, 1)[:, None]

    size = 2.6 + 0.78 * len(classes)
    figure = Figure(figsize=(size, size), layout="constrained")
    panel = figure.subplots()
    panel.imshow(share, cmap=SHADES, vmin=0, vmax=1)
    for row, column in np.ndindex(*counts.shape):
        if support[row]:
            _write_cell(panel, row, column, float(share[row, column]), int(counts[row, column]))
    for row in np.flatnonzero(support == 0).tolist():
        panel.add_patch(Rectangle((-0.5, row - 0.5), len(classes), 1, color="#f1f2f4", zorder=1))
        panel.text((len(classes) - 1) / 2, row, "no images", ha="center", va="center", color=MUTED, zorder=2)
    positions = range(len(classes))
    panel.set_xticks(positions, labels=classes, rotation=35, ha="right", rotation_mode="anchor")
    panel.set_yticks(positions, labels=[f"{name}\n{count:,}" for name, count in zip(classes, support)])
    panel.set_xticks(np.arange(len(classes) + 1) - 0.5, minor=True)
    panel.set_yticks(np.arange(len(classes) + 1) - 0.5, minor=True)
    panel.grid(visible=False)
    panel.grid(which="minor", color=FAINT, linewidth=0.7)
    panel.tick_params(which="both", length=0)
    panel.spines[:].set_visible(False)
    panel.set_xlabel("predicted")
    panel.set_ylabel("true, with number of images")
    panel.set_title(f"Confusion matrix, {split}: {_accuracy(targets, predicted)}")
    return figure


def _write_cell(panel: Axes, row: int, column: int, share: float, count: int) -> None:
    colour = "white" if share > 0.6 else INK if count else "#b3b9c2"
    weight = "bold" if row == column else "normal"
    panel.text(column, row - 0.1, f"{100 * share:.1f}", ha="center", va="center", color=colour, weight=weight)
    panel.text(column, row + 0.24, f"{count:,}", ha="center", va="center", color=colour, fontsize=7.5)


def _accuracy(targets: np.ndarray, predicted: np.ndarray) -> str:
    if not len(targets):
        return "no images"
    return f"{(targets == predicted).mean():.1%} of {len(targets):,} right"


@house_style
def draw_roc(targets: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], split: str) -> Figure:
    """Draws one ROC curve per class that occurs, and their average; arguments as for `draw_confusion`."""
    curves = roc_curves(targets, probabilities, classes)
    figure, panel = _square(f"ROC, one class against the rest, {split}", "false positive rate", "true positive rate")
    panel.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (3, 3)), label="chance, AUC 0.500")
    _draw_classes(panel, curves, classes, "AUC")
    if curves:
        panel.plot(*_average(curves), color=INK, linewidth=2.6, label=f"average, AUC {macro_area(curves):.3f}")
    panel.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return figure


@house_style
def draw_precision_recall(targets: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], split: str) -> Figure:
    """Draws one precision-recall curve per class that occurs; arguments as for `draw_confusion`."""
    curves = precision_recall_curves(targets, probabilities, classes)
    figure, panel = _square(f"Precision and recall, {split}: mean AP {macro_area(curves):.3f}", "recall", "precision")
    _draw_classes(panel, curves, classes, "AP")
    panel.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return figure


def _square(title: str, x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8.6, 5.6), layout="constrained")
    panel = figure.subplots()
    panel.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel=x_label, ylabel=y_label, title=title)
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_formatter(PercentFormatter(xmax=1))
    return figure, panel


def _draw_classes(panel: Axes, curves: Sequence[ClassCurve], classes: Sequence[str], area: str) -> None:
    drawn = {curve.index: curve for curve in curves}
    for index, name in enumerate(classes):
        line = Line2D([], [], label=f"{name}, no curve", color=class_colour(index), linestyle=class_dash(index))
        if curve := drawn.get(index):
            line.set_data(curve.x, curve.y)
            line.set_label(f"{name}, {area} {curve.area:.3f}")
        panel.add_line(line)


def _average(curves: Sequence[ClassCurve]) -> tuple[np.ndarray, np.ndarray]:
    """Mean of step curves, at both ends of the vertical step at every false positive rate."""
    x = np.unique(np.concatenate([curve.x for curve in curves]))
    reached = np.mean([np.interp(-x, -curve.x[::-1], curve.y[::-1]) for curve in curves], axis=0)
    left = np.mean([np.interp(x, curve.x, curve.y) for curve in curves], axis=0)
    return np.repeat(x, 2), np.stack([reached, left], axis=1).ravel()


@house_style
def draw_reliability(
    targets: np.ndarray, probabilities: np.ndarray, split: str, temperature: float | None = None
) -> Figure:
    """Draws accuracy against confidence in 15 bins, above the distribution of the confidence.

    Args:
        targets: Class indices `(N,)`.
        probabilities: `(N, K)`.
        split: Name of the split in the title.
        temperature: Temperature fitted on other images, whose scaled predictions get a second diagram.
    """
    shown = {f"Reliability, {split}": probabilities}
    if temperature is not None:
        shown[f"With temperature {temperature:.2f}"] = scale_probabilities(probabilities, temperature)
    figure = Figure(figsize=(5.8 * len(shown), 6.8), layout="constrained")
    panels = figure.subplots(2, len(shown), sharex=True, sharey="row", squeeze=False, height_ratios=(3, 1))
    for place, (title, predicted) in enumerate(shown.items()):
        _draw(panels[0, place], panels[1, place], targets, predicted, title)
    panels[0, 0].set(ylabel="accuracy")
    panels[1, 0].set(ylabel="share of images")
    panels[0, 0].legend(loc="upper left")
    return figure


def _draw(upper: Axes, lower: Axes, targets: np.ndarray, probabilities: np.ndarray, title: str) -> None:
    bins = reliability(targets, probabilities, BINS)
    width = 1 / BINS
    centres = (bins.edges[:-1] + bins.edges[1:]) / 2
    filled = bins.counts > 0
    upper.bar(centres[filled], bins.accuracy[filled], width * 0.92, color=VALIDATION, label="accuracy")
    gap = bins.confidence - bins.accuracy
    upper.bar(
        centres[filled],
        gap[filled],
        width * 0.92,
        bottom=bins.accuracy[filled],
        facecolor="none",
        edgecolor=ACCENT,
        hatch="////",
        linewidth=0.8,
        label="gap to the confidence",
    )
    upper.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (3, 3)), label="perfect calibration")
    upper.set(xlim=(0, 1), ylim=(0, 1))
    upper.set_title(f"{title}: calibration error {bins.error:.1%}")
    upper.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))

    total = max(int(bins.counts.sum()), 1)
    lower.bar(centres, bins.counts / total, width * 0.92, color=MUTED)
    lower.set(xlabel="confidence")
    lower.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    lower.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))


@house_style
def draw_curves(history: pd.DataFrame, best_epoch: int | None) -> Figure:
    """Draws loss and accuracy of training and validation.

    Args:
        history: Column `epoch` and any of `train/loss`, `val/loss`, `train/accuracy`, `val/accuracy`; NaN where a
            value was not measured.
        best_epoch: Epoch of the selected weights, as numbered in `history`, or None.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    for panel, metric in zip(axes, ("loss", "accuracy")):
        panel.set_title(metric.capitalize())
        panel.set_xlabel("epoch")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        panel.set_xlim(history["epoch"].min() - 0.5, history["epoch"].max() + 0.5)
        _draw_series(panel, history, f"train/{metric}", "training", TRAIN)
        _draw_series(panel, history, f"val/{metric}", "validation", VALIDATION)
        if best_epoch is not None:
            _mark_best(panel, history, metric, best_epoch)
        if panel.get_legend_handles_labels()[0]:
            panel.legend()
    axes[1].yaxis.set_major_formatter(PercentFormatter(xmax=1))
    return figure


def _draw_series(panel: Axes, history: pd.DataFrame, column: str, label: str, colour: str) -> None:
    if column not in history:
        return
    measured = history[["epoch", column]].dropna()
    marker = "o" if len(measured) <= 12 else ""
    panel.plot(measured["epoch"], measured[column], color=colour, label=label, marker=marker, markersize=4)


def _mark_best(panel: Axes, history: pd.DataFrame, metric: str, best_epoch: int) -> None:
    panel.axvline(best_epoch, color=MUTED, linewidth=1, linestyle=(0, (3, 3)), zorder=1)
    column = f"val/{metric}"
    if column not in history:
        return
    values = history.loc[history["epoch"] == best_epoch, column].dropna()
    if values.empty:
        return
    value = float(values.iloc[0])
    label = f"best epoch {best_epoch}: {value:{'.1%' if metric == 'accuracy' else '.3f'}}"
    panel.plot([best_epoch], [value], "o", color=ACCENT, markersize=7, markeredgecolor="white", label=label, zorder=5)


def draw_predictions(
    targets: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    split: str,
    temperature: float | None = None,
) -> dict[str, Figure]:
    """All figures that need only predictions, by file name without suffix.

    Arguments are as for `draw_confusion` and `draw_reliability`.
    """
    return {
        f"confusion_{split}": draw_confusion(targets, probabilities, classes, split),
        f"roc_{split}": draw_roc(targets, probabilities, classes, split),
        f"precision_recall_{split}": draw_precision_recall(targets, probabilities, classes, split),
        f"reliability_{split}": draw_reliability(targets, probabilities, split, temperature),
    }


@house_style
def draw_comparison(table: pd.DataFrame) -> Figure:
    """Draws the accuracy of runs and the differences of their pairs, each with its 95 % interval.

    Args:
        table: Pairs of runs, as `compare` returns them.
    """
    sides = [
        table[[side, f"accuracy_{side}", "images"]].set_axis(["run", "accuracy", "images"], axis=1)
        for side in ("first", "second")
    ]
    runs = pd.concat(sides).drop_duplicates("run")
    figure = Figure(figsize=(13, 1.6 + 0.42 * max(len(runs), len(table))), layout="constrained")
    scores, differences = figure.subplots(1, 2)
    intervals = [accuracy_interval(round(run.accuracy * run.images), run.images) for run in runs.itertuples()]
    _draw_intervals(scores, runs["run"], runs["accuracy"], np.array(intervals))
    scores.set_title("Accuracy")
    scores.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=1))
    pairs = [f"{shorten(pair.second, 30)} - {shorten(pair.first, 30)}" for pair in table.itertuples()]
    _draw_intervals(differences, pairs, 100 * table["difference"], 100 * table[["low", "high"]].to_numpy())
    differences.axvline(0, color=MUTED, linewidth=1)
    differences.set(title="Difference, and Holm's p of McNemar's test", xlabel="points")
    for place, p in enumerate(table["p_holm"]):
        weight = "bold" if p < 0.05 else "normal"
        differences.annotate(
            p_value(p), (1, place), xycoords=("axes fraction", "data"), xytext=(4, 0), textcoords="offset points",
            va="center", fontsize=9, weight=weight,
        )  # fmt: skip
    first = table.iloc[0]
    title = f"{first['dataset']}, {first['split']}: {first['images']:,} images"
    figure.suptitle(title, x=0.01, ha="left", weight="bold")
    return figure


@house_style
def draw_fairness(fairness: Mapping[str, Any], split: str) -> Figure:
    """Draws accuracy and macro-F1 of groups of people with 95 % intervals, a row of panels for each attribute.

    Args:
        fairness: Result of `score_by_group`.
        split: Name of the split.
    """
    counts = [len(scores["groups"]) for scores in fairness.values()]
    figure = Figure(figsize=(11, 1.2 * len(counts) + 0.36 * sum(counts)), layout="constrained")
    panels = figure.subplots(len(counts), 2, squeeze=False, height_ratios=[count + 1 for count in counts])
    for line, (attribute, scores) in zip(panels, fairness.items()):
        groups = scores["groups"].values()
        names = [f"{shorten(name, 30)} ({group['n']:,})" for name, group in scores["groups"].items()]
        for panel, (score, title) in zip(line, {"accuracy": "Accuracy", "macro_f1": "Macro-F1"}.items()):
            ends = np.array([[group[f"{score}_low"], group[f"{score}_high"]] for group in groups])
            _draw_intervals(panel, names, [group[score] for group in groups], ends)
            panel.set_title(f"{title} by {shorten(attribute, 30)}, {split}")
            panel.xaxis.set_major_formatter(PercentFormatter(xmax=1))
    return figure


def _draw_intervals(panel: Axes, names: Sequence[str], centres: Sequence[float], ends: np.ndarray) -> None:
    places = np.arange(len(names))
    reach = np.abs(ends - np.asarray(centres)[:, None]).T
    panel.errorbar(
        centres, places, xerr=reach, fmt="o", color=VALIDATION, ecolor=INK, elinewidth=1.4, capsize=3, markersize=7
    )
    panel.set_yticks(places, [shorten(name, 64) for name in names])
    panel.set_ylim(len(places) - 0.4, -0.6)
    panel.grid(axis="y", visible=False)
