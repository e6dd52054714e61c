"""The report of a study as files: CSV for machines, Markdown for readers."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pandas as pd

from fer_lightning.errors import printable
from fer_lightning.files import write_text
from fer_lightning.plots.style import save_figures
from fer_lightning.plots.text import (
    NOTHING,
    as_printed,
    csv_text,
    facts_markdown,
    markdown_line,
    markdown_text,
    p_value,
    percent,
    points,
    range_of_percents,
    table_markdown,
)
from fer_lightning.studies.report import StudyReport

_HEADINGS = (
    "row",
    "published, as a claim",
    "published difference",
    "measured mean ± sd [95 %]",
    "seeds",
    "measured difference [95 %]",
    "p (Holm)",
    "measured - published",
    "credible",
    "annotator agreement",
)


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


def _file_name(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")


def _listed(unfinished: list[str], most: int = 6) -> str:
    rest = len(unfinished) - most
    return "; ".join(unfinished[:most]) + (f"; and {rest} more" if rest > 0 else "")


def ledger_csv(ledger: pd.DataFrame) -> str:
    """The ledger with all its columns, scores in 0..1; `mean` is "not run" where it was not, other cells are empty.

    Args:
        ledger: As `build_ledger` returns it.
    """
    told = ledger.assign(mean=ledger["mean"].astype(object).mask(ledger["n_seeds"] == 0, "not run"))
    return csv_text(told, index=False, float_format="%.6g", lineterminator="\n")


def ledger_markdown(ledger: pd.DataFrame, reference: str | None) -> str:
    """The ledger as a Markdown table in percent and points, with notes on what its marks mean.

    Args:
        ledger: As `build_ledger` returns it.
        reference: Title of the row that the others were tested against, or None.
    """
    lines = [markdown_line(_HEADINGS), markdown_line(["---", *["---:"] * (len(_HEADINGS) - 1)])]
    lines += [markdown_line(_cells(row, reference)) for _, row in ledger.iterrows()]
    return "\n\n".join(["\n".join(lines), *_notes(ledger, reference)]) + "\n"


def _cells(row: pd.Series, reference: str | None) -> list[str]:
    run = row["n_seeds"] > 0
    tested = "reference" if row["row"] == reference else _p(row)
    return [
        str(row["row"]),
        as_printed(row["published"]),
        points(row["published_difference"]),
        _measured(row) if run else "not run",
        str(row["n_seeds"]) if run else NOTHING,
        _difference(row),
        tested if run else NOTHING,
        points(row["gap"]),
        range_of_percents(row["credible_low"], row["credible_high"]),
        percent(row["annotator_agreement"]),
    ]


def _measured(row: pd.Series) -> str:
    told = f"**{percent(row['mean'])}**"
    if row["n_seeds"] > 1:
        told += f" ± {100 * row['sd']:.1f}"
    if math.isnan(row["low"]):
        return told
    mark = "¹" if row["interval"] == "test images" else ""
    return f"{told} [{100 * row['low']:.1f}, {100 * row['high']:.1f}]{mark}"


def _difference(row: pd.Series) -> str:
    told = points(row["difference"])
    if math.isnan(row["difference_low"]):
        return told
    return f"{told} [{100 * row['difference_low']:+.1f}, {100 * row['difference_high']:+.1f}]"


def _p(row: pd.Series) -> str:
    if math.isnan(row["p_holm"]):
        return NOTHING if pd.isna(row["test"]) else str(row["test"])
    return p_value(row["p_holm"]) + ("¹" if str(row["test"]).startswith("McNemar") else "")


def _notes(ledger: pd.DataFrame, reference: str | None) -> list[str]:
    tests = list(dict.fromkeys(ledger.loc[ledger["p"].notna(), "test"]))
    notes = []
    if reference is not None:
        told = "; ".join(tests) or "none was possible"
        notes.append(
            f"Differences are to the row *{markdown_text(reference)}*, in points; p is Holm's over this table "
            f"({told}), their intervals are not corrected."
        )
    if (ledger["interval"] == "test images").any() or any(test.startswith("McNemar") for test in tests):
        notes.append(
            "¹ One seed: interval and p cover the draw of the test images, not the seed, and cannot tell a better "
            "variant from a luckier run."
        )
    if (ledger["interval"] == "folds").any():
        notes.append(
            "*Seeds* are folds of one seed here: folds share most of their training images, so that the intervals over "
            "them are too narrow."
        )
    if protocols := list(ledger["credible_protocol"].dropna().unique()):
        told = markdown_text("; ".join(protocols))
        notes.append(f"Credible are the best results of others that can be believed: {told}.")
    return notes
