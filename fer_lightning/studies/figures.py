"""Figures of a study with captions.

Published and measured scores, training curves of the variants, critical-difference diagram, ROC and confusion matrix.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from fer_lightning.plots.predictions import draw_confusion, draw_roc
from fer_lightning.plots.style import (
    ACCENT,
    FAINT,
    INK,
    MUTED,
    TRAIN,
    VALIDATION,
    class_colour,
    class_dash,
    house_style,
)
from fer_lightning.plots.text import shorten
from fer_lightning.results.collect import pooled_predictions, read_history
from fer_lightning.results.critical_difference import CriticalDifference, critical_difference
from fer_lightning.studies.presentation import Cell, PresentedRow, PresentedTable

Picture = tuple[Figure, str]
_PANELS = (
    ("train/accuracy", "Accuracy, training"),
    ("val/accuracy", "Accuracy, validation"),
    ("train/loss", "Loss, training"),
    ("val/loss", "Loss, validation"),
)
_LINE = 0.62  # height of a name in the rank diagram, in units of the panel
_BAR = 0.3  # distance between two bars


def draw_study(
    heading: str,
    comparisons: Mapping[str, PresentedTable],
    titles: Mapping[str, str],
    shown: str | None,
    runs: pd.DataFrame,
) -> dict[str, Picture]:
    """Draws all figures that the runs allow.

    Args:
        heading: Heading of the study.
        comparisons: Comparison tables by published metric, the headline first.
        titles: Title by variant.
        shown: Variant with ROC and confusion matrix, usually the reference; None for neither.
        runs: Test rows of the runs (`score_table`).

    Returns:
        Figure and caption by file name without suffix: `scores`, `scores_<metric>` of metrics of classes, `curves`,
        `ranks`, `roc` and `confusion`, the last two per data set if there are several.
    """
    pictures: dict[str, Picture] = {}
    for number, (metric, comparison) in enumerate(comparisons.items()):
        if number == 0 or comparison.table["score"].str.contains("/").all():
            name = "scores" if number == 0 else f"scores_{metric.lower()}"
            claims = ", and what was published as a claim" if comparison.claimed else ""
            caption = f"Measured {metric} with 95 % intervals{claims}."
            pictures[name] = draw_comparison(comparison, f"{heading} ({metric})"), caption
    pictures |= _curves(runs, titles, shown)
    pictures |= _ranks(runs, titles)
    if shown is not None:
        pictures |= _predictions(runs[runs["variant"] == shown], titles[shown])
    return pictures


def _curves(runs: pd.DataFrame, titles: Mapping[str, str], shown: str | None) -> dict[str, Picture]:
    several = runs["dataset"].nunique() > 1
    short = _short(titles.values(), 44)
    histories: dict[str, list[pd.DataFrame]] = {}
    for variant, title in titles.items():
        for run in runs[runs["variant"] == variant].itertuples():
            name = f"{short[title]}, {run.dataset}" if several else short[title]
            if (history := read_history(str(run.folder))) is not None:
                histories.setdefault(name, []).append(history)
    if not histories:
        return {}
    caption = "Accuracy and loss by epoch: mean over seeds, the band from the lowest to the highest."
    highlighted = None if shown is None else short[titles[shown]]
    return {"curves": (draw_study_curves(histories, highlighted), caption)}


def _ranks(runs: pd.DataFrame, titles: Mapping[str, str]) -> dict[str, Picture]:
    """Rank diagram over the seeds that all variants with several seeds share."""
    if runs["dataset"].nunique() != 1 or runs.duplicated(["variant", "seed"]).any():
        return {}  # scores of data sets or folds are not comparable as seeds
    scores = runs.pivot(index="seed", columns="variant", values="accuracy")
    scores = scores.loc[:, scores.notna().sum() > 1].dropna()
    if scores.shape[0] < 2 or scores.shape[1] < 3:
        return {}
    short = _short(titles.values(), 34)
    result = critical_difference(scores.rename(columns={name: short[title] for name, title in titles.items()}))
    caption = f"Ranks by accuracy over {result.blocks} seeds, best left; they say nothing of other data."
    return {"ranks": (draw_rank_diagram(result), caption)}


def _predictions(runs: pd.DataFrame, title: str) -> dict[str, Picture]:
    pictures: dict[str, Picture] = {}
    for dataset, part in runs.groupby("dataset"):
        targets, probabilities, classes = pooled_predictions(part)
        of = "seed" if part["seed"].is_unique else "fold"
        seeds = f"{len(part)} {of}{'s' if len(part) != 1 else ''}"
        end = f"_{dataset}" if runs["dataset"].nunique() > 1 else ""
        pooled = ", their predictions pooled" if len(part) > 1 else ""
        subject = f"{title} on the test images of {dataset}, {seeds}{pooled}"
        for name, word, draw in (("roc", "ROC", draw_roc), ("confusion", "Confusion matrix", draw_confusion)):
            pictures[f"{name}{end}"] = draw(targets, probabilities, classes, f"test, {seeds}"), f"{word} of {subject}."
    return pictures


def _short(titles: Iterable[str], most: int) -> dict[str, str]:
    """Titles cut to a length, but not if two would become equal."""
    cut = {title: shorten(title, most) for title in titles}
    counts = Counter(cut.values())
    return {title: short if counts[short] == 1 else title for title, short in cut.items()}


@house_style
def draw_study_curves(histories: Mapping[str, Sequence[pd.DataFrame]], highlighted: str | None) -> Figure:
    """Training and validation curves of accuracy and loss (Figs. 5 to 7 of PsySFA-Net).

    A line is the mean over seeds; the band reaches from the lowest to the highest.

    Args:
        histories: A table per seed by title of the variant: column `epoch` and any of `train/accuracy`, `val/accuracy`,
            `train/loss` and `val/loss`, NaN if not measured.
        highlighted: Title that is drawn in black, or None.
    """
    figure = Figure(figsize=(11, 7.4 + 0.22 * ((len(histories) + 1) // 2)), layout="constrained")
    panels = figure.subplots(2, 2).flat
    for panel, (column, title) in zip(panels, _PANELS):
        panel.set_title(title)
        panel.set_xlabel("epoch")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if column.endswith("accuracy"):
            panel.yaxis.set_major_formatter(PercentFormatter(xmax=1))
        for number, (name, seeds) in enumerate(histories.items()):
            _draw_variant(panel, seeds, column, name, number, name == highlighted)
    handles = {label: handle for panel in figure.axes for handle, label in zip(*panel.get_legend_handles_labels())}
    labels = [label for label in map(_label, histories, histories.values()) if label in handles]
    figure.legend([handles[label] for label in labels], labels, loc="outside lower center", ncols=2)
    return figure


def _draw_variant(
    panel: Axes, seeds: Sequence[pd.DataFrame], column: str, name: str, number: int, highlighted: bool
) -> None:
    series = [each.set_index("epoch")[column].dropna() for each in seeds if column in each]
    together = pd.concat(series, axis="columns").sort_index() if series else pd.DataFrame()
    if together.empty:
        return
    colour = INK if highlighted else class_colour(number)
    mean = together.mean(axis="columns")
    panel.plot(
        mean.index,
        mean,
        color=colour,
        linestyle="-" if highlighted else class_dash(number),
        linewidth=2.6 if highlighted else 1.6,
        marker="o" if len(mean) == 1 else "",
        label=_label(name, seeds),
    )
    if len(series) > 1:
        low, high = together.min(axis="columns"), together.max(axis="columns")
        panel.fill_between(mean.index, low, high, color=colour, alpha=0.1, linewidth=0)


def _label(name: str, seeds: Sequence[pd.DataFrame]) -> str:
    return f"{name}, {len(seeds)} seed{'s' if len(seeds) != 1 else ''}"


@house_style
def draw_rank_diagram(result: CriticalDifference, blocks: str = "seeds") -> Figure:
    """Critical-difference diagram: mean ranks, best left; a bar joins ranks without significant difference.

    The title names the `blocks` that the ranks are over. Source: Demšar, JMLR 7, 2006, figure 1.
    """
    count = len(result.ranks)
    left = (count + 1) // 2
    depth = _BAR * (len(result.groups) + 1) + _LINE * left
    figure = Figure(figsize=(10, 1.6 + 0.5 * depth), layout="constrained")
    panel = figure.subplots()
    margin = 0.45 * (count - 1)  # for the names
    panel.set(xlim=(1 - margin, count + margin), ylim=(_LINE - depth - 0.35, 1.1))
    panel.axis("off")
    panel.plot([1, count], [0, 0], color=MUTED, linewidth=1)
    for rank in range(1, count + 1):
        panel.plot([rank, rank], [0, 0.12], color=MUTED, linewidth=1)
        panel.text(rank, 0.2, str(rank), ha="center", va="bottom", fontsize=9, color=MUTED)
    _draw_critical(panel, result)
    top = _BAR * (len(result.groups) + 1)
    for place, (name, rank) in enumerate(result.ranks.items()):
        to_left = place < left
        height = -top - _LINE * (place if to_left else count - 1 - place)
        end = 1 - 0.04 * margin if to_left else count + 0.04 * margin
        panel.plot([rank, rank, end], [0, height, height], color=INK, linewidth=0.9)
        panel.plot([rank], [0], "o", color=VALIDATION, markersize=6, markeredgecolor="white", zorder=3)
        label = f"{name}  {rank:.2f}" if to_left else f"{rank:.2f}  {name}"
        shift = -0.03 * margin if to_left else 0.03 * margin
        panel.text(end + shift, height, label, ha="right" if to_left else "left", va="center")
    for place, group in enumerate(result.groups):
        ranks = result.ranks[group]
        height = -_BAR * (place + 1)
        panel.plot([ranks.min() - 0.03, ranks.max() + 0.03], [height, height], color=ACCENT, linewidth=4)
    panel.set_title(
        f"Mean rank over {result.blocks} {blocks}: Friedman p {_p(result.friedman_p)};\n"
        "a bar joins what Nemenyi does not tell apart"
    )
    return figure


def _draw_critical(panel: Axes, result: CriticalDifference) -> None:
    end = 1 + result.critical
    panel.plot([1, end], [0.75, 0.75], color=ACCENT, linewidth=1.6)
    for edge in (1, end):
        panel.plot([edge, edge], [0.68, 0.82], color=ACCENT, linewidth=1.6)
    label = f"critical difference {result.critical:.2f} (level {result.alpha:g})"
    panel.text(1, 0.92, label, ha="left", va="bottom", fontsize=9, color=ACCENT)


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


@house_style
def draw_comparison(comparison: PresentedTable, title: str) -> Figure:
    """Bars of the measured means with 95 % intervals, and marks of the published scores, by row.

    If rows were tested against a reference, a second panel shows the published and measured differences to it.
    """
    lines = comparison.lines
    tested = any(line.difference.order is not None for line in lines)
    figure = Figure(figsize=(12 if tested else 8, 1.9 + 0.42 * len(lines)), layout="constrained")
    panels = figure.subplots(1, 2 if tested else 1, sharey=True, squeeze=False)[0]
    _draw_scores(panels[0], lines)
    if tested:
        panels[1].axvline(0, color=MUTED, linewidth=1)
        centres = _draw_intervals(panels[1], [line.difference for line in lines], 100, None)
        panels[1].plot(
            centres, range(len(lines)), "o", color=VALIDATION, markersize=7, markeredgecolor="white", zorder=4
        )
        _draw_claims(panels[1], [line.published_difference for line in lines], 100)
        panels[1].set(title="Difference to the reference", xlabel="points")
    panels[0].set_yticks(range(len(lines)), [shorten(line.title, 44) for line in lines])
    for panel in panels:
        panel.set_ylim(len(lines) - 0.4, -0.6)
        panel.tick_params(axis="y", length=0)
        panel.grid(axis="y", visible=False)
    figure.suptitle(title, x=0.01, ha="left", weight="bold")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5)
    return figure


def _draw_scores(panel: Axes, lines: Sequence[PresentedRow]) -> None:
    _draw_credible(panel, [line for line in lines if line.credible.low is not None])
    run = [place for place, line in enumerate(lines) if line.n_seeds]
    means = np.array([lines[place].measured.order for place in run], dtype=np.float64)
    panel.barh(run, means, height=0.58, color=VALIDATION, alpha=0.85, label="measured mean")
    _draw_intervals(panel, [line.measured for line in lines], 1, "95 % interval")
    for place in sorted({*range(len(lines))} - {*run}):
        panel.text(0.01, place, "not run", va="center", fontsize=9, color=MUTED)
    _draw_claims(panel, [line.published for line in lines], 1)
    panel.set(xlim=(0, 1.02), title="Score")
    panel.xaxis.set_major_formatter(PercentFormatter(xmax=1))


def _draw_intervals(panel: Axes, cells: Sequence[Cell], scale: float, label: str | None) -> np.ndarray:
    """Draws the intervals, one per line, and returns their centres `(N,)`, NaN for cells without a number."""
    values = scale * np.array([[cell.order, cell.low, cell.high] for cell in cells], dtype=np.float64)
    known = np.flatnonzero(np.isfinite(values).all(axis=1))
    if known.size:
        centre, low, high = values[known].T
        panel.errorbar(
            centre,
            known,
            xerr=[centre - low, high - centre],
            fmt="none",
            ecolor=INK,
            elinewidth=1.4,
            capsize=3,
            label=label,
            zorder=3,
        )
    return values[:, 0]


def _draw_claims(panel: Axes, cells: Sequence[Cell], scale: float) -> None:
    known = {place: scale * cell.order for place, cell in enumerate(cells) if cell.order is not None}
    if known:
        label = "published, as a claim"
        panel.plot(list(known.values()), list(known), "D", color=ACCENT, markersize=5, label=label, zorder=5)


def _draw_credible(panel: Axes, lines: Sequence[PresentedRow]) -> None:
    if len({(line.credible.low, line.credible.high) for line in lines}) == 1:
        low, high = lines[0].credible.low, lines[0].credible.high
        assert low is not None and high is not None
        panel.axvspan(low, max(high, low + 0.004), color=FAINT, zorder=0, label="credible best of others")
    agreements = {line.agreement.order for line in lines if line.agreement.order is not None}
    if len(agreements) == 1:
        dashes = (0, (4, 2))
        panel.axvline(
            agreements.pop(), color=TRAIN, linestyle=dashes, linewidth=1.4, zorder=1, label="annotator agreement"
        )
