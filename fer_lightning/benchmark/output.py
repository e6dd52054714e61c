"""Tables, figures and files of all benchmarks."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.table import Table

from fer_lightning.evaluation.efficiency import describe_hardware
from fer_lightning.files import claims_dir, write_csv, write_json
from fer_lightning.plots.style import ACCENT, CLASS_COLOURS, INK, MUTED, TRAIN, VALIDATION, house_style, save_figures
from fer_lightning.plots.text import escape, score_table
from fer_lightning.results.critical_difference import critical_difference
from fer_lightning.results.run_record import describe_code
from fer_lightning.studies.comparison_table import read_published
from fer_lightning.studies.figures import draw_rank_diagram

PARTS = ("detect", "align", "classify")
_SUMMARY = {"budget", "sampler", "mean_rank", "low", "high", "ask_ms"}


@house_style
def draw_pipeline_benchmark(table: pd.DataFrame, title: str) -> Figure:
    """Draws median times from frame to label as bars with 95th percentiles, and the stages of our own programs.

    Args:
        table: One row per program and stage with `who`, `stage`, `median_ms`, `p95_ms`, `fps` and `ratio`. The names of
            our own programs begin with `"ours"`; some programs have the stages `detect`, `align` and `classify`.
        title: Title of the figure.
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
    error = {"ecolor": INK, "elinewidth": 1.4, "capsize": 3}
    bars = panel.barh(
        whole.index, whole["median_ms"], xerr=whiskers, error_kw=error, height=0.6, color=colours, alpha=0.9
    )
    labels = [f"{fps:.0f} frames/s, {ratio:.1f} x" for fps, ratio in zip(whole["fps"], whole["ratio"])]
    panel.bar_label(bars, labels, padding=6, fontsize=9, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})
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
        bars = panel.barh(range(len(ours)), medians[stage], left=start, height=0.6, color=colour, label=stage)
        start = start + medians[stage]
    panel.bar_label(bars, [f"{total:.1f} ms" for total in start], padding=6, color=MUTED)
    panel.set_yticks(range(len(ours)), ours)
    panel.set(xlim=(0, 1.25 * start.max()), ylim=(len(ours) - 0.4, -0.8))
    panel.set(title="Our stages, medians", xlabel="ms a frame")
    panel.tick_params(axis="y", length=0)
    panel.grid(axis="y", visible=False)
    panel.legend(loc="upper right", ncols=3)


