"""How many pictures a dataset holds more than once, and where."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from fer_lightning.plots.style import ACCENT, MUTED, TRAIN, VALIDATION, house_style

_COLOURS = {"exact": ACCENT, "near": VALIDATION, "mirrored": TRAIN}


@house_style
def draw_copies(by_splits: pd.DataFrame, dataset: str) -> Figure:
    """Draws the pairs of copies within and across splits as stacked bars.

    Args:
        by_splits: Columns `splits`, `exact`, `near` and `mirrored`; one row a pair of splits.
        dataset: For the title.
    """
    figure = Figure(figsize=(9, 0.55 * len(by_splits) + 1.6), layout="constrained")
    panel = figure.subplots()
    total = by_splits[list(_COLOURS)].sum(axis=1)
    left = pd.Series(0, index=by_splits.index)
    for kind, colour in _COLOURS.items():
        panel.barh(by_splits["splits"], by_splits[kind], left=left, color=colour, label=kind, height=0.62)
        left = left + by_splits[kind]
    for place, row in enumerate(by_splits.itertuples(index=False)):
        told = f"  {row.exact:,} + {row.near:,} + {row.mirrored:,}" if total.iloc[place] else "  none"
        panel.text(total.iloc[place], place, told, va="center", color=MUTED, fontsize=8.5)
    panel.set_xlim(0, max(1.0, 1.25 * total.max()))
    panel.invert_yaxis()
    panel.grid(visible=False, axis="y")
    panel.set_xlabel("pairs of images that show the same picture")
    panel.set_title(f"{dataset}: copies within and across splits")
    panel.legend(loc="lower right")
    return figure
