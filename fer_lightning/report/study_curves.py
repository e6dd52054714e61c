"""How the trainings of a study went: every variant, its mean over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from fer_lightning.plots.style import INK, class_colour, class_dash, house_style

_PANELS = (
    ("train/accuracy", "Accuracy, training"),
    ("val/accuracy", "Accuracy, validation"),
    ("train/loss", "Loss, training"),
    ("val/loss", "Loss, validation"),
)


@house_style
def draw_study_curves(histories: Mapping[str, Sequence[pd.DataFrame]], highlighted: str | None) -> Figure:
    """Draws accuracy and loss of training and validation by epoch (Figs. 5 to 7 of PsySFA-Net).

    A line is the mean over seeds and the band around it reaches from the lowest to the highest.

    Args:
        histories: By title of the variant one table a seed: column `epoch` and any of `train/accuracy`, `val/accuracy`,
            `train/loss` and `val/loss`, NaN where one was not measured.
        highlighted: Title that is drawn in black, or None.
    """
    figure = Figure(figsize=(11, 7.4 + 0.22 * ((len(histories) + 1) // 2)), layout="constrained")
    panels = figure.subplots(2, 2).flat
    for panel, (column, title) in zip(panels, _PANELS):
        panel.set_title(title)
        panel.set_xlabel("epoch")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if column.endswith("accuracy"):
            panel.yaxis.set_major_formatter(PercentFormatter(xmax=1))
        for number, (name, seeds) in enumerate(histories.items()):
            _draw_variant(panel, seeds, column, name, number, name == highlighted)
    handles = {label: handle for panel in figure.axes for handle, label in zip(*panel.get_legend_handles_labels())}
    labels = [label for label in map(_label, histories, histories.values()) if label in handles]
    figure.legend([handles[label] for label in labels], labels, loc="outside lower center", ncols=2)
    return figure


def _draw_variant(
    panel: Axes, seeds: Sequence[pd.DataFrame], column: str, name: str, number: int, highlighted: bool
) -> None:
    series = [each.set_index("epoch")[column].dropna() for each in seeds if column in each]
    together = pd.concat(series, axis="columns").sort_index() if series else pd.DataFrame()
    if together.empty:
        return
    colour = INK if highlighted else class_colour(number)
    mean = together.mean(axis="columns")
    panel.plot(
        mean.index,
        mean,
        color=colour,
        linestyle="-" if highlighted else class_dash(number),
        linewidth=2.6 if highlighted else 1.6,
        marker="o" if len(mean) == 1 else "",
        label=_label(name, seeds),
    )
    if len(series) > 1:
        low, high = together.min(axis="columns"), together.max(axis="columns")
        panel.fill_between(mean.index, low, high, color=colour, alpha=0.1, linewidth=0)


def _label(name: str, seeds: Sequence[pd.DataFrame]) -> str:
    return f"{name}, {len(seeds)} seed{'s' if len(seeds) != 1 else ''}"
