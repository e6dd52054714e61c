"""A study as one HTML file that needs nothing else: no network, no folder beside it."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib import rc_context
from matplotlib.figure import Figure

from fer_lightning.errors import printable
from fer_lightning.files import write_text
from fer_lightning.plots.text import NOTHING, as_printed, p_value, percent, points, range_of_percents
from fer_lightning.studies.report import StudyReport
from fer_lightning.studies.verdict import Finding, judge, verdict

NAME = "index.html"
_COUNTS = ("best_epoch", "epochs")  # floats where a run lacks them
_ROOM = 2.0  # an interval that is wider than this many times the largest difference runs out of its bar
_MOST_SVG_BYTES = 150_000


def study_page(report: StudyReport) -> str:
    """Makes the page of a study; the same for the same study.

    Args:
        report: What the study found.

    Returns:
        A whole HTML document: verdict, facts, ledgers, figures, all runs and the command, readable without JavaScript.
    """
    headline, ledger = next(iter(report.ledgers.items()))
    template = _environment().get_template("study_page.html")
    return template.render(
        report=report,
        verdict=[_unbroken(told) for told in verdict(ledger, report.tested_against(headline))],
        ledgers={name: lay_out_ledger(each, report.tested_against(name)) for name, each in report.ledgers.items()},
        pictures={name: embed_figure(figure) for name, figure in report.figures.items()},
        beside={title: _cells(table) for title, table in report.beside.items()},
        runs=_cells(report.runs),
    )


def write_page(report: StudyReport, folder: Path) -> Path:
    """Writes the page as `<folder>/index.html`; a file that is there is whole.

    Args:
        report: What the study found.
        folder: Made if it is not there.

    Returns:
        The file.
    """
    return write_text(folder / NAME, study_page(report))


@cache  # it keeps compiled templates, and compiling them takes longer than a page
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("fer_lightning.studies", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: printable(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _unbroken(text: str) -> str:
    """With numbers that no line break parts from their signs."""
    return text.replace(" %", "\u00a0%").replace(" ± ", "\u00a0±\u00a0")


def _cells(table: pd.DataFrame) -> list[list[Cell]]:
    return [[_cell(name, value) for name, value in row.items()] for row in table.to_dict("records")]


def _cell(name: object, value: object) -> Cell:
    """Scores in percent; counts, losses and seconds as what they are."""
    if not isinstance(value, (int, float)):
        return Cell(str(value), None)
    if pd.isna(value):
        return Cell(NOTHING, None)
    if isinstance(value, int) or name in _COUNTS or str(name).startswith("support/"):
        return Cell(f"{value:,.0f}", float(value))
    if str(name).endswith("seconds"):
        return Cell(f"{value:,.0f}", value)
    if str(name).endswith("loss"):
        return Cell(f"{value:.3f}", value)
    return Cell(f"{100 * value:.1f} %", value)


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
        published=_ledger_cell(as_printed(row["published"]), row["published"]),
        published_difference=_ledger_cell(points(row["published_difference"]), row["published_difference"]),
        measured=_ledger_cell(measured if run else "not run", row["mean"]),
        interval=_interval(100 * row["low"], 100 * row["high"], ".1f"),
        seeds=_ledger_cell(str(row["n_seeds"]) if run else NOTHING, row["n_seeds"] if run else math.nan),
        score_bar=_score_bar(row),
        difference=_ledger_cell(points(row["difference"]), row["difference"]),
        difference_interval=_interval(100 * row["difference_low"], 100 * row["difference_high"], "+.1f"),
        difference_bar=_difference_bar(row, span),
        p=_ledger_cell(p_value(row["p_holm"]), row["p_holm"]),
        test="" if pd.isna(row["test"]) else str(row["test"]),
        gap=_ledger_cell(points(row["gap"]), row["gap"]),
        credible=_ledger_cell(range_of_percents(row["credible_low"], row["credible_high"]), row["credible_high"]),
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


def _ledger_cell(text: str, order: float) -> Cell:
    return Cell(text.replace("-", "−"), None if math.isnan(order) else float(order))


def _interval(low: float, high: float, form: str) -> str:
    return "" if math.isnan(low) else f"[{low:{form}}, {high:{form}}]".replace("-", "−")


def _at(share: float) -> float | None:
    return None if math.isnan(share) else round(100 * share, 2)


def embed_figure(figure: Figure) -> str:
    """The figure as a `data:` address for an `<img>`: SVG, or PNG where SVG would be large; the same for the same.

    Args:
        figure: Any figure; one with many points makes a large SVG.
    """
    # Without it, names within the file are random and each page would differ from the last.
    with rc_context({"svg.hashsalt": "figure"}):
        svg = _rendered(figure, "svg", metadata={"Date": None})
    if len(svg) <= _MOST_SVG_BYTES:
        return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
    return f"data:image/png;base64,{base64.b64encode(_rendered(figure, 'png', metadata={})).decode()}"


def _rendered(figure: Figure, form: str, metadata: dict[str, str | None]) -> bytes:
    written = io.BytesIO()
    figure.savefig(written, format=form, dpi=150, metadata=metadata)
    return written.getvalue()
