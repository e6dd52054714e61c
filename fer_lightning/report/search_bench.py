"""How samplers rank, budget by budget."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fer_lightning.plots.style import ACCENT, MUTED, TRAIN, VALIDATION, house_style

_SUMMARY = {"budget", "sampler", "mean_rank", "low", "high", "ask_ms"}


@house_style
def draw_search_ranks(ranks: pd.DataFrame) -> Figure:
    """Draws one panel a budget: each sampler's mean rank, its interval, and its rank on every problem.

    Args:
        ranks: As `fer_lightning.report.search_ranks.rank_samplers` returns it. Samplers named `mboa ...` are coloured.
    """
    budgets = ranks["budget"].unique()
    problems = [name for name in ranks if name not in _SUMMARY]
    most = ranks.groupby("budget").size().max()
    figure = Figure(figsize=(4.2 * len(budgets), 1.6 + 0.36 * most), layout="constrained")
    panels = figure.subplots(1, len(budgets), squeeze=False)[0]
    for panel, budget in zip(panels, budgets):
        _draw_budget(panel, ranks[ranks["budget"] == budget].reset_index(drop=True), problems)
        panel.set(title=f"{budget} evaluations", xlim=(0.5, most + 0.5), ylim=(most - 0.4, -0.6))
        panel.set_xticks(range(1, most + 1))
        panel.set_xlabel("rank of the median regret (1 is best)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


def _draw_budget(panel: Axes, table: pd.DataFrame, problems: list[str]) -> None:
    panel.grid(axis="y", visible=False)
    panel.set_yticks(range(len(table)), table["sampler"])
    panel.tick_params(axis="y", length=0)
    for place, row in table.iterrows():
        colour = ACCENT if row["sampler"].startswith("mboa") else VALIDATION
        # Equal ranks would hide each other: they are spread downwards in the order of the problems.
        heights = place + np.linspace(-0.24, 0.24, len(problems))
        first = place == 0
        label = "on one problem" if first else None
        panel.plot(row[problems], heights, "o", markersize=4, markeredgewidth=0, color=TRAIN, alpha=0.6, label=label)
        label = "95 % of redrawn seeds" if first else None
        panel.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=2.4, alpha=0.5, label=label)
        label = "mean over problems" if first else None
        panel.plot([row["mean_rank"]], [place], "o", markersize=8, markeredgecolor="white", color=colour, label=label)
        panel.annotate(
            f"{row['mean_rank']:.1f}",
            (row["mean_rank"], place),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=MUTED,
        )
