"""Report of a study of the optimism of selection on the test split: tables, figures and verdict."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from fer_lightning.errors import UserError
from fer_lightning.plots.style import INK, MUTED, class_colour, class_dash, house_style
from fer_lightning.plots.text import percent, shorten
from fer_lightning.results.collect import require_same_protocol, run_table
from fer_lightning.results.intervals import SeedMean, mean_over_seeds
from fer_lightning.results.selection_optimism import (
    SIZES,
    TrackedPredictions,
    epoch_accuracies,
    optimism_by_size,
)
from fer_lightning.studies.definition import StudyDefinition
from fer_lightning.studies.facts import study_facts
from fer_lightning.studies.report import StudyReport, seconds_of

WHOLE = "Optimism: the best of all epochs on test minus the epoch selected on validation, in points"
BY_SIZE = "Optimism by size: the same, expected on so many test images"
FRESH = "On other images: the epoch that so many test images select minus the epoch selected on validation, in points"
_OVER_LAST = "over last epoch [95 %]"
_ALL = "all runs"
_RAFDB, _SMALL, _MIDDLE = 3068, 250, 1000
_INTERVAL = "their 95 % interval, which covers the luck of the training, not the draw of the test images"
_ROW_CAPTION = (
    "Optimism on the whole test split: the best of all epochs minus the epoch selected on validation. Small dots are "
    f"runs, large ones their means with {_INTERVAL}."
)
_SIZE_CAPTION = (
    "Expected optimism by number of test images, from 2,000 subsamples without replacement: means over runs, and for "
    f"all runs {_INTERVAL}."
)


def build_optimism(
    definition: StudyDefinition, runs: pd.DataFrame, command: str, budget: str, grid: int, unfinished: Sequence[str]
) -> StudyReport:
    """Computes the report of a study with `selection_optimism`; arguments as in `build_study`.

    Raises:
        UserError: No run belongs to a row, a run has no test predictions of its epochs, or the runs differ in more than
            network, length and seed.
    """
    test, scores = measure_optimism(definition, runs)
    sizes = {int(name.partition("/")[2]): name for name in scores if name.startswith("optimism/")}
    tables = {WHOLE: whole_table(scores), BY_SIZE: _size_table(scores, sizes.items(), _unsigned)}
    others = [(size, f"fresh/{size}") for size in sizes if f"fresh/{size}" in scores]
    if others:
        tables[FRESH] = _size_table(scores, others, _signed)
    numbers = scores.drop(columns=["network", "epochs", "row", "seed"]).set_index("run")
    dataset, images = test["dataset"].iloc[0], max(sizes)
    return StudyReport(
        name=definition.name,
        title=definition.heading,
        facts=study_facts(test, budget, grid),
        command=command,
        comparisons={},
        figures={"optimism": draw_optimism(scores), "optimism_by_size": draw_optimism_by_size(scores)},
        captions={"optimism": _ROW_CAPTION, "optimism_by_size": _SIZE_CAPTION},
        runs=run_table(test).join(numbers, on="run"),
        unfinished=list(unfinished),
        seconds=seconds_of(test),
        beside=tables,
        findings=_findings(scores, str(dataset), images),
    )


def measure_optimism(definition: StudyDefinition, runs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Test rows of the runs of a study (`score_table`), and the optimism of each run.

    Returns:
        The test rows, and a table with a row per run: `network`, `epochs`, `row` (both as title), `run` (name of its
        folder), `seed`, and in 0..1 `test/best_epoch`, `test/selected_epoch`, `test/last_epoch`, `optimism`,
        `over_last_epoch`, and by number of images `optimism/<images>` and `fresh/<images>` (see `optimism_by_size`).

    Raises:
        UserError: As in `build_optimism`.
    """
    titles = definition.titles("")
    # The length is part of a name only where the runs have several.
    networks = runs["variant"].str.split(", ").str[0].map(titles)
    test = runs[(runs["split"] == "test") & networks.notna()]
    if test.empty:
        variants = ", ".join(runs["variant"].unique())
        raise UserError(f"No run of study={definition.name} belongs to one of its rows; got {variants}.")
    require_same_protocol(test)
    lines = []
    for run, network in zip(test.itertuples(), networks[test.index]):
        record: Any = run.record
        tracked, selected = TrackedPredictions.read(Path(str(run.folder))), record.get("best_epoch", 0)
        accuracies, images = epoch_accuracies(tracked, selected), len(tracked.targets)
        if images != json.loads(str(run.protocol))["counts"]["test"]:
            raise UserError(
                f"{run.folder} must hold predictions of all test images; it holds {images}: train it again."
            )
        by_size = optimism_by_size(tracked, selected, [*(size for size in SIZES if size < images), images])
        typed = record["variant"].get("trainer.max_epochs", "")
        epochs = int(typed) if typed.isdecimal() else len(tracked.epochs)
        lines.append(
            {
                "network": network,
                "epochs": epochs,
                "row": f"{network}, {epochs} epoch{'s' if epochs != 1 else ''}",
                "variant": run.variant,
                "run": Path(str(run.folder)).name,
                "seed": run.seed,
                "test/best_epoch": accuracies.best,
                "test/selected_epoch": accuracies.honest,
                "test/last_epoch": accuracies.last,
                "optimism": accuracies.optimism,
                "over_last_epoch": accuracies.best - accuracies.last,
                **{f"optimism/{size.images}": size.optimism for size in by_size.itertuples()},
                **{f"fresh/{size.images}": size.fresh for size in by_size.itertuples() if size.images < images},
            }
        )
    table = pd.DataFrame(lines)
    for row, variants in table.groupby("row")["variant"].unique().items():
        if len(variants) > 1:
            raise UserError(
                f"The runs of {row} must have the same options; they are {'; '.join(variants)}: keep them in separate "
                "folders."
            )
    order = {title: place for place, title in enumerate(titles.values())}
    place = np.lexsort((table["seed"], table["epochs"], table["network"].map(order)))
    return test, table.iloc[place].drop(columns="variant").reset_index(drop=True)


