"""A study as one HTML file that needs nothing else: no network, no folder beside it."""

from __future__ import annotations

import base64
import io
from functools import cache
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib import rc_context
from matplotlib.figure import Figure

from fer_lightning.errors import printable
from fer_lightning.files import write_text
from fer_lightning.plots.text import NOTHING
from fer_lightning.studies.presentation import Cell, verdict
from fer_lightning.studies.report import StudyReport

NAME = "index.html"
_COUNTS = ("best_epoch", "epochs")  # floats where a run lacks them
_MOST_SVG_BYTES = 150_000


def study_page(report: StudyReport) -> str:
    """Makes the page of a study; the same for the same study.

    Args:
        report: What the study found.

    Returns:
        A whole HTML document: verdict, facts, ledgers, figures, all runs and the command, readable without JavaScript.
    """
    headline = next(iter(report.ledgers.values()))
    template = _environment().get_template("study_page.html")
    return template.render(
        report=report,
        verdict=[_unbroken(told) for told in verdict(headline)],
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
    """Place on a bar in percent of its width, which is from 0 to 1, or with a span from its negative to itself."""
    return None if number is None else round(100 * (number if span is None else 0.5 + number / (2 * span)), 2)


def _unbroken(text: str) -> str:
    """With numbers that no line break parts from their signs."""
    return text.replace(" %", "\u00a0%").replace(" ± ", "\u00a0±\u00a0")


def _cells(table: pd.DataFrame) -> list[list[Cell]]:
    return [[_cell(name, value) for name, value in row.items()] for row in table.to_dict("records")]


def _cell(name: object, value: object) -> Cell:
    """Scores in percent; counts, losses and seconds as what they are."""
    if not isinstance(value, (int, float)):
        return Cell(str(value))
    if pd.isna(value):
        return Cell(NOTHING)
    if isinstance(value, int) or name in _COUNTS or str(name).startswith("support/"):
        return Cell(f"{value:,.0f}", float(value))
    if str(name).endswith("seconds"):
        return Cell(f"{value:,.0f}", value)
    if str(name).endswith("loss"):
        return Cell(f"{value:.3f}", value)
    return Cell(f"{100 * value:.1f} %", value)


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