def whole_table(table: pd.DataFrame, title: str) -> Table:
    """Times of all programs from frame to label.

    Args:
        table: As for `draw_pipeline_benchmark`, with the stage `cpu`, `ratio_low`, `ratio_high`, `peak_memory_mb`,
            `label` and `found`.
        title: Title of the table.
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
        "ms: elapsed time from frame to label; CPU: processor time in ms; times: ratio to the first program by round; "
        "MB: peak memory; label: followed by the share of frames with a face where that is below 100 %"
    )
    return drawn


def parts_table(table: pd.DataFrame) -> Table:
    """Times of the stages of our own programs: medians, and 95th percentiles in brackets."""
    drawn = score_table("Our stages: median ms (95th percentile)", ["who"], PARTS)
    parts = table[table["stage"].isin(PARTS)]
    for who, rows in parts.groupby("who", sort=False):
        cells = rows.set_index("stage").loc[list(PARTS)]
        drawn.add_row(escape(who), *(f"{row['median_ms']:.2f} ({row['p95_ms']:.2f})" for _, row in cells.iterrows()))
    return drawn


def _label(row: pd.Series) -> str:
    if row["found"] == 0:
        return "no face found"
    return f"{row['label']}" if row["found"] == 1 else f"{row['label']}, {row['found']:.0%}"


def speed_table(table: pd.DataFrame, title: str) -> Table:
    """Measured speed of a network on a GPU, above the claim of HAFEM's abstract.

    Args:
        table: `precision`, `median_ms`, `p95_ms`, `fps` and `peak_memory_mb`.
        title: Title of the table.
    """
    drawn = score_table(title, ["precision"], ["ms", "p95", "frames/s", "MB"])
    for _, row in table.iterrows():
        memory = "-" if pd.isna(row["peak_memory_mb"]) else f"{row['peak_memory_mb']:.0f}"
        drawn.add_row(row["precision"], f"{row['median_ms']:.2f}", f"{row['p95_ms']:.2f}", f"{row['fps']:.0f}", memory)
    claims = read_published(claims_dir() / "hafem" / "published.csv")
    claim = claims[(claims["row"] == "HAFEM") & (claims["metric"] == "speed")].iloc[0]
    drawn.add_section()
    drawn.add_row("HAFEM's claim", "", "", f"{claim['value']:.0f}", "")
    drawn.caption = f"HAFEM's abstract: {claim['note']}"
    return drawn


def write_benchmark(
    folder: Path, table: pd.DataFrame, facts: Mapping[str, Any], device: torch.device, figures: Mapping[str, Figure]
) -> list[Path]:
    """Writes `benchmark.csv`, `benchmark.json` and figures.

    Args:
        folder: Folder of the files.
        table: Results.
        facts: Further plain values of the record, without paths of this machine.
        device: Device on which they were measured.
        figures: Figures by file name without suffix.

    Returns:
        Paths of the files.
    """
    hardware = describe_hardware(device, "float32")
    del hardware["threads"]  # those of this process, which times nothing on the CPU; the table has the programs' own
    write_csv(folder / "benchmark.csv", table, index=False, float_format="%.4g")
    record = {
        **facts,
        **describe_code(),
        "hardware": hardware,
        "results": json.loads(table.to_json(orient="records")),  # NaN becomes null
    }
    write_json(folder / "benchmark.json", record)
    return [folder / "benchmark.csv", folder / "benchmark.json", *save_figures(folder, figures)]


def throughput_table(times: pd.DataFrame, title: str) -> Table:
    """Medians of `measure_throughput`, and of the ratios by round to the first predictor."""
    drawn = score_table(title, ["source", "predictor"], ["faces/s", "times", "faces per CPU s", "times"])
    for source, rows in times.groupby("source", sort=False):
        rates = [
            rows.assign(rate=rows["faces"] / rows[column]).pivot(index="round", columns="who", values="rate")
            for column in ("seconds", "cpu_seconds")
        ]
        for who in (names := list(dict.fromkeys(rows["who"]))):
            cells = [(f"{rate[who].median():.1f}", f"{(rate[who] / rate[names[0]]).median():.2f}") for rate in rates]
            drawn.add_row(escape(str(source)), escape(who), *cells[0], *cells[1])
        drawn.add_section()
    drawn.caption = "times: ratio to the first predictor, median of the ratios of the rounds"
    return drawn


def rates_table(rates: pd.DataFrame, precision: str) -> Table:
    """Medians of `training_rates`, and medians of their ratios by round."""
    threads = torch.get_num_threads()
    title = f"Images per second, median of {len(rates)} rounds, {threads} thread(s), {precision}"
    table = Table("what", "images/s", title=title)
    for name in rates:
        table.add_row(str(name), f"{rates[name].median():,.0f}")
    table.add_section()
    table.add_row("fer train : plain loop", f"{(rates['fer train'] / rates['plain loop']).median():.2f} x")
    table.add_row("fer train : net alone", f"{(rates['fer train'] / rates['net alone']).median():.2f} x")
    table.add_row("loader alone : net alone", f"{(rates['loader alone'] / rates['net alone']).median():.1f} x")
    return table


def without_attention(name: str) -> str:
    """Name of the column of a network without its attention."""
    return f"{name} without attention"


def latency_table(times: pd.DataFrame, names: Sequence[str]) -> Table:
    """Median times of networks; `times` has a column for each, and one named `without_attention(name)`."""
    table = Table("net", "ms", title=f"One picture, median of {len(times)} rounds, 1 thread, float32")
    for column in times:
        table.add_row(escape(column), f"{times[column].median():.1f}")
    table.add_section()
    for name in names:
        ratio = (times[name] / times[without_attention(name)]).median()
        table.add_row(escape(f"{name} : without attention"), f"{ratio:.3f} x")
    return table


def rank_table(ranks: pd.DataFrame, problems: int, seeds: int) -> Table:
    """Mean ranks of samplers at each budget, as `rank_samplers` returns them, over a number of problems and seeds."""
    title = f"Mean rank of the median regret on {problems} problems, {seeds} seeds"
    table = score_table(title, ["evaluations", "sampler"], ["mean rank", "95 % over seeds", "CPU ms per ask"])
    for budget, rows in ranks.groupby("budget"):
        for row in rows.itertuples():
            interval = f"{row.low:.1f} to {row.high:.1f}"
            table.add_row(str(budget), escape(row.sampler), f"{row.mean_rank:.1f}", interval, f"{row.ask_ms:.2f}")
        table.add_section()
    return table


@house_style
def draw_search_ranks(ranks: pd.DataFrame) -> Figure:
    """Draws one panel per budget with each sampler's mean rank, its interval, and its rank on every problem.

    Args:
        ranks: Result of `rank_samplers`; samplers named `mboa ...` have another colour.
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


def draw_search_tests(regrets: pd.DataFrame) -> dict[str, Figure]:
    """Draws a rank diagram with the critical difference over the problems for each budget, by the name of its file.

    Args:
        regrets: Result of `median_regrets`; budgets with fewer than three samplers or two problems have no diagram.
    """
    figures = {}
    for budget, rows in regrets.groupby(level="budget"):
        scores = -rows.droplevel("budget").dropna(axis=1)
        if scores.shape[0] > 1 and scores.shape[1] > 2:
            result = critical_difference(scores)
            figures[f"critical_difference_{budget}"] = draw_rank_diagram(result, f"problems, {budget} evaluations")
    return figures


def _draw_budget(panel: Axes, table: pd.DataFrame, problems: list[str]) -> None:
    panel.grid(axis="y", visible=False)
    panel.set_yticks(range(len(table)), table["sampler"])
    panel.tick_params(axis="y", length=0)
    for place, row in table.iterrows():
        colour = ACCENT if row["sampler"].startswith("mboa") else VALIDATION
        # Equal ranks would overlap, so they are spread vertically in the order of the problems.
        heights = place + np.linspace(-0.24, 0.24, len(problems))
        first = place == 0
        label = "single problem" if first else None
        panel.plot(row[problems], heights, "o", markersize=4, markeredgewidth=0, color=TRAIN, alpha=0.6, label=label)
        label = "95 % over seeds" if first else None
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
