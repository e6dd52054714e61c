"""From frame to label: who takes how long, and what with."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fer_lightning.plots.style import ACCENT, CLASS_COLOURS, INK, MUTED, TRAIN, VALIDATION, house_style

PARTS = ("detect", "align", "classify")


@house_style
def draw_pipeline_benchmark(table: pd.DataFrame, title: str) -> Figure:
    """Draws the medians from frame to label as bars with their 95th percentiles, and the parts of those that tell them.

    Args:
        table: One row a contestant and stage, `who`, `stage`, `median_ms`, `p95_ms`, `fps` and `ratio`; ours are
            called so, and some have the stages `detect`, `align` and `classify`.
        title: Of the figure.
    """
    whole = table[table["stage"] == "whole"].reset_index(drop=True)
    parts = table[table["stage"].isin(PARTS)]
    ours = [who for who in whole["who"] if str(who).startswith("ours")]
    figure = Figure(figsize=(12, 1.9 + 0.45 * len(whole)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _draw_whole(left, whole, ours)
    _draw_parts(right, parts, list(dict.fromkeys(parts["who"])))
    figure.suptitle(title, x=0.01, ha="left", weight="bold")
    return figure


def _draw_whole(panel: Axes, whole: pd.DataFrame, ours: list[str]) -> None:
    colours = [VALIDATION if who in ours else TRAIN for who in whole["who"]]
    whiskers = [[0.0] * len(whole), (whole["p95_ms"] - whole["median_ms"]).clip(lower=0)]
    panel.barh(whole.index, whole["median_ms"], height=0.6, color=colours, alpha=0.9)
    panel.errorbar(whole["median_ms"], whole.index, xerr=whiskers, fmt="none", ecolor=INK, elinewidth=1.4, capsize=3)
    for place, row in whole.iterrows():
        told = f"{row['fps']:.0f} frames/s, {row['ratio']:.1f} x"
        panel.annotate(
            told,
            (row["p95_ms"], place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
    panel.axvline(1000 / 30, color=ACCENT, linewidth=1.2, linestyle=(0, (4, 2)), zorder=1)
    panel.annotate(
        "30 frames/s", (1000 / 30, -0.55), xytext=(3, 0), textcoords="offset points", color=ACCENT, fontsize=8
    )
    panel.set_yticks(whole.index, whole["who"])
    panel.set(xlim=(0, 1.3 * whole["p95_ms"].max()), ylim=(len(whole) - 0.4, -0.8))
    panel.set(title="From frame to label: median and 95th percentile", xlabel="ms a frame")
    panel.tick_params(axis="y", length=0)
    panel.grid(axis="y", visible=False)


def _draw_parts(panel: Axes, parts: pd.DataFrame, ours: list[str]) -> None:
    medians = parts.pivot(index="who", columns="stage", values="median_ms").loc[ours, list(PARTS)]
    start = pd.Series(0.0, index=ours)
    for colour, stage in zip(CLASS_COLOURS[4:], PARTS):
        panel.barh(range(len(ours)), medians[stage], left=start, height=0.6, color=colour, label=stage)
        start = start + medians[stage]
    for place, total in enumerate(start):
        panel.annotate(
            f"{total:.1f} ms", (total, place), xytext=(6, 0), textcoords="offset points", va="center", color=MUTED
        )
    panel.set_yticks(range(len(ours)), ours)
    panel.set(xlim=(0, 1.25 * start.max()), ylim=(len(ours) - 0.4, -0.8))
    panel.set(title="Our parts, medians", xlabel="ms a frame")
    panel.tick_params(axis="y", length=0)
    panel.grid(axis="y", visible=False)
    panel.legend(loc="upper right", ncols=3)
