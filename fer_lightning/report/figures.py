"""The figures of a run, and how they reach the disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from fer_lightning.report.class_curves import draw_precision_recall, draw_roc
from fer_lightning.plots.predictions import draw_confusion
from fer_lightning.report.reliability import draw_reliability
from fer_lightning.files import write_whole


def draw_predictions(
    targets: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    split: str,
    temperature: float | None = None,
) -> dict[str, Figure]:
    """Draws everything that predictions alone can show.

    Args:
        targets: Class indices `(N,)`.
        probabilities: `(N, K)`.
        classes: The K class names.
        split: What was predicted.
        temperature: Fitted on other images; reliability is drawn with and without it.

    Returns:
        Figures by file name without ending: `confusion_<split>`, `roc_<split>`, `precision_recall_<split>` and
        `reliability_<split>`.
    """
    return {
        f"confusion_{split}": draw_confusion(targets, probabilities, classes, split),
        f"roc_{split}": draw_roc(targets, probabilities, classes, split),
        f"precision_recall_{split}": draw_precision_recall(targets, probabilities, classes, split),
        f"reliability_{split}": draw_reliability(targets, probabilities, split, temperature),
    }


def save_figures(folder: Path, figures: Mapping[str, Figure]) -> list[Path]:
    """Writes every figure as `<folder>/<name>.png`; a file that is there is whole.

    Args:
        folder: Made if it is not there.
        figures: Figures by file name without ending.

    Returns:
        The files, in the order of `figures`.
    """
    paths = []
    for name, figure in figures.items():
        paths.append(write_whole(folder / f"{name}.png", partial(figure.savefig, format="png", dpi=150)))
    return paths
