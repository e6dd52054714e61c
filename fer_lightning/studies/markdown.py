"""The report of a study as files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from fer_lightning.errors import printable
from fer_lightning.report.csv_text import csv_text
from fer_lightning.report.figures import save_figures
from fer_lightning.report.ledger_text import ledger_csv, ledger_markdown
from fer_lightning.report.markdown import markdown_line, markdown_text
from fer_lightning.report.study import StudyReport
from fer_lightning.files import write_whole


def write_study(report: StudyReport, folder: Path) -> list[Path]:
    """Writes a report; a file that is there is whole.

    Args:
        report: What was found.
        folder: Made if it is not there.

    Returns:
        The files: `table.md`, a CSV of each ledger, `runs.csv` and the pictures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures = save_figures(folder, report.figures)
    texts = {"table.md": study_markdown(report)}
    texts |= {f"{_file_name(metric)}.csv": ledger_csv(ledger) for metric, ledger in report.ledgers.items()}
    texts |= {f"{_file_name(title)}.csv": csv_text(table, index=False) for title, table in report.beside.items()}
    texts["runs.csv"] = csv_text(report.runs, index=False, float_format="%.9g", lineterminator="\n")
    return [*(write_text(folder / name, text) for name, text in texts.items()), *pictures]


def write_text(path: Path, text: str) -> Path:
    """Writes a file that is whole as soon as it is there."""
    return write_whole(path, lambda unfinished: unfinished.write_text(text, encoding="utf-8"))


def study_markdown(report: StudyReport) -> str:
    """The report as a part of a README: conditions, tables, pictures, command."""
    parts = [f"## {markdown_text(report.title)}", facts_markdown(report.facts)]
    if report.unfinished:
        parts.append(f"Not run yet, {len(report.unfinished)} of the grid: {markdown_text(_listed(report.unfinished))}.")
    parts.append(f"```bash\n{printable(report.command)}\n```")
    tables = [
        f"### {metric[0].upper()}{metric[1:]}\n\n{ledger_markdown(ledger, report.tested_against(metric))}"
        for metric, ledger in report.ledgers.items()
    ]
    captions = {name: markdown_text(caption) for name, caption in report.captions.items()}
    pictures = [f"![{caption}]({name}.png)\n\n*{caption}*" for name, caption in captions.items()]
    beside = [f"### {title}\n\n{table_markdown(table)}" for title, table in report.beside.items()]
    others = [f"### {title}\n\n{table}" for title, table in report.tables.items()]
    parts += [tables[0], *pictures[:1], *others, *beside, *tables[1:], *pictures[1:]]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def facts_markdown(facts: Mapping[str, str]) -> str:
    """One point a fact."""
    return "\n".join(f"- **{markdown_text(heading)}:** {markdown_text(told)}" for heading, told in facts.items())


def table_markdown(table: pd.DataFrame) -> str:
    """A table of text in Markdown, its first column to the left and the others to the right."""
    lines = [list(table), ["---", *["---:"] * (table.shape[1] - 1)], *table.to_numpy().tolist()]
    return "\n".join(markdown_line(line) for line in lines)


def _file_name(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")


def _listed(unfinished: list[str], most: int = 6) -> str:
    rest = len(unfinished) - most
    return "; ".join(unfinished[:most]) + (f"; and {rest} more" if rest > 0 else "")
