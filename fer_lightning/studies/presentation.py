"""Comparison table as text: formatted numbers, the finding of each row, and conclusions in sentences.

Markdown, HTML, terminal, figures and W&B all show this presentation, so that all round alike.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial

import pandas as pd
from rich.console import Console
from rich.table import Table

from fer_lightning.plots.text import (
    NOTHING,
    as_printed,
    duration,
    escape,
    p_value,
    percent,
    points,
    print_fitting,
    range_of_percents,
    score_table,
)
from fer_lightning.studies.comparison_table import LEVEL

_UNCLAIMED = " that the paper does not claim"
_ROUNDING = 1e-6  # published differences have rounding errors
_DIFFERENCE, _TIME = "minus\nreference [95 %]", "train\ntime"
_IN_TWO_LINES = "in two lines"
_ROOM = 2.0  # bars of differences end at this multiple of the largest difference; wider intervals are clipped


class Finding(Enum):
    """Finding about the difference of a row to the reference; the value is its name in reports."""

    REFERENCE = "reference"
    CONFIRMED = "confirmed"
    SHOWN = "shown"
    OTHER_WAY = "the other way"
    NOT_SHOWN = "not shown"
    ONE_SEED = "one seed"
    NOT_TESTED = "not tested"
    NOT_RUN = "not run"


_TOLD = {
    Finding.CONFIRMED: ("is confirmed", "are confirmed"),
    Finding.SHOWN: ("is shown", "are shown"),
    Finding.OTHER_WAY: ("points the other way", "point the other way"),
    Finding.NOT_SHOWN: ("is not shown", "are not shown"),
    Finding.ONE_SEED: ("rests on one seed (which confirms nothing)", "rest on one seed (which confirms nothing)"),
    Finding.NOT_TESTED: ("could not be tested", "could not be tested"),
    Finding.NOT_RUN: ("was not run", "were not run"),
}


def judge(row: pd.Series, reference: str | None) -> Finding:
    """Finding about a row of `build_comparison` in comparison with the reference.

    Readings:
        - A claim is the sign of a published difference. A measured difference of the same sign with a Holm-adjusted p
          below `LEVEL` over at least two seeds confirms it, whatever its size. Without a published difference, a
          significant one is merely shown.
        - McNemar's test of one seed compares two runs, not two variants: it confirms nothing.
    """
    if row["row"] == reference:
        return Finding.REFERENCE
    if row["n_seeds"] == 0:
        return Finding.NOT_RUN
    test = "" if pd.isna(row["test"]) else str(row["test"])
    if test.startswith("McNemar") or test == "none: one seed":
        return Finding.ONE_SEED
    if not test.startswith("paired t") or math.isnan(row["p_holm"]):
        return Finding.NOT_TESTED
    if row["p_holm"] >= LEVEL:
        return Finding.NOT_SHOWN
    if not abs(row["published_difference"]) > _ROUNDING:  # also NaN
        return Finding.SHOWN
    alike = (row["difference"] > 0) == (row["published_difference"] > 0)
    return Finding.CONFIRMED if alike else Finding.OTHER_WAY


@dataclass(frozen=True)
class Cell:
    """Number as text.

    Attributes:
        text: Formatted number.
        order: The number, as sort key; None if there is none.
        low: Lower end of its interval or range, or None.
        high: Upper end.
        interval: Formatted interval; empty if not shown.
    """

    text: str
    order: float | None = None
    low: float | None = None
    high: float | None = None
    interval: str = ""


@dataclass(frozen=True)
class PresentedRow:
    """Row of a comparison table as text.

    Attributes:
        finding: Finding about the row; None without a reference.
        over: Source of the interval of the mean: `seeds`, `folds` or `test images`; empty without an interval.
        spread: Formatted standard deviation over seeds; empty for one seed.
        marked_p: Formatted p-value, with a mark if it covers only the sampling of the test images.
    """

    title: str
    finding: Finding | None
    dataset: str
    n_seeds: int
    seeds: Cell
    published: Cell
    published_difference: Cell
    measured: Cell
    spread: str
    over: str
    difference: Cell
    pooled: Cell
    pooled_p: Cell
    p: Cell
    marked_p: str
    test: str
    gap: Cell
    credible: Cell
    agreement: Cell


@dataclass(frozen=True)
class PresentedTable:
    """Comparison table with formatted numbers.

    Attributes:
        table: The numbers (`build_comparison`).
        reference: Title of the row that the others were tested against, or None.
        lines: Formatted rows.
        span: Largest difference that the bars of differences show, in 0..1.
        protocols: Test splits and kinds of pretraining of the credible ranges.
    """

    table: pd.DataFrame
    reference: str | None
    lines: list[PresentedRow]
    span: float
    protocols: str

    def covers(self, what: str) -> bool:
        """Whether a row has an interval over `what`, see `PresentedRow.over`."""
        return any(line.over == what for line in self.lines)

    @property
    def claimed(self) -> bool:
        """Whether a row has a published number."""
        return any(line.published.order is not None for line in self.lines)

    @property
    def tested_by_images(self) -> bool:
        """Whether a p-value covers only the sampling of the test images."""
        return any(line.marked_p != line.p.text for line in self.lines)

    @property
    def pooled(self) -> bool:
        """Whether the differences were also estimated together."""
        return any(line.pooled.order is not None for line in self.lines)

    @property
    def power(self) -> str:
        """Smallest differences that these runs could have shown, in sentences; empty without paired tests."""
        tested = self.table.dropna(subset="detectable")
        if tested.empty:
            return ""
        first, tests = tested.iloc[0], self.table["p"].notna().sum()
        sd, low, high = (100 * first[f"difference_sd{end}"] for end in ("", "_low", "_high"))
        missed = [
            f"{100 * rows['detectable'].max():.1f} points with {pairs:.0f} seeds"
            for pairs, rows in tested.groupby("pairs")
        ]
        return (
            f"Power: differences spread by {sd:.1f} points over seeds (95 % interval {low:.1f} to {high:.1f}). In more "
            f"than one of five such studies, the paired t-test at Holm's first level ({LEVEL:g} / {tests}) would miss "
            f"a true difference below {_listed(missed)}, the estimate from all rows together one below "
            f"{100 * tested['pooled_detectable'].max():.1f} points. The paired test needs "
            f"{first['seeds_for_a_point']:,.0f} seeds to find 1 point."
        )

    @property
    def one_seed(self) -> bool:
        """Whether an interval or a finding is from one seed."""
        return self.covers("test images") or any(line.finding is Finding.ONE_SEED for line in self.lines)


def present_comparison(table: pd.DataFrame, reference: str | None) -> PresentedTable:
    """Formats the numbers of `build_comparison`, which were tested against a reference, if there is one."""
    tested = reference if (table["row"] == reference).any() else None
    lines = [_line(row, tested) for _, row in table.iterrows()]
    return PresentedTable(table, tested, lines, _span(table), "; ".join(table["credible_protocol"].dropna().unique()))


def _line(row: pd.Series, reference: str | None) -> PresentedRow:
    def cell(shown: Callable[[float], str], name: str) -> Cell:
        return Cell(shown(row[name]), _number(row[name]))

    def between(order: Cell, low: str, high: str, form: str = "") -> Cell:
        ends = f"[{100 * row[low]:{form}}, {100 * row[high]:{form}}]" if form and not math.isnan(row[low]) else ""
        return replace(order, low=_number(row[low]), high=_number(row[high]), interval=ends)

    count, p = int(row["n_seeds"]), cell(p_value, "p_holm")
    test = "" if pd.isna(row["test"]) else str(row["test"])
    best = Cell(range_of_percents(row["credible_low"], row["credible_high"]), _number(row["credible_high"]))
    return PresentedRow(
        title=str(row["row"]),
        finding=None if reference is None else judge(row, reference),
        dataset=str(row["dataset"]),
        n_seeds=count,
        seeds=Cell(str(count), float(count)) if count else Cell(NOTHING),
        published=cell(as_printed, "published"),
        published_difference=cell(points, "published_difference"),
        measured=between(cell(percent if count else lambda _: "not run", "mean"), "low", "high", ".1f"),
        spread=f" ± {100 * row['sd']:.1f}" if count > 1 else "",
        over=str(row["interval"]),
        difference=between(cell(points, "difference"), "difference_low", "difference_high", "+.1f"),
        pooled=between(cell(points, "pooled_difference"), "pooled_low", "pooled_high", "+.1f"),
        pooled_p=cell(p_value, "pooled_p_holm"),
        p=p,
        marked_p=f"{p.text}¹" if test.startswith("McNemar") else p.text,
        test=test,
        gap=cell(points, "gap"),
        credible=between(best, "credible_low", "credible_high"),
        agreement=cell(percent, "annotator_agreement"),
    )


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _span(table: pd.DataFrame) -> float:
    """Range of the bars: all differences fit, and their intervals up to `_ROOM` times the largest difference."""
    most = table[["difference", "published_difference"]].abs().max(axis=None)
    ends = table[["difference_low", "difference_high"]].abs().max(axis=None)
    if math.isnan(most) or most == 0:
        return 0.01
    return 1.05 * (most if math.isnan(ends) else min(max(most, ends), _ROOM * most))


def conclusions(comparison: PresentedTable) -> list[str]:
    """Conclusions of a comparison table: claims, measured scores and findings in sentences."""
    if not any(line.n_seeds for line in comparison.lines):
        return ["Nothing was run yet: every cell is open."]
    if comparison.reference is None:
        return _against_claims(comparison.table)
    basis = next(line for line in comparison.lines if line.title == comparison.reference)
    others = [line for line in comparison.lines if line.title != comparison.reference]
    claimed = [line for line in others if abs(line.published_difference.order or 0) > _ROUNDING]
    unclaimed = [line for line in others if line not in claimed]
    of_a_paper = any(line.published.order is not None for line in comparison.lines)
    return [
        *_scores(basis),
        *_counted(claimed, "claimed difference", "to it", Finding.CONFIRMED),
        *_counted(unclaimed, "difference", f"to it{_UNCLAIMED if of_a_paper else ''}", Finding.SHOWN),
    ]


def _scores(basis: PresentedRow) -> list[str]:
    claim = f"No number was published for “{basis.title}”."
    if basis.published.order is not None:
        claim = f"Published for “{basis.title}”, as a claim: {basis.published.text}."
    if basis.n_seeds == 0:
        return [claim, "Not run here yet, so that nothing can be compared with it."]
    seeds = "with one seed" if basis.n_seeds == 1 else f"over {basis.n_seeds} seeds"
    return [claim, f"Measured here on {basis.dataset}: {basis.measured.text}{basis.spread} {seeds}."]


def _counted(lines: list[PresentedRow], what: str, to: str, headline: Finding) -> list[str]:
    """Sentence with the number of lines by finding; the headline finding comes first, even if its number is 0."""
    if not lines:
        return []
    counts = Counter(line.finding for line in lines)
    parts = [
        f"{counts[finding]} {_TOLD[finding][counts[finding] != 1]}"
        for finding in _TOLD
        if counts[finding] or finding is headline
    ]
    parts[0] += f" (Holm p < {LEVEL:g})"
    return [f"Of {len(lines)} {what}{'s' if len(lines) != 1 else ''} {to}, {_listed(parts)}."]


def _against_claims(table: pd.DataFrame) -> list[str]:
    claimed = table[table["published"].notna()]
    measured = claimed[claimed["n_seeds"] > 0]
    if measured.empty:
        return ["No published number stands beside what was measured."]
    known = measured["low"].notna()
    places = {
        "above the measured 95 % interval": measured["published"] > measured["high"],
        "inside it": known & measured["published"].between(measured["low"], measured["high"]),
        "below it": measured["published"] < measured["low"],
        "beside a single seed without an interval": ~known,
    }
    counts = [(int(there.sum()), place) for place, there in places.items()]
    parts = [f"{count} lie{'s' if count == 1 else ''} {place}" for count, place in counts if count or "above" in place]
    gaps = measured["gap"]
    return [
        f"Of {len(claimed)} published number{'s' if len(claimed) != 1 else ''}, {len(measured)} "
        f"{'was' if len(measured) == 1 else 'were'} measured here: {_listed(parts)}.",
        f"Measured minus published: {points(gaps.min())} to {points(gaps.max())} points.",
    ]


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def print_comparison(
    console: Console, title: str, comparison: PresentedTable, seconds: Mapping[tuple[str, str], float]
) -> None:
    """Prints a comparison table, with the mean seconds of a training by variant and data set if they are known."""
    build = partial(_comparison_table, title, comparison, seconds)
    print_fitting(console, build, (_TIME, "seeds", _IN_TWO_LINES))
    if comparison.power:
        console.print(comparison.power, highlight=False, markup=False)
    if comparison.tested_by_images:
        console.print("¹ One seed: covers the sampling of test images, not the variance of seeds.")


def _comparison_table(
    title: str, comparison: PresentedTable, seconds: Mapping[tuple[str, str], float], without: Collection[str] = ()
) -> Table:
    """Comparison table without some of its columns; published numbers have a column if there are any."""
    headings = {"claimed": comparison.claimed, "measured": True, "seeds": True}
    headings |= dict.fromkeys((_DIFFERENCE, "p\n(Holm)"), comparison.reference is not None)
    headings[_TIME] = bool(seconds)
    shown = [name for name, is_shown in headings.items() if is_shown and name not in without]
    folded = _IN_TWO_LINES in without
    numbers = [heading.replace(" [", "\n[") if folded else heading for heading in shown]
    table = score_table(title, ["row" if comparison.claimed else "variant"], numbers)
    table.pad_edge = False
    for line, (_, row) in zip(comparison.lines, comparison.table.iterrows()):
        took = seconds.get((row["variant"], row["dataset"]))
        difference = f"{line.difference.text} {line.difference.interval}".rstrip()
        cells = {
            "claimed": line.published.text,
            "measured": f"{line.measured.text}{line.spread}",
            "seeds": str(line.n_seeds),
            _DIFFERENCE: "reference" if line.finding is Finding.REFERENCE else difference,
            "p\n(Holm)": line.marked_p,
            _TIME: NOTHING if took is None else duration(took),
        }
        numbers = [escape(cells[name]) for name in shown]
        if folded:
            numbers = [re.sub(r" (?=±|\\\[)", "\n", number) for number in numbers]
        table.add_row(escape(line.title), *numbers)
    return table
