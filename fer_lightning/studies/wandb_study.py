"""W&B run of a study: tables, figures and page of its report."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pandas as pd
import wandb
from matplotlib.figure import Figure
from PIL import Image
from wandb.sdk.wandb_run import Run

from fer_lightning.studies.presentation import PresentedTable, conclusions
from fer_lightning.studies.report import StudyReport


def log_study(run: Run, report: StudyReport, page: Path) -> None:
    """Logs tables, figures, conclusions and HTML page of a study to its W&B run."""
    run.config.update({"study": report.name, "title": report.title, "command": report.command, **report.facts})
    logged: dict[str, Any] = {
        f"ledger/{metric}": _table(_judged(comparison)) for metric, comparison in report.comparisons.items()
    }
    logged |= {f"beside/{title}": _table(table) for title, table in report.beside.items()}
    logged["runs"] = _table(report.runs)
    for name, figure in report.figures.items():
        logged[f"figures/{name}"] = wandb.Image(_drawn(figure), caption=report.captions.get(name, name))
    logged["page"] = wandb.Html(str(page), inject=False)
    run.log(logged)
    run.summary.update(_summary(report))


def _drawn(figure: Figure) -> Image.Image:
    # wandb.Image(figure) fails unless pyplot is imported.
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=150)
    return Image.open(written)


def _judged(comparison: PresentedTable) -> pd.DataFrame:
    findings = [line.finding.value for line in comparison.lines if line.finding is not None]
    return comparison.table.assign(found=findings) if findings else comparison.table


def _table(table: pd.DataFrame) -> wandb.Table:
    rows = table.astype(object).where(table.notna(), None)  # NaN is not JSON
    return wandb.Table(dataframe=rows, allow_mixed_types=True)


def _summary(report: StudyReport) -> dict[str, Any]:
    """Plain values to sort studies by: number of runs, conclusions, and scores of the reference."""
    summary: dict[str, Any] = {"runs/finished": len(report.runs), "runs/unfinished": len(report.unfinished)}
    for place, (metric, comparison) in enumerate(report.comparisons.items()):
        if place == 0:
            summary["verdict"] = " ".join(conclusions(comparison))
        for _, row in comparison.table[comparison.table["row"] == comparison.reference].iterrows():
            known = row[["published", "mean", "sd", "n_seeds"]].dropna()
            summary |= {f"reference/{metric}/{name}": float(value) for name, value in known.items()}
    return summary
