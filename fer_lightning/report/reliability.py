"""Reliability diagram: is the confidence worth its number?"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from fer_lightning.evaluation.calibration import reliability
from fer_lightning.report.style import ACCENT, MUTED, VALIDATION, house_style

BINS = 15


@house_style
def draw_reliability(targets: np.ndarray, probabilities: np.ndarray, split: str) -> Figure:
    """Draws accuracy against confidence in 15 bins, above the distribution of the confidence.

    Args:
        targets: Class indices `(N,)`.
        probabilities: `(N, K)`.
        split: What was predicted, for the title.
    """
    found = reliability(targets, probabilities, BINS)
    width = 1 / BINS
    centres = (found.edges[:-1] + found.edges[1:]) / 2
    filled = found.counts > 0

    figure = Figure(figsize=(5.8, 6.8), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
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
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    upper.set_title(f"Reliability, {split}: calibration error {found.error:.1%}")
    upper.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    upper.legend(loc="upper left")

    total = max(int(found.counts.sum()), 1)
    lower.bar(centres, found.counts / total, width * 0.92, color=MUTED)
    lower.set(xlabel="confidence", ylabel="share of images")
    lower.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    lower.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    return figure
