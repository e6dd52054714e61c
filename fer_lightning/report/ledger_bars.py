"""Published and measured, row by row, with intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from fer_lightning.report.short_title import shorten
from fer_lightning.plots.style import ACCENT, FAINT, INK, MUTED, TRAIN, VALIDATION, house_style


@house_style
def draw_ledger(ledger: pd.DataFrame, title: str) -> Figure:
    """Draws each measured mean as a bar with its 95 % interval and each published number as a mark.

    Where rows were tested against a reference, a second panel shows the differences to it, claimed and measured: small
    ones would vanish in the first.

    Args:
        ledger: As `build_ledger` returns it.
        title: Of the figure.
    """
    tested = ledger["difference"].notna().any()
    figure = Figure(figsize=(12 if tested else 8, 1.9 + 0.42 * len(ledger)), layout="constrained")
    panels = figure.subplots(1, 2 if tested else 1, sharey=True, squeeze=False)[0]
    _draw_scores(panels[0], ledger)
    if tested:
        _draw_differences(panels[1], ledger)
    panels[0].set_yticks(range(len(ledger)), [shorten(row, 44) for row in ledger["row"]])
    for panel in panels:
        panel.set_ylim(len(ledger) - 0.4, -0.6)
        panel.tick_params(axis="y", length=0)
        panel.grid(axis="y", visible=False)
    figure.suptitle(title, x=0.01, ha="left", weight="bold")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5)
    return figure


def _draw_scores(panel: Axes, ledger: pd.DataFrame) -> None:
    places = np.arange(len(ledger))
    run = (ledger["n_seeds"] > 0).to_numpy()
    _draw_credible(panel, ledger)
    panel.barh(places[run], ledger["mean"][run], height=0.58, color=VALIDATION, alpha=0.85, label="measured mean")
    _draw_intervals(panel, places, ledger[["mean", "low", "high"]].to_numpy(np.float64), "95 % interval")
    for place in places[~run]:
        panel.text(0.01, place, "not run", va="center", fontsize=9, color=MUTED)
    _draw_claims(panel, places, ledger["published"].to_numpy(np.float64))
    panel.set(xlim=(0, 1.02), title="Score")
    panel.xaxis.set_major_formatter(PercentFormatter(xmax=1))


def _draw_differences(panel: Axes, ledger: pd.DataFrame) -> None:
    places = np.arange(len(ledger))
    values = 100 * ledger[["difference", "difference_low", "difference_high"]].to_numpy(np.float64)
    panel.axvline(0, color=MUTED, linewidth=1)
    _draw_intervals(panel, places, values, None)
    panel.plot(values[:, 0], places, "o", color=VALIDATION, markersize=7, markeredgecolor="white", zorder=4)
    _draw_claims(panel, places, 100 * ledger["published_difference"].to_numpy(np.float64))
    panel.set(title="Difference to the reference", xlabel="points")


def _draw_intervals(panel: Axes, places: np.ndarray, values: np.ndarray, label: str | None) -> None:
    """Draws those that exist.

    Args:
        panel: Where.
        places: Heights `(N,)`.
        values: Centre, lower and upper end, `(N, 3)`.
        label: For the legend.
    """
    known = np.isfinite(values).all(axis=1)
    if known.any():
        centre, low, high = values[known].T
        panel.errorbar(
            centre,
            places[known],
            xerr=[centre - low, high - centre],
            fmt="none",
            ecolor=INK,
            elinewidth=1.4,
            capsize=3,
            label=label,
            zorder=3,
        )


def _draw_claims(panel: Axes, places: np.ndarray, claims: np.ndarray) -> None:
    known = np.isfinite(claims)
    if known.any():
        label = "published, as a claim"
        panel.plot(claims[known], places[known], "D", color=ACCENT, markersize=5, label=label, zorder=5)


def _draw_credible(panel: Axes, ledger: pd.DataFrame) -> None:
    known = ledger.dropna(subset="credible_low")
    if known[["credible_low", "credible_high"]].drop_duplicates().shape[0] == 1:
        low, high = known[["credible_low", "credible_high"]].iloc[0]
        panel.axvspan(low, max(high, low + 0.004), color=FAINT, zorder=0, label="credible best of others")
    if known["annotator_agreement"].nunique() == 1:
        agreement = known["annotator_agreement"].dropna().iloc[0]
        dashes = (0, (4, 2))
        panel.axvline(agreement, color=TRAIN, linestyle=dashes, linewidth=1.4, zorder=1, label="annotator agreement")
