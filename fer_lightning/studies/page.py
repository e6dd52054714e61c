"""A study as one HTML file that needs nothing else: no network, no folder beside it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from fer_lightning.errors import printable
from fer_lightning.report.embedded_figure import embed_figure
from fer_lightning.plots.text import NOTHING
from fer_lightning.report.page_ledger import Cell, lay_out_ledger
from fer_lightning.report.study import StudyReport
from fer_lightning.studies.markdown import write_text
from fer_lightning.studies.verdict import verdict

NAME = "index.html"
_COUNTS = ("best_epoch", "epochs")  # floats where a run lacks them


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
