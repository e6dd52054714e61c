"""W&B run of a study: tables, figures and page of its report; its saved workspace and report in W&B."""

from __future__ import annotations

import io
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import wandb
from matplotlib.figure import Figure
from PIL import Image
from wandb.sdk.wandb_run import Run

from fer_lightning.errors import UserError
from fer_lightning.studies.presentation import PresentedTable
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
    summary["verdict"] = " ".join(report.verdict)
    for metric, comparison in report.comparisons.items():
        for _, row in comparison.table[comparison.table["row"] == comparison.reference].iterrows():
            known = row[["published", "mean", "sd", "n_seeds"]].dropna()
            summary |= {f"reference/{metric}/{name}": float(value) for name, value in known.items()}
    return summary


def view_panels() -> dict[str, list[Any]]:
    """Panels of the saved workspace and of the report, by section; the runs of a variant are its seeds.

    Keys are those of the runs that `WandbRunLogger` logs, at the selected epoch in summaries.
    """
    import wandb_workspaces.reports.v2 as wr

    variant, ablation = wr.Config("variant"), wr.Config("choices.ablation")
    spread: dict[str, Any] = {"groupby_aggfunc": "mean", "groupby_rangefunc": "stderr"}

    def curve(title: str, *metrics: str) -> Any:
        return wr.LinePlot(title=title, x="epoch", y=list(metrics), groupby=variant, **spread)

    def bars(title: str, group: Any, *metrics: str) -> Any:
        return wr.BarPlot(title=title, metrics=[wr.SummaryMetric(name) for name in metrics], groupby=group, **spread)

    def chart(key: str, name: str, fields: dict[str, str]) -> Any:
        query = {"summaryTable": {"tableKey": f"{key}_table"}}
        return wr.CustomChart(query=query, chart_name=name, chart_fields=fields, chart_strings={"title": key})

    severity = {"x": "severity", "y": "accuracy", "stroke": "corruption"}
    counts = {name: name for name in ("Actual", "Predicted", "nPredictions")}
    searched = ("optimizer.lr", "optimizer.weight_decay", "data.batch_size")
    axes: list[Any] = [*map(wr.Config, searched), wr.SummaryMetric("val/accuracy")]
    return {
        "Curves": [curve("Validation accuracy", "val/accuracy"), curve("Loss", "train/loss", "val/loss")],
        "Ablations": [bars("Test accuracy", ablation, "test/accuracy"), bars("Macro F1", ablation, "test/macro_f1")],
        "Seeds": [
            bars("Test accuracy", variant, "test/accuracy"),
            wr.ScatterPlot(title="Test accuracy by seed", x=wr.Config("seed"), y=wr.SummaryMetric("test/accuracy")),
        ],
        "Confusion": [chart("test/confusion_matrix", "wandb/confusion_matrix/v1", counts)],
        "Calibration": [
            bars("Calibration error, before and after scaling", variant, "test/ece", "test/ece_scaled"),
            wr.MediaBrowser(title="Reliability", media_keys=["figures/reliability_test"]),
        ],
        "Robustness": [
            chart("robustness/severity", "wandb/line/v0", severity),
            bars("Accuracy, mean over corruptions", variant, "robustness/mean"),
        ],
        "Search": [
            wr.ParallelCoordinatesPlot(title="Trials", columns=[*map(wr.ParallelCoordinatesPlotColumn, axes)]),
            wr.ParameterImportancePlot(with_respect_to="val/accuracy"),
        ],
        "Cost": [
            curve("Learning rate", "lr"),
            curve("Images per second", "images_per_second"),
            curve("GB", "memory_gb"),
        ],
    }


def build_workspace(entity: str, project: str, group: str, panels: Mapping[str, list[Any]]) -> Any:
    """View of the runs of a group, with panels by section (`view_panels`), which is not saved yet."""
    import wandb_workspaces.workspaces as ws

    sections = [ws.Section(name=name, panels=shown, is_open=True) for name, shown in panels.items()]
    runs = ws.RunsetSettings(filters=[ws.Metric("Group") == group], groupby=[ws.Config("variant")])
    return ws.Workspace(entity=entity, project=project, name=group, sections=sections, runset_settings=runs)


def build_report(entity: str, project: str, group: str, panels: Mapping[str, list[Any]], report: StudyReport) -> Any:
    """Report of a study in W&B, as an object of wandb-workspaces that is not saved yet; arguments as above."""
    import wandb_workspaces.reports.v2 as wr
    from wandb_workspaces import expr

    runs = wr.Runset(entity, project, name=group, filters=[expr.Metric("Group") == group], groupby=["config.variant"])
    blocks: list[Any] = [wr.P(sentence) for sentence in report.verdict]
    blocks.append(wr.P([wr.InlineCode(report.command)]))
    for name, shown in panels.items():
        blocks += [wr.H2(name), wr.PanelGrid(runsets=[runs], panels=shown)]
    return wr.Report(project=project, entity=entity, title=report.title, description=report.name, blocks=blocks)


def save_views(run: Run, group: str, report: StudyReport) -> list[str]:
    """Saves the workspace and the report of a study that was logged online; returns their addresses.

    Raises:
        UserError: wandb-workspaces is not installed.
    """
    if find_spec("wandb_workspaces") is None:
        raise UserError("wandb-workspaces is not installed: pip install 'fer_lightning[workspaces]'.")
    shown = run.entity, run.project, group, view_panels()
    return [build_workspace(*shown).save().url, build_report(*shown, report).save().url]
