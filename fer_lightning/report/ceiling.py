"""How far annotators agree, class by class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from fer_lightning.plots.style import ACCENT, INK, TRAIN, VALIDATION, house_style

_COLOURS = (VALIDATION, ACCENT, TRAIN)


@house_style
def draw_agreement(table: pd.DataFrame, measures: Sequence[str]) -> Figure:
    """Draws agreements over all splits as bars with 95 % intervals, for all classes together and for each.

    Args:
        table: Columns `measure`, `split`, `class`, `agreement`, `low`, `high`; only the split `"all"` is drawn.
        measures: Which measures to draw, three at most.
    """
    drawn = table[(table["split"] == "all") & table["measure"].isin(measures)]
    classes = list(dict.fromkeys(drawn["class"]))
    figure = Figure(figsize=(10, 4.8), layout="constrained")
    panel = figure.subplots()
    width = 0.8 / len(measures)
    for number, (measure, colour) in enumerate(zip(measures, _COLOURS)):
        rows = drawn[drawn["measure"] == measure]
        place = np.array([classes.index(name) for name in rows["class"]]) + (number - (len(measures) - 1) / 2) * width
        # A tiny class whose sum of chances was rounded may have an interval that ends a hair before its average.
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
