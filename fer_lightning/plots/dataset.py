"""Figures of a data set: faces before and after alignment, copies of images, annotator agreement."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from fer_lightning.plots.contact_sheet import new_sheet, place_image
from fer_lightning.plots.style import ACCENT, INK, MUTED, TRAIN, VALIDATION, house_style

_COLUMNS = 6
_CELL_INCHES = 1.3
_GAP = 0.08
_TITLE = 0.45
_MARGIN = 0.3  # width of the row labels
_CAPTION = 0.3
_COLOURS = {"exact": ACCENT, "near": VALIDATION, "mirrored": TRAIN}
_AGREEMENT_COLOURS = (VALIDATION, ACCENT, TRAIN)


@house_style
def draw_alignment(
    before: np.ndarray, points: np.ndarray, after: np.ndarray, captions: Sequence[str], title: str
) -> Figure:
    """Draws each face with its landmarks, and below it the aligned one.

    Args:
        before: uint8 `(N, S, S, C)` with one or three channels.
        points: Landmarks `(N, 68, 2)` in pixels of `before`, from 0 at one edge of the image to S at the other.
        after: uint8 `(N, S, S, C)`.
        captions: N captions.
        title: Title of the sheet.
    """
    size = before.shape[1]
    pitch = 2 + _GAP + _CAPTION
    width, height = _MARGIN + _COLUMNS * (1 + _GAP), _TITLE + max(1, -(-len(before) // _COLUMNS)) * pitch
    figure, panel = new_sheet(width, height, _CELL_INCHES)
    panel.text(_MARGIN, _TITLE / 2, title, va="center", fontsize=12, weight="bold")
    for position in range(len(before)):
        row, column = divmod(position, _COLUMNS)
        left, top = _MARGIN + column * (1 + _GAP), _TITLE + row * pitch
        place_image(panel, before[position], left, top)
        place_image(panel, after[position], left, top + 1 + _GAP)
        places = points[position] / size
        shown = places[((places >= 0) & (places <= 1)).all(axis=1)] + (left, top)
        panel.plot(shown[:, 0], shown[:, 1], ".", markersize=2.6, markeredgewidth=0, color=ACCENT)
        panel.text(left + 0.5, top + 2 + _GAP + 0.14, captions[position], ha="center", va="center", fontsize=8)
        if column == 0:
            for offset, word in ((0.5, "before"), (1.5 + _GAP, "after")):
                panel.text(
                    _MARGIN / 2, top + offset, word, rotation=90, ha="center", va="center", fontsize=9, color=MUTED
                )
    return figure


@house_style
def draw_copies(by_splits: pd.DataFrame, dataset: str) -> Figure:
    """Draws the number of pairs of copies within and across splits as stacked bars.

    Args:
        by_splits: Columns `splits`, `exact`, `near` and `mirrored`; one row per pair of splits.
        dataset: Name of the data set in the title.
    """
    figure = Figure(figsize=(9, 0.55 * len(by_splits) + 1.6), layout="constrained")
    panel = figure.subplots()
    left = pd.Series(0, index=by_splits.index)
    for kind, colour in _COLOURS.items():
        bars = panel.barh(by_splits["splits"], by_splits[kind], left=left, color=colour, label=kind, height=0.62)
        left = left + by_splits[kind]
    sums = [" + ".join(f"{count:,}" for count in counts) for counts in by_splits[list(_COLOURS)].to_numpy()]
    labels = np.where(left > 0, sums, "none")
    panel.bar_label(bars, labels, padding=6, color=MUTED, fontsize=8.5)
    panel.set_xlim(0, max(1.0, 1.25 * left.max()))
    panel.invert_yaxis()
    panel.grid(visible=False, axis="y")
    panel.set_xlabel("pairs of copies")
    panel.set_title(f"{dataset}: copies within and across splits")
    panel.legend(loc="lower right")
    return figure


@house_style
def draw_agreement(table: pd.DataFrame, measures: Sequence[str]) -> Figure:
    """Draws agreements over all splits as bars with 95 % intervals, for all classes together and for each class.

    Args:
        table: Columns `measure`, `split`, `class`, `agreement`, `low`, `high`; only the split `"all"` is drawn.
        measures: Measures to draw, at most three.
    """
    drawn = table[(table["split"] == "all") & table["measure"].isin(measures)]
    classes = list(dict.fromkeys(drawn["class"]))
    figure = Figure(figsize=(10, 4.8), layout="constrained")
    panel = figure.subplots()
    width = 0.8 / len(measures)
    for number, (measure, colour) in enumerate(zip(measures, _AGREEMENT_COLOURS)):
        rows = drawn[drawn["measure"] == measure]
        place = np.array([classes.index(name) for name in rows["class"]]) + (number - (len(measures) - 1) / 2) * width
        # In a tiny class, rounding of summed probabilities may move the end of an interval beyond its mean.
        errors = np.stack([rows["agreement"] - rows["low"], rows["high"] - rows["agreement"]]).clip(0)
        panel.bar(place, rows["agreement"], width * 0.92, color=colour, label=measure)
        panel.errorbar(place, rows["agreement"], errors, fmt="none", ecolor=INK, elinewidth=1, capsize=2)
    panel.axvline(0.5, color=INK, linewidth=0.8)
    panel.set_xticks(range(len(classes)), labels=["all classes", *classes[1:]])
    panel.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    panel.set_ylim(0, 1.05)
    panel.grid(visible=False, axis="x")
    panel.set_title("Annotator agreement on FER2013 and FERPlus")
    panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=len(measures))
    return figure
