"""Accuracy on corrupted images: curves, table, and the images themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from fer_lightning.errors import UserError
from fer_lightning.plots.contact_sheet import rgb
from fer_lightning.plots.style import MUTED, class_colour, house_style
from fer_lightning.plots.text import percent, table_markdown
from fer_lightning.results.collect import read_predictions, require_one_protocol

_COLUMNS = 5


def read_robustness(runs: pd.DataFrame) -> pd.DataFrame:
    """Accuracies of runs under corruptions; runs without them are skipped.

    Args:
        runs: Columns `variant`, `seed`, `folder` and `protocol`, as returned by `collect_runs`; a folder in several
            rows counts once.

    Returns:
        The columns `variant`, `seed`, `corruption`, `severity` and `accuracy`, in the order of the runs; `severity` 0
        is the clean images.

    Raises:
        UserError: No run was scored under corruptions, or the protocols or the corruptions of the runs differ.
    """
    scored = _scored(runs)
    if scored.empty:
        raise UserError("No run was scored under corruptions: train or evaluate with corruptions=all.")
    require_one_protocol(scored)
    tables = [
        pd.read_csv(Path(run.folder) / "robustness.csv").assign(variant=run.variant, seed=run.seed)
        for run in scored.itertuples()
    ]
    if len({tuple(zip(table["corruption"], table["severity"])) for table in tables}) > 1:
        raise UserError("The runs were scored under different corruptions: use the same corruptions=... for all.")
    columns = ["variant", "seed", "corruption", "severity", "accuracy"]
    return pd.concat(tables, ignore_index=True)[columns]


def robustness_figures(runs: pd.DataFrame) -> dict[str, Figure]:
    """Curves of all runs by file name without suffix; `runs` as in `read_robustness`."""
    table = read_robustness(runs)
    predictions = read_predictions(_scored(runs)["folder"].iloc[0])
    scored = predictions[predictions["split"] == predictions["split"].iloc[-1]]  # fer train writes val before test
    return {"robustness": draw_robustness(table, scored["target"].value_counts(normalize=True).max())}


def _scored(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that were scored under corruptions, one row each."""
    there = [(Path(folder) / "robustness.csv").is_file() for folder in runs["folder"]]
    return runs[there].drop_duplicates("folder")


def _require_clean(table: pd.DataFrame) -> None:
    for (variant, seed), rows in table.groupby(["variant", "seed"], sort=False):
        if not ((rows["severity"] == 0) & (rows["corruption"] == "clean")).any():
            raise UserError(
                f"robustness.csv of {variant}, seed {seed}, must have a row `clean` with severity 0, of the images "
                "without corruption; it has none: score the run again with fer evaluate corruptions=all."
            )


@house_style
def draw_robustness(table: pd.DataFrame, floor: float) -> Figure:
    """Draws accuracy over severity with one panel per corruption and one line per variant.

    A line is the mean over seeds, with a band from the lowest to the highest seed. A thin horizontal line marks the
    accuracy on clean images (severity 0).

    Args:
        table: Result of `read_robustness`.
        floor: Accuracy of always predicting the most frequent class.

    Raises:
        UserError: A run has no accuracy on clean images.
    """
    _require_clean(table)
    names = [name for name in table["corruption"].unique() if name != "clean"]
    rows = math.ceil(len(names) / _COLUMNS)
    columns = min(len(names), _COLUMNS)
    figure = Figure(figsize=(max(2.6 * columns + 0.6, 5), 2.5 * rows + 0.8), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for panel, name in zip(panels, names):
        panel.set_title(name.replace("_", " "), fontsize=10.5)
        for index, (variant, rows) in enumerate(table.groupby("variant", sort=False)):
            _draw_line(panel, rows[rows["corruption"].isin(["clean", name])], str(variant), class_colour(index))
        panel.axhline(floor, color=MUTED, linewidth=1, linestyle=(0, (2, 2)), zorder=1, label="most frequent class")
    for panel in panels[len(names) :]:
        panel.axis("off")
    panels[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[0].yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    panels[0].set_xlim(-0.25, 5.25)
    panels[0].set_ylim(0, table["accuracy"].max() * 1.05)
    figure.supxlabel("severity", fontsize=10)
    figure.supylabel("accuracy", fontsize=10)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=4)
    return figure


def _draw_line(panel: Axes, rows: pd.DataFrame, label: str, colour: str) -> None:
    seeds = rows.groupby("severity")["accuracy"].agg(["mean", "min", "max"])
    panel.axhline(seeds.loc[0, "mean"], color=colour, linewidth=0.8, alpha=0.5)
    panel.fill_between(seeds.index, seeds["min"], seeds["max"], color=colour, alpha=0.15, linewidth=0)
    panel.plot(seeds.index, seeds["mean"], color=colour, marker="o", markersize=3.5, label=label)


def robustness_table(table: pd.DataFrame) -> str:
    """Markdown table of the mean accuracy over the severities of each corruption, and its loss from the clean accuracy.

    Args:
        table: Result of `read_robustness`.

    Returns:
        One row per corruption and one column per variant: mean over seeds, standard deviation of several seeds, and in
        brackets the change relative to the clean accuracy.

    Raises:
        UserError: A run has no accuracy on clean images.
    """
    _require_clean(table)
    variants = list(table["variant"].unique())
    names = [name for name in table["corruption"].unique() if name != "clean"]
    means = table.groupby(["variant", "seed", "corruption"], sort=False)["accuracy"].mean()
    seeds = means.unstack("corruption")  # (variant, seed) x corruption
    seeds["mean of all"] = seeds[names].mean(axis=1)
    rows = ["clean", *names, "mean of all"]
    cells = {v: [_measured(seeds.loc[v, name]) + _change(seeds.loc[v], name) for name in rows] for v in variants}
    return table_markdown(pd.DataFrame({"corruption": [name.replace("_", " ") for name in rows], **cells})) + "\n"


def _measured(accuracy: pd.Series) -> str:
    mean = percent(accuracy.mean())
    return mean if len(accuracy) == 1 else f"{mean} ± {100 * accuracy.std():.1f}"


def _change(seeds: pd.DataFrame, name: str) -> str:
    return "" if name == "clean" else f" ({100 * (seeds[name].mean() / seeds['clean'].mean() - 1):+.0f} %)"


@house_style
def draw_corruptions(pictures: Mapping[str, np.ndarray]) -> Figure:
    """Draws one image under every corruption and severity.

    Args:
        pictures: For each corruption uint8 `(1 + severities, H, W, C)` with one or three channels: the clean image,
            then those of severity 1 and so on.
    """
    count = len(next(iter(pictures.values())))
    headings = ["clean", *map(str, range(1, count))]
    label, cell = 1.35, 0.85
    figure = Figure(figsize=(label + cell * count, cell * len(pictures) + 0.3), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)  # type: ignore[union-attr, call-arg]
    panels = figure.subplots(len(pictures), count, squeeze=False)
    for line, (name, versions) in zip(panels, pictures.items()):
        for panel, picture in zip(line, versions):
            panel.imshow(rgb(picture), interpolation="nearest")
            panel.set(xticks=[], yticks=[])
            panel.spines[:].set_visible(False)
        line[0].set_ylabel(name.replace("_", " "), rotation=0, ha="right", va="center", fontsize=9)
    for panel, heading in zip(panels[0], headings):
        panel.set_title(heading, fontsize=9, loc="center", pad=4)
    return figure
