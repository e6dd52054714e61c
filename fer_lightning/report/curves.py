"""How a training went, epoch by epoch."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from fer_lightning.plots.style import ACCENT, MUTED, TRAIN, VALIDATION, house_style


@house_style
def draw_curves(history: pd.DataFrame, best_epoch: int | None) -> Figure:
    """Draws loss and accuracy of training and validation.

    Args:
        history: Column `epoch` and any of `train/loss`, `val/loss`, `train/accuracy`, `val/accuracy`; NaN where one was
            not measured.
        best_epoch: The epoch whose weights were kept, as numbered in `history`, or None where none was chosen.
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
    told = f"{value:.1%}" if metric == "accuracy" else f"{value:.3f}"
    label = f"best epoch {best_epoch}: {told}"
    panel.plot([best_epoch], [value], "o", color=ACCENT, markersize=7, markeredgecolor="white", label=label, zorder=5)
