"""A ledger as a page shows it: text for each cell, a number to sort by and places on small bars."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from fer_lightning.plots.text import NOTHING, as_printed, p_value, percent, points, range_of_percents
from fer_lightning.studies.verdict import Finding, judge

_ROOM = 2.0  # an interval that is wider than this many times the largest difference runs out of its bar


@dataclass(frozen=True)
class Cell:
    """A cell with a number.

    Attributes:
        text: For readers.
        order: To sort by; None where there is no number.
    """

    text: str
    order: float | None


@dataclass(frozen=True)
class Bar:
    """Places on a bar, in percent of its width; None where there is nothing to show.

    Attributes:
        start: Where the bar starts.
        value: Where it ends.
        low: Lower end of the interval.
        high: Upper end.
        claim: The published number.
        band: Ends of what is credible.
        agreement: The annotator agreement.
    """

    start: float
    value: float | None
    low: float | None
    high: float | None
    claim: float | None
    band: tuple[float, float] | None = None
    agreement: float | None = None


@dataclass(frozen=True)
class LedgerLine:
    """A row of the table on the page; `finding` is None where nothing is tested."""

    title: str
    finding: Finding | None
    run: bool
    published: Cell
    published_difference: Cell
    measured: Cell
    interval: str
    seeds: Cell
    score_bar: Bar
    difference: Cell
    difference_interval: str
    difference_bar: Bar
    p: Cell
    test: str
    gap: Cell
    credible: Cell
    agreement: str


@dataclass(frozen=True)
class PageLedger:
    """A ledger ready to be shown.

    Attributes:
        lines: Its rows.
        tested: Whether the rows have a reference.
        span: What the ends of the bars of differences stand for, in points.
        one_seed: Whether a number rests on the images of one seed.
        over_folds: Whether folds are counted, not seeds.
        protocols: What the credible numbers hold for.
    """

    lines: list[LedgerLine]
    tested: bool
    span: str
    one_seed: bool
    over_folds: bool
    protocols: str


def lay_out_ledger(ledger: pd.DataFrame, reference: str | None) -> PageLedger:
    """Prepares a ledger for the page.

    Args:
        ledger: As `build_ledger` returns it.
        reference: Title of the row that the others were tested against, or None.
    """
    span = _span(ledger)
    lines = [_line(row, reference, span) for _, row in ledger.iterrows()]
    return PageLedger(
        lines,
        reference is not None,
        f"{100 * span:.1f}",
        any(line.finding is Finding.ONE_SEED for line in lines) or bool((ledger["interval"] == "test images").any()),
        bool((ledger["interval"] == "folds").any()),
        "; ".join(ledger["credible_protocol"].dropna().unique()),
    )


def _line(row: pd.Series, reference: str | None, span: float) -> LedgerLine:
    run = row["n_seeds"] > 0
    measured = percent(row["mean"]) + (f" ± {100 * row['sd']:.1f}" if row["n_seeds"] > 1 else "")
    return LedgerLine(
        title=str(row["row"]),
        finding=None if reference is None else judge(row, reference),
        run=run,
        published=_cell(as_printed(row["published"]), row["published"]),
        published_difference=_cell(points(row["published_difference"]), row["published_difference"]),
        measured=_cell(measured if run else "not run", row["mean"]),
        interval=_interval(100 * row["low"], 100 * row["high"], ".1f"),
        seeds=_cell(str(row["n_seeds"]) if run else NOTHING, row["n_seeds"] if run else math.nan),
        score_bar=_score_bar(row),
        difference=_cell(points(row["difference"]), row["difference"]),
        difference_interval=_interval(100 * row["difference_low"], 100 * row["difference_high"], "+.1f"),
        difference_bar=_difference_bar(row, span),
        p=_cell(p_value(row["p_holm"]), row["p_holm"]),
        test="" if pd.isna(row["test"]) else str(row["test"]),
        gap=_cell(points(row["gap"]), row["gap"]),
        credible=_cell(range_of_percents(row["credible_low"], row["credible_high"]), row["credible_high"]),
        agreement=percent(row["annotator_agreement"]),
    )


def _score_bar(row: pd.Series) -> Bar:
    low, high = _at(row["credible_low"]), _at(row["credible_high"])
    return Bar(
        start=0.0,
        value=_at(row["mean"]),
        low=_at(row["low"]),
        high=_at(row["high"]),
        claim=_at(row["published"]),
        band=None if low is None or high is None else (low, high),
        agreement=_at(row["annotator_agreement"]),
    )


def _difference_bar(row: pd.Series, span: float) -> Bar:
    def place(name: str) -> float | None:
        return _at(0.5 + row[name] / (2 * span))

    low, high = place("difference_low"), place("difference_high")
    return Bar(start=50.0, value=place("difference"), low=low, high=high, claim=place("published_difference"))


def _span(ledger: pd.DataFrame) -> float:
    """So that every difference has its place, and every interval that is no wider than `_ROOM` allows."""
    most = ledger[["difference", "published_difference"]].abs().max(axis=None)
    ends = ledger[["difference_low", "difference_high"]].abs().max(axis=None)
    if math.isnan(most) or most == 0:
        return 0.01
    return 1.05 * (most if math.isnan(ends) else min(max(most, ends), _ROOM * most))


def _cell(text: str, order: float) -> Cell:
    return Cell(text.replace("-", "−"), None if math.isnan(order) else float(order))


def _interval(low: float, high: float, form: str) -> str:
    return "" if math.isnan(low) else f"[{low:{form}}, {high:{form}}]".replace("-", "−")


def _at(share: float) -> float | None:
    return None if math.isnan(share) else round(100 * share, 2)
