"""ROC and precision-recall curves, every class against the rest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from fer_lightning.results.curves import ClassCurve, macro_area, precision_recall_curves, roc_curves
from fer_lightning.plots.style import INK, MUTED, class_colour, class_dash, house_style


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
        panel.plot(*_average(curves), color=INK, linewidth=2.6, label=f"average, AUC {macro_area(curves):.3f}")
    panel.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return figure


@house_style
def draw_precision_recall(targets: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], split: str) -> Figure:
    """Draws one precision-recall curve per class that occurs; arguments as for `draw_roc`."""
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
    """Mean of the curves: at every false positive rate where they reach it, then where they leave it."""
    x = np.unique(np.concatenate([curve.x for curve in curves]))
    reached = np.mean([np.interp(-x, -curve.x[::-1], curve.y[::-1]) for curve in curves], axis=0)
    left = np.mean([np.interp(x, curve.x, curve.y) for curve in curves], axis=0)
    return np.repeat(x, 2), np.stack([reached, left], axis=1).ravel()
