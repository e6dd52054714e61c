"""Reliability diagram: is the confidence worth its number?"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from fer_lightning.results.calibration import BINS, reliability
from fer_lightning.evaluation.temperature import scale_probabilities
from fer_lightning.plots.style import ACCENT, MUTED, VALIDATION, house_style


@house_style
def draw_reliability(
    targets: np.ndarray, probabilities: np.ndarray, split: str, temperature: float | None = None
) -> Figure:
    """Draws accuracy against confidence in 15 bins, above the distribution of the confidence.

    Args:
        targets: Class indices `(N,)`.
        probabilities: `(N, K)`.
        split: What was predicted, for the title.
        temperature: Fitted on other images; the same diagram of the predictions scaled with it comes beside the first.
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
    found = reliability(targets, probabilities, BINS)
    width = 1 / BINS
    centres = (found.edges[:-1] + found.edges[1:]) / 2
    filled = found.counts > 0
    upper.bar(centres[filled], found.accuracy[filled], width * 0.92, color=VALIDATION, label="accuracy")
    gap = found.confidence - found.accuracy
    upper.bar(
        centres[filled],
        gap[filled],
        width * 0.92,
        bottom=found.accuracy[filled],
        facecolor="none",
        edgecolor=ACCENT,
        hatch="////",
        linewidth=0.8,
        label="gap to the confidence",
    )
    upper.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (3, 3)), label="perfect calibration")
    upper.set(xlim=(0, 1), ylim=(0, 1))
    upper.set_title(f"{title}: calibration error {found.error:.1%}")
    upper.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))

    total = max(int(found.counts.sum()), 1)
    lower.bar(centres, found.counts / total, width * 0.92, color=MUTED)
    lower.set(xlabel="confidence")
    lower.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    lower.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
