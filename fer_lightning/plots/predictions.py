"""Which class is taken for which."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fer_lightning.evaluation.confusion import confusion_counts
from fer_lightning.plots.style import FAINT, INK, MUTED, SHADES, house_style


@house_style
def draw_confusion(targets: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], split: str) -> Figure:
    """Draws the confusion matrix: each row in percent of its true class, with counts.

    Args:
        targets: Class indices `(N,)`.
        probabilities: `(N, K)`.
        classes: The K class names.
        split: What was predicted, for the title.
    """
    predicted = probabilities.argmax(axis=1)
    counts = confusion_counts(targets, predicted, len(classes))
    support = counts.sum(axis=1)
    share = counts / np.maximum(support, 1)[:, None]

    side = 2.6 + 0.78 * len(classes)
    figure = Figure(figsize=(side, side), layout="constrained")
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
    panel.set_title(f"Confusion matrix, {split}: {_told(targets, predicted)}")
    return figure


def _write_cell(panel: Axes, row: int, column: int, share: float, count: int) -> None:
    colour = "white" if share > 0.6 else INK if count else "#b3b9c2"
    weight = "bold" if row == column else "normal"
    panel.text(column, row - 0.1, f"{100 * share:.1f}", ha="center", va="center", color=colour, weight=weight)
    panel.text(column, row + 0.24, f"{count:,}", ha="center", va="center", color=colour, fontsize=7.5)


def _told(targets: np.ndarray, predicted: np.ndarray) -> str:
    if not len(targets):
        return "no images"
    return f"{(targets == predicted).mean():.1%} of {len(targets):,} right"
