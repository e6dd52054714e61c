"""Report of a study as Markdown, CSV and PNG files."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from fer_lightning.errors import printable
from fer_lightning.files import write_text
from fer_lightning.plots.style import save_figures
from fer_lightning.plots.text import NOTHING, csv_text, facts_markdown, markdown_text, table_markdown
from fer_lightning.studies.presentation import Finding, PresentedRow, PresentedTable
from fer_lightning.studies.report import StudyReport

# Columns that a comparison without published numbers does not have.
_OF_OTHERS = (
    "published, as a claim",
    "published difference",
    "measured - published",
    "credible",
    "annotator agreement",
)
_MOST_LISTED = 6  # unfinished runs
_TOGETHER = "all rows together [95 %], p (Holm)"


def write_study(report: StudyReport, folder: Path) -> list[Path]:
    """Writes `table.md`, a CSV per comparison table, `runs.csv` and the figures, and returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = save_figures(folder, report.figures)
    texts = {"table.md": study_markdown(report)}
    texts |= {
        f"{_file_name(metric)}.csv": comparison_csv(comparison.table)
        for metric, comparison in report.comparisons.items()
    }
    texts |= {f"{_file_name(title)}.csv": csv_text(table, index=False) for title, table in report.beside.items()}
    texts["runs.csv"] = csv_text(report.runs, index=False, float_format="%.9g", lineterminator="\n")
    return [*(write_text(folder / name, text) for name, text in texts.items()), *pictures]


def study_markdown(report: StudyReport) -> str:
    """Report as a section of a README: conditions, command, tables and figures."""
    parts = [f"## {markdown_text(report.title)}", facts_markdown(report.facts)]
    parts += map(markdown_text, report.findings)
    if report.unfinished:
        parts.append(f"Not run yet, {len(report.unfinished)} of the grid: {markdown_text(_listed(report.unfinished))}.")
    parts.append(f"```bash\n{printable(report.command)}\n```")
    tables = [
        f"### {metric[0].upper()}{metric[1:]}\n\n{comparison_markdown(comparison)}"
        for metric, comparison in report.comparisons.items()
    ]
    captions = {name: markdown_text(caption) for name, caption in report.captions.items()}
    pictures = [f"![{caption}]({name}.png)\n\n*{caption}*" for name, caption in captions.items()]
    beside = [f"### {title}\n\n{table_markdown(table)}" for title, table in report.beside.items()]
    others = [f"### {title}\n\n{table}" for title, table in report.tables.items()]
    parts += [*tables[:1], *pictures[:1], *others, *beside, *tables[1:], *pictures[1:]]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _file_name(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", title.partition(":")[0].lower()).strip("_")


def _listed(unfinished: list[str]) -> str:
    rest = len(unfinished) - _MOST_LISTED
    return "; ".join(unfinished[:_MOST_LISTED]) + (f"; and {rest} more" if rest > 0 else "")


def comparison_csv(table: pd.DataFrame) -> str:
    """Comparison table (`build_comparison`) as CSV, scores in 0..1; the `mean` of a row without runs is "not run"."""
    shown = table.assign(mean=table["mean"].astype(object).mask(table["n_seeds"] == 0, "not run"))
    return csv_text(shown, index=False, float_format="%.6g", lineterminator="\n")


def comparison_markdown(comparison: PresentedTable) -> str:
    """Comparison table in Markdown, in percent and points, with notes that explain its marks."""
    cells = pd.DataFrame([_cells(line) for line in comparison.lines])
    empty = [name for name in _OF_OTHERS if (cells[name] == NOTHING).all()] if not comparison.claimed else []
    empty += [] if comparison.pooled else [_TOGETHER]
    table = table_markdown(cells.drop(columns=empty))
    return "\n\n".join([table, *_notes(comparison)]) + "\n"


def _cells(line: PresentedRow) -> dict[str, str]:
    tested = "reference" if line.finding is Finding.REFERENCE else line.marked_p
    if line.p.order is None and line.test:
        tested = line.test
    return {
        "row": line.title,
        "published, as a claim": line.published.text,
        "published difference": line.published_difference.text,
        "measured mean ± sd [95 %]": _measured(line) if line.n_seeds else line.measured.text,
        "seeds": line.seeds.text,
        "measured difference [95 %]": f"{line.difference.text} {line.difference.interval}".rstrip(),
        _TOGETHER: NOTHING
        if line.pooled.order is None
        else f"{line.pooled.text} {line.pooled.interval}, {line.pooled_p.text}",
        "p (Holm)": tested if line.n_seeds else NOTHING,
        "measured - published": line.gap.text,
        "credible": line.credible.text,
        "annotator agreement": line.agreement.text,
    }


def _measured(line: PresentedRow) -> str:
    mark = "¹" if line.measured.interval and line.over == "test images" else ""
    return f"**{line.measured.text}**{line.spread} {line.measured.interval}".rstrip() + mark


def _notes(comparison: PresentedTable) -> list[str]:
    notes = []
    if comparison.reference is not None:
        tests = dict.fromkeys(line.test for line in comparison.lines if line.p.order is not None)
        names = "; ".join(tests) or "none was possible"
        notes.append(
            f"Differences are to the row *{markdown_text(comparison.reference)}*, in points; p is Holm's over this "
            f"table ({names}), their intervals are not corrected."
        )
    if comparison.pooled:
        notes += [
            "*All rows together* estimates the same differences in one model (score = row + seed + chance), as a mixed "
            "model with a random effect of the seed does. Chance is measured from all rows, so that intervals are "
            "shorter; they are too short for a row whose ± is larger than that of the others. Findings rest on the "
            "paired tests.",
            comparison.power,
        ]
    if comparison.covers("test images") or comparison.tested_by_images:
        notes.append(
            "¹ One seed: interval and p cover the draw of the test images, not the seed, and cannot tell a better "
            "variant from a luckier run."
        )
    if comparison.covers("folds"):
        notes.append(
            "*Seeds* are folds of one seed here: folds share most of their training images, so that the intervals over "
            "them are too narrow."
        )
    if comparison.protocols:
        protocols = markdown_text(comparison.protocols)
        notes.append(f"Credible are the best results of others on the same split that can be believed: {protocols}.")
    return notes
