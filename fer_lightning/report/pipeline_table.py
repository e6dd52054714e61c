"""From frame to label, in the terminal."""

from __future__ import annotations

import math

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table

from fer_lightning.benchmark.output import PARTS
from fer_lightning.report.terminal import escape


def whole_table(table: pd.DataFrame, title: str) -> Table:
    """Who takes how long from frame to label.

    Args:
        table: As for `draw_pipeline_benchmark`, with the stage `cpu`, `ratio_low`, `ratio_high`, `peak_memory_mb`,
            `label` and `found`.
        title: Of the table.
    """
    drawn = Table(title=escape(title), box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("who", "ms", "p95", "fps", "CPU", "times", "95 %", "MB", "label"):
        drawn.add_column(heading, justify="left" if heading in ("who", "label") else "right", no_wrap=True)
    processor = table[table["stage"] == "cpu"].set_index("who")["median_ms"]
    for _, row in table[table["stage"] == "whole"].iterrows():
        drawn.add_row(
            escape(row["who"]),
            f"{row['median_ms']:.1f}",
            f"{row['p95_ms']:.1f}",
            f"{row['fps']:.0f}",
            f"{processor[row['who']]:.1f}",
            f"{row['ratio']:.2f}",
            "" if math.isnan(row["ratio_low"]) else f"{row['ratio_low']:.2f}-{row['ratio_high']:.2f}",
            "-" if pd.isna(row["peak_memory_mb"]) else f"{row['peak_memory_mb']:.0f}",
            escape(_label(row)),
        )
    drawn.caption = (
        "ms: elapsed, frame to label; CPU: ms of processor time; times: as long as the first, round by round; "
        "MB: most memory; label: with the share of frames in which a face was found, unless it is all"
    )
    return drawn


def parts_table(table: pd.DataFrame) -> Table:
    """What our own time goes into: medians, and 95th percentiles in brackets."""
    drawn = Table("who", title="Our parts: median ms (95th percentile)")
    for part in PARTS:
        drawn.add_column(part, justify="right")
    parts = table[table["stage"].isin(PARTS)]
    for who, rows in parts.groupby("who", sort=False):
        cells = rows.set_index("stage").loc[list(PARTS)]
        drawn.add_row(escape(who), *(f"{row['median_ms']:.2f} ({row['p95_ms']:.2f})" for _, row in cells.iterrows()))
    return drawn


def _label(row: pd.Series) -> str:
    if row["found"] == 0:
        return "no face found"
    return f"{row['label']}" if row["found"] == 1 else f"{row['label']}, {row['found']:.0%}"
