"""Report of a study, all runs below a folder, and an audit of published code, each as one self-contained HTML file."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib import rc_context
from matplotlib.figure import Figure

from fer_lightning.errors import printable
from fer_lightning.files import write_text
from fer_lightning.plots.text import NOTHING, duration
from fer_lightning.studies.figures import draw_study_curves
from fer_lightning.studies.presentation import Cell
from fer_lightning.studies.report import StudyReport

NAME = "index.html"
_COUNTS = ("best_epoch", "epochs")  # floats if a run has none
_MOST_SVG_BYTES = 150_000


def study_page(report: StudyReport) -> str:
    """HTML page of a study, deterministic and readable without JavaScript.

    It has conclusions, conditions, comparison tables, figures, all runs and the command.
    """
    template = _environment().get_template("study_page.html")
    return template.render(
        report=report,
        verdict=[_unbroken(sentence) for sentence in report.verdict],
        pictures={name: embed_figure(figure) for name, figure in report.figures.items()},
        beside={title: _cells(table) for title, table in report.beside.items()},
        runs=_cells(report.runs),
    )


def write_page(report: StudyReport, folder: Path) -> Path:
    """Writes the page atomically to `index.html` in a folder, which is created if needed, and returns its path."""
    return write_text(folder / NAME, study_page(report))


@dataclass(frozen=True)
class RunGroup:
    """Runs that a page shows together: those of a study, of a search or of a multirun, or single ones.

    Attributes:
        title: Name of the group.
        histories: By variant the histories of its runs, as `draw_study_curves` takes them; may be empty.
        runs: One row a run, in the order shown; scores in 0..1.
    """

    title: str
    histories: Mapping[str, Sequence[pd.DataFrame]]
    runs: pd.DataFrame


def runs_page(title: str, groups: Sequence[RunGroup], reports: Mapping[str, str], records: Mapping[str, str]) -> str:
    """Makes the page of runs: of each group first the curves, then a table.

    The addresses of the `reports` of these runs, by name, come first; those of other reports, `records`, last.
    """
    shown = [
        {
            "title": group.title,
            "caption": "Accuracy and loss by epoch: mean over seeds, the band from the lowest to the highest.",
            "picture": embed_figure(draw_study_curves(group.histories, None)) if group.histories else None,
            "headings": list(group.runs),
            "rows": _cells(group.runs),
        }
        for group in groups
    ]
    return (
        _environment()
        .get_template("runs_page.html")
        .render(title=title, groups=shown, reports=reports, records=records)
    )


def protocols_page(verdict: Sequence[str], rows: Sequence[Mapping[str, Any]], figure: Figure) -> str:
    """Makes the page of an audit of published code (`published_protocols`): verdict, figure, and a row per claim."""
    template = _environment().get_template("protocols_page.html")
    return template.render(verdict=map(_unbroken, verdict), rows=rows, picture=embed_figure(figure))


@cache  # compiling the templates takes longer than rendering a page
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("fer_lightning.studies", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: printable(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"minus": lambda text: text.replace("-", "−"), "place": _place}
    return environment


def _place(number: float | None, span: float | None) -> float | None:
    """Position on a bar in percent of its width; the bar covers 0..1, or -span..span."""
    return None if number is None else round(100 * (number if span is None else 0.5 + number / (2 * span)), 2)


def _unbroken(text: str) -> str:
    """Text with no-break spaces between numbers and their signs."""
    return text.replace(" %", "\u00a0%").replace(" ± ", "\u00a0±\u00a0")


def _cells(table: pd.DataFrame) -> list[list[Cell]]:
    return [[_cell(name, value) for name, value in row.items()] for row in table.to_dict("records")]


def _cell(name: object, value: object) -> Cell:
    """Cell of the table of runs: scores in percent, counts, losses and seconds as numbers."""
    if not isinstance(value, (int, float)):
        return Cell(str(value))
    if pd.isna(value):
        return Cell(NOTHING)
    if isinstance(value, int) or name in _COUNTS or str(name).startswith("support/"):
        return Cell(f"{value:,.0f}", float(value))
    if name == "time":
        return Cell(duration(value), value)
    if str(name).endswith("seconds"):
        return Cell(f"{value:,.0f}", value)
    if str(name).endswith("loss"):
        return Cell(f"{value:.3f}", value)
    return Cell(f"{100 * value:.1f} %", value)


def embed_figure(figure: Figure) -> str:
    """Figure as a `data:` URL for an `<img>`: SVG, or PNG if the SVG is large; deterministic."""
    # Without a salt, the ids in the SVG are random.
    with rc_context({"svg.hashsalt": "figure"}):
        svg = _rendered(figure, "svg", metadata={"Date": None})
    if len(svg) <= _MOST_SVG_BYTES:
        return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
    return f"data:image/png;base64,{base64.b64encode(_rendered(figure, 'png', metadata={})).decode()}"


def _rendered(figure: Figure, form: str, metadata: dict[str, str | None]) -> bytes:
    written = io.BytesIO()
    figure.savefig(written, format=form, dpi=150, metadata=metadata)
    return written.getvalue()
