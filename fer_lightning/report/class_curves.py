"""ROC and precision-recall curves, every class against the rest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from fer_lightning.evaluation.one_vs_rest import ClassCurve, macro_area, precision_recall_curves, roc_curves
from fer_lightning.report.style import INK, MUTED, class_line, house_style


@house_style
def draw_roc(targets: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], split: str) -> Figure:
    """Draws one ROC curve per class that occurs, and their average.

    Args:
        targets: Class indices `(N,)`.
        probabilities: `(N, K)`.
        classes: The K class names.
        split: What was predicted, for the title.
    """
    curves = roc_curves(targets, probabilities, classes)
    figure, panel = _square(f"ROC, one class against the rest, {split}", "false positive rate", "true positive rate")
    panel.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (3, 3)), label="chance, AUC 0.500")
    _draw_classes(panel, curves, classes, "AUC")
    if curves:
        grid = np.linspace(0, 1, 501)
        # Where a curve is vertical the highest point counts, as in an ROC curve read from left to right.
        average = np.mean([_upper_values(curve, grid) for curve in curves], axis=0)
        label = f"average, AUC {macro_area(curves):.3f}"
        panel.plot(np.r_[0, grid], np.r_[0, average], color=INK, linewidth=2.6, label=label)
    figure.legend(*panel.get_legend_handles_labels(), loc="outside right center")
    return figure


@house_style
def draw_precision_recall(targets: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], split: str) -> Figure:
    """Draws one precision-recall curve per class that occurs; arguments as for `draw_roc`."""
    curves = precision_recall_curves(targets, probabilities, classes)
    figure, panel = _square(f"Precision and recall, {split}: mean AP {macro_area(curves):.3f}", "recall", "precision")
    _draw_classes(panel, curves, classes, "AP")
    figure.legend(*panel.get_legend_handles_labels(), loc="outside right center")
    return figure


def _square(title: str, x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8.2, 5.8), layout="constrained")
    panel = figure.subplots()
    panel.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal", xlabel=x_label, ylabel=y_label, title=title)
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_formatter(PercentFormatter(xmax=1))
    return figure, panel


def _draw_classes(panel: Axes, curves: Sequence[ClassCurve], classes: Sequence[str], area: str) -> None:
    drawn = {curve.name: curve for curve in curves}
    for index, name in enumerate(classes):
        if curve := drawn.get(name):
            panel.plot(curve.x, curve.y, label=f"{name}, {area} {curve.area:.3f}", **class_line(index))
        else:
            panel.plot([], [], label=f"{name}, not in these images", **class_line(index))


def _upper_values(curve: ClassCurve, grid: np.ndarray) -> np.ndarray:
    last = np.r_[curve.x[1:] != curve.x[:-1], True]
    return np.interp(grid, curve.x[last], curve.y[last])