def whole_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Accuracies and optimism on the whole test split as text, a line per row (`measure_optimism`)."""
    lines = []
    for row, runs in _groups(scores):
        line = {"row": row, "runs": str(len(runs))}
        for name in ("best_epoch", "selected_epoch", "last_epoch"):
            line[name.replace("_", " ")] = percent(runs[f"test/{name}"].mean())
        line["optimism [95 %]"] = _unsigned(mean_over_seeds(runs["optimism"].tolist()))
        line[_OVER_LAST] = _unsigned(mean_over_seeds(runs["over_last_epoch"].tolist()))
        lines.append(line)
    return pd.DataFrame(lines)


def _size_table(
    scores: pd.DataFrame, columns: Iterable[tuple[int, str]], shown: Callable[[SeedMean], str]
) -> pd.DataFrame:
    lines = [
        {"row": row} | {f"{size:,} images": shown(mean_over_seeds(runs[name].tolist())) for size, name in columns}
        for row, runs in _groups(scores)
    ]
    return pd.DataFrame(lines)


def _unsigned(over: SeedMean) -> str:
    return _span(over, "{:.2f}")


def _signed(over: SeedMean) -> str:
    return _span(over, "{:+.2f}")


def _span(over: SeedMean, form: str, unit: str = "") -> str:
    """Mean and interval in points; two decimals, because one test image in thousands is less than 0.1."""
    # Adding 0 turns -0 into 0.
    mean, low, high = (form.format(round(100 * value, 2) + 0.0) for value in (over.mean, over.low, over.high))
    return f"{mean}{unit}" if over.n == 1 else f"{mean}{unit} [{low}, {high}]"


def _findings(scores: pd.DataFrame, dataset: str, images: int) -> list[str]:
    """Verdict in sentences, by the means over all runs."""

    def points(name: str, form: str = "{:.2f}") -> str:
        return _span(mean_over_seeds(scores[name].tolist()), form, " points")

    means = 100 * scores.groupby("row")["optimism"].mean()
    rows = f", {means.min():.2f} to {means.max():.2f} by network and length" if len(means) > 1 else ""
    count = f"mean over {len(scores)} runs" if len(scores) > 1 else "one run, so that there is no interval"
    sentences = [
        f"On the {images:,} test images of {dataset}, the best of all epochs scores {points('optimism')} more than the "
        f"epoch selected on validation ({count}{rows}), and {points('over_last_epoch')} more than the last epoch."
    ]
    if f"optimism/{_RAFDB}" in scores:
        sentences.append(
            f"On {_RAFDB:,} such images, as many as RAF-DB's test split has, selection on test would add "
            f"{points(f'optimism/{_RAFDB}')}; on {_SMALL}, {points(f'optimism/{_SMALL}')}."
        )
    if f"fresh/{_MIDDLE}" in scores:
        sentences.append(
            f"The epoch that {_MIDDLE:,} test images select is {points(f'optimism/{_MIDDLE}')} better on these images, "
            f"and {points(f'fresh/{_MIDDLE}', '{:+.2f}')} on the other test images: the second number estimates what "
            "the selection is worth, the rest is luck."
        )
    return sentences


def _groups(scores: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Runs by row, and all runs last if there are several rows."""
    groups = [(str(row), runs) for row, runs in scores.groupby("row", sort=False)]
    return [*groups, (_ALL, scores)] if len(groups) > 1 else groups


