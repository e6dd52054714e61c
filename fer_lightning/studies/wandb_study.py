"""What W&B shows of a study beside its runs: what its page shows."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pandas as pd
import wandb
from matplotlib.figure import Figure
from PIL import Image
from wandb.sdk.wandb_run import Run

from fer_lightning.studies.presentation import PresentedLedger, verdict
from fer_lightning.studies.report import StudyReport


def log_study(run: Run, report: StudyReport, page: Path) -> None:
    """Logs the ledgers, the runs and other tables of a study, its figures, its page and the verdict.

    Args:
        run: A W&B run of its own, in the group of the study's runs.
        report: What the study found.
        page: The page of the study, which W&B shows as it is.
    """
    run.config.update({"study": report.name, "title": report.title, "command": report.command, **report.facts})
    logged: dict[str, Any] = {f"ledger/{metric}": _table(_judged(ledger)) for metric, ledger in report.ledgers.items()}
    logged |= {f"beside/{title}": _table(table) for title, table in report.beside.items()}
    logged["runs"] = _table(report.runs)
    for name, figure in report.figures.items():
        logged[f"figures/{name}"] = wandb.Image(_drawn(figure), caption=report.captions.get(name, name))
    logged["page"] = wandb.Html(str(page), inject=False)
    run.log(logged)
    run.summary.update(_summary(report))


def _drawn(figure: Figure) -> Image.Image:
    # wandb.Image(figure) fails as long as nobody has imported pyplot.
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=150)
    return Image.open(written)


def _judged(ledger: PresentedLedger) -> pd.DataFrame:
    found = [line.finding.value for line in ledger.lines if line.finding is not None]
    return ledger.table.assign(found=found) if found else ledger.table


def _table(table: pd.DataFrame) -> wandb.Table:
    rows = table.astype(object).where(table.notna(), None)  # NaN is no JSON
    return wandb.Table(dataframe=rows, allow_mixed_types=True)


def _summary(report: StudyReport) -> dict[str, Any]:
    """Plain values to sort studies by; the numbers are those of the reference, of each metric."""
    summary: dict[str, Any] = {"runs/finished": len(report.runs), "runs/unfinished": len(report.unfinished)}
    for place, (metric, ledger) in enumerate(report.ledgers.items()):
        if place == 0:
            summary["verdict"] = " ".join(verdict(ledger))
        for _, row in ledger.table[ledger.table["row"] == ledger.reference].iterrows():
            known = row[["published", "mean", "sd", "n_seeds"]].dropna()
            summary |= {f"reference/{metric}/{name}": float(value) for name, value in known.items()}
    return summary
