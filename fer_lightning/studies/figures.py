"""The pictures of a study, each with a sentence that says what it shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import pandas as pd
from matplotlib.figure import Figure

from fer_lightning.results.critical_difference import critical_difference
from fer_lightning.report.class_curves import draw_roc
from fer_lightning.plots.predictions import draw_confusion
from fer_lightning.report.ledger_bars import draw_ledger
from fer_lightning.report.rank_diagram import draw_rank_diagram
from fer_lightning.report.short_title import shorten
from fer_lightning.report.study_curves import draw_study_curves
from fer_lightning.report.study_records import pooled_predictions, read_history

Picture = tuple[Figure, str]


def draw_study(
    heading: str, ledgers: Mapping[str, pd.DataFrame], titles: Mapping[str, str], shown: str | None, runs: pd.DataFrame
) -> dict[str, Picture]:
    """Draws all that can be drawn.

    Args:
        heading: Of the study.
        ledgers: By published metric, the headline first.
        titles: By variant.
        shown: The variant whose predictions are looked at: the reference; None for none.
        runs: Test rows of the runs, as `collect_runs` returns them.

    Returns:
        Figure and caption by file name without ending: `scores`, `scores_<metric>` of metrics of classes, `curves`,
        `ranks`, `roc` and `confusion`, the last two by data set where there are several.
    """
    pictures: dict[str, Picture] = {}
    for number, (metric, ledger) in enumerate(ledgers.items()):
        if number == 0 or ledger["score"].str.contains("/").all():
            name = "scores" if number == 0 else f"scores_{metric.lower()}"
            caption = f"Measured {metric} with 95 % intervals, and what was published as a claim."
            pictures[name] = draw_ledger(ledger, f"{heading} ({metric})"), caption
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
    """Over the seeds that all variants share that have more than one."""
    if runs["dataset"].nunique() != 1 or runs.duplicated(["variant", "seed"]).any():
        return {}  # data sets and folds are no seeds
    scores = runs.pivot(index="seed", columns="variant", values="accuracy")
    scores = scores.loc[:, scores.notna().sum() > 1].dropna()
    if scores.shape[0] < 2 or scores.shape[1] < 3:
        return {}
    short = _short(titles.values(), 34)
    result = critical_difference(scores.rename(columns={name: short[title] for name, title in titles.items()}))
    caption = f"Ranks by accuracy over {result.blocks} seeds, best left; they say nothing of other data."
    return {"ranks": (draw_rank_diagram(result, "seeds"), caption)}


def _predictions(runs: pd.DataFrame, title: str) -> dict[str, Picture]:
    pictures: dict[str, Picture] = {}
    for dataset, part in runs.groupby("dataset"):
        targets, probabilities, classes = pooled_predictions(part)
        of = "seed" if part["seed"].is_unique else "fold"
        seeds = f"{len(part)} {of}{'s' if len(part) != 1 else ''}"
        end = f"_{dataset}" if runs["dataset"].nunique() > 1 else ""
        pooled = ", their predictions pooled" if len(part) > 1 else ""
        told = f"{title} on the test images of {dataset}, {seeds}{pooled}"
        pictures |= {
            f"roc{end}": (draw_roc(targets, probabilities, classes, f"test, {seeds}"), f"ROC of {told}."),
            f"confusion{end}": (
                draw_confusion(targets, probabilities, classes, f"test, {seeds}"),
                f"Confusion matrix of {told}.",
            ),
        }
    return pictures


def _short(titles: Iterable[str], most: int) -> dict[str, str]:
    """Titles cut to a length, but whole where two would be the same."""
    cut = {title: shorten(title, most) for title in titles}
    counts = Counter(cut.values())
    return {title: short if counts[short] == 1 else title for title, short in cut.items()}