@house_style
def draw_optimism(scores: pd.DataFrame) -> Figure:
    """Optimism on the whole test split: a line per row with a dot per run, their mean and its interval."""
    groups = [(row, runs["optimism"]) for row, runs in _groups(scores)]
    figure = Figure(figsize=(9, 1.6 + 0.42 * len(groups)), layout="constrained")
    panel = figure.subplots()
    for place, (row, values) in enumerate(groups):
        over, colour = mean_over_seeds(values.tolist()), _colours(scores)[row]
        panel.plot(100 * values, [place] * len(values), "o", color=colour, alpha=0.35, markersize=4)
        if over.n > 1:
            panel.plot([100 * over.low, 100 * over.high], [place, place], color=INK, linewidth=1.4)
        panel.plot([100 * over.mean], [place], "o", color=colour, markersize=8, markeredgecolor="white", zorder=4)
    panel.set_yticks(range(len(groups)), [shorten(row, 44) for row, _ in groups])
    panel.axvline(0, color=MUTED, linewidth=1)
    panel.set(ylim=(len(groups) - 0.4, -0.6), xlabel="points", title="What the best epoch on test adds")
    panel.grid(axis="y", visible=False)
    panel.tick_params(axis="y", length=0)
    return figure


@house_style
def draw_optimism_by_size(scores: pd.DataFrame) -> Figure:
    """Expected optimism by number of test images: a line per row, and all runs with their interval."""
    names = [name for name in scores if name.startswith("optimism/")]
    sizes = [int(name.partition("/")[2]) for name in names]
    figure = Figure(figsize=(9, 6.2), layout="constrained")
    panel = figure.subplots()
    colours = _colours(scores)
    for place, (row, runs) in enumerate(_groups(scores)):
        over = [mean_over_seeds((100 * runs[name]).tolist()) for name in names]
        colour = colours[row]
        dash = class_dash(8 * [*colours.values()][:place].count(colour))  # by length
        width = 2.6 if row == _ALL else 1.6
        means = [each.mean for each in over]
        panel.plot(sizes, means, color=colour, linestyle=dash, linewidth=width, marker="o", label=row)
        if row == _ALL:
            low, high = [each.low for each in over], [each.high for each in over]
            panel.fill_between(sizes, low, high, color=colour, alpha=0.12, linewidth=0)
    if min(sizes) < _RAFDB < max(sizes):
        panel.axvline(_RAFDB, color=MUTED, linestyle=(0, (4, 2)), linewidth=1.2, label="size of RAF-DB's test split")
    panel.set_xscale("log")
    panel.xaxis.set_major_locator(FixedLocator([size for size in sizes if size != _RAFDB]))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:,.0f}"))
    panel.set(xlabel="test images", ylabel="points", title="Expected optimism by size of the test split")
    panel.set_ylim(bottom=0)
    figure.legend(loc="outside lower center", ncols=2, handlelength=4)
    return figure


def _colours(scores: pd.DataFrame) -> dict[str, str]:
    """Colour of each row, in the order of the rows: that of its network; black for all runs."""
    places = {network: place for place, network in enumerate(scores["network"].unique())}
    return {run.row: class_colour(places[run.network]) for run in scores.itertuples()} | {_ALL: INK}
