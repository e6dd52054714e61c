"""Audit of published code: what each claimed accuracy was selected on, and what independent users report."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from fer_lightning.errors import UserError
from fer_lightning.files import write_text
from fer_lightning.plots.style import ACCENT, INK, MUTED, TRAIN, VALIDATION, house_style, save_figures
from fer_lightning.plots.text import as_printed
from fer_lightning.studies.page import NAME, protocols_page
from fer_lightning.studies.presentation import Cell

PROTOCOLS = "protocols.csv"
_HOST = "https://github.com/"
# Kinds of selection with colour and marker, in the order of the figure.
SELECTED_ON = {
    "another split": (VALIDATION, "o"),
    "no selection": (TRAIN, "s"),
    "the test images": (ACCENT, "D"),
    "not published": (INK, "^"),
}
_LABELS = {"no selection": "no selection", "not published": "selection not published"}
_NUMBERS = ["claim", "reported_low", "reported_high"]
_COLUMNS = [
    *("work", "repository", "commit", "dataset", "split", "claim", "claimed_at", "net"),
    *("selected_on", "selection", "selection_at", "test_time", "extra_data"),
    *("reported_low", "reported_high", "reports", "threads"),
]


def read_protocols(path: Path) -> pd.DataFrame:
    """Reads an audit of published code.

    Returns:
        A row per claim: `repository`, `commit`, `claim` and where it stands, `selected_on` (one of `SELECTED_ON`),
        the selection in words and where it stands, test-time augmentation, extra data, and what users report. Claims
        and reports are in 0..1, NaN if there is none. Places are separated by `; `: a file of the repository with a
        line, an issue as `owner/name#1`, or text.

    Raises:
        UserError: The file is no such table, or a number or a kind of selection is wrong.
    """
    texts = {name: str for name in _COLUMNS if name not in _NUMBERS}
    try:
        table = pd.read_csv(path, dtype=texts, keep_default_na=False, na_values={name: [""] for name in _NUMBERS})
    except ValueError as error:
        raise UserError(f"{path} must be a CSV file in UTF-8; it cannot be read: {error}.") from error
    if list(table.columns) != _COLUMNS:
        raise UserError(f"{path} must have the columns {', '.join(_COLUMNS)}; got {', '.join(table.columns)}.")
    for name in _NUMBERS:
        if not pd.api.types.is_numeric_dtype(table[name]) or not table[name].dropna().between(0, 100).all():
            raise UserError(f"{path}: {name} must be a percentage or empty in each row.")
    if strange := sorted(set(table["selected_on"]) - set(SELECTED_ON)):
        raise UserError(f"{path}: selected_on must be one of {', '.join(SELECTED_ON)}; got {strange[0]!r}.")
    table[_NUMBERS] /= 100
    return table


def verdict(protocols: pd.DataFrame) -> list[str]:
    """Counts of an audit (`read_protocols`) in sentences."""
    claims = protocols[protocols["claim"].notna()]
    on_test = int((claims["selected_on"] == "the test images").sum())
    reported = claims[claims["reported_high"].notna()]
    below = reported["claim"] - reported["reported_high"]
    repositories = claims["repository"].nunique()
    sentences = [
        f"Of {len(claims)} accuracies, claimed by {repositories} repositories, {on_test} were selected on the images "
        "that they are scored on."
    ]
    if len(reported):
        sentences.append(
            f"Users report numbers for {len(reported)} of them: the highest is below the claim for "
            f"{int((below > 0).sum())}, by {100 * below.median():.1f} points in the median."
        )
    return sentences


@house_style
def draw_claims(protocols: pd.DataFrame) -> Figure:
    """Draws each claim by what it was selected on, beside what users report; a panel per data set."""
    claims = protocols[protocols["claim"].notna()]
    parts = dict(list(claims.groupby("dataset", sort=False)))
    figure = Figure(figsize=(9, 1 + 0.23 * len(claims) + 0.7 * len(parts)), layout="constrained")
    heights = [len(part) + 0.5 for part in parts.values()]
    panels = figure.subplots(len(parts), squeeze=False, height_ratios=heights)[:, 0]
    for panel, (dataset, part) in zip(panels, parts.items()):
        _draw_dataset(panel, part)
        panel.set_title(dataset)
    marks = [
        Line2D([], [], color=colour, marker=marker, linestyle="", label=_LABELS.get(kind, f"selected on {kind}"))
        for kind, (colour, marker) in SELECTED_ON.items()
    ]
    marks.append(Line2D([], [], color=MUTED, marker="|", linewidth=1.2, label="reported by users"))
    figure.legend(handles=marks, loc="outside lower center", ncols=3)
    return figure


def _draw_dataset(panel: Axes, claims: pd.DataFrame) -> None:
    kinds = claims["selected_on"].map(list(SELECTED_ON).index)
    ordered = claims.assign(kind=kinds).sort_values(["kind", "claim"], ascending=[True, False], kind="stable")
    for place, row in enumerate(ordered.itertuples()):
        colour, marker = SELECTED_ON[row.selected_on]
        panel.plot(
            [row.reported_low, row.reported_high], [place, place], "|-", color=MUTED, linewidth=1.2, markersize=7
        )
        panel.plot(row.claim, place, marker, color=colour, markersize=6)
    splits = ordered["split"].map(", {}".format) if ordered["split"].nunique() > 1 else ""
    seen = ordered["extra_data"].map(lambda seen: "" if seen in ("none", "not said") else f" ({seen})")
    panel.set_yticks(range(len(ordered)), ordered["work"] + splits + seen)
    panel.set_ylim(len(ordered) - 0.4, -0.6)
    panel.tick_params(axis="y", length=0)
    panel.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    panel.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))


def write_protocols(folder: Path, to: Path) -> list[Path]:
    """Writes the page `index.html` and the figure `claims.png` of the audit in a folder, and returns their paths.

    Raises:
        UserError: The audit cannot be read, see `read_protocols`.
    """
    protocols = read_protocols(folder / PROTOCOLS)
    figure = draw_claims(protocols)
    rows = [_presented(row) for row in protocols.itertuples()]
    page = write_text(to / NAME, protocols_page(verdict(protocols), rows, figure))
    return [page, *save_figures(to, {"claims": figure})]


def _presented(row: Any) -> dict[str, Any]:
    """Row of the page: texts, the claim as a cell, and places as pairs of a text and an address or None."""
    texts = {name: getattr(row, name) for name in ("work", "selected_on", "selection", "test_time", "reports")}
    linked = {name: _links(row, getattr(row, name)) for name in ("claimed_at", "selection_at", "threads")}
    return {
        **texts,
        **linked,
        "data": f"{row.dataset}, {row.split}",
        "claim": Cell(as_printed(row.claim), None if pd.isna(row.claim) else row.claim),
        "seen": row.extra_data if row.net == "one net" else f"{row.extra_data}; {row.net}",
        "code": (f"{row.repository} at {row.commit[:7]}", f"{_HOST}{row.repository}/tree/{row.commit}"),
    }


def _links(row: Any, places: str) -> list[tuple[str, str | None]]:
    """Text and address of each place; None for one that is no file and no issue."""
    linked: list[tuple[str, str | None]] = []
    for place in filter(None, places.split("; ")):
        address = None
        if issue := re.fullmatch(r"([\w.-]+/[\w.-]+)#(\d+)", place):
            address = f"{_HOST}{issue[1]}/issues/{issue[2]}"
        elif file := re.fullmatch(r"([\w./+-]+)(?::(\d+))?", place):
            line = f"#L{file[2]}" if file[2] else ""
            address = f"{_HOST}{row.repository}/blob/{row.commit}/{quote(file[1])}{line}"
        linked.append((place.rpartition("/")[2] if issue else place, address))
    return linked
