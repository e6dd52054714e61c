"""From a folder of runs to a written report: what `fer report` does with each study that it finds."""

from __future__ import annotations

import re
from pathlib import Path

from rich.console import Console

from fer_lightning.cli import claims_dir
from fer_lightning.errors import UserError
from fer_lightning.results.collect import collect_runs
from fer_lightning.studies.discovery import FoundStudy, find_studies
from fer_lightning.studies.page import write_page
from fer_lightning.report.published import read_credible, read_published
from fer_lightning.search.report import SearchDefinition, write_search
from fer_lightning.report.shown_path import shown_path
from fer_lightning.report.study import StudyReport
from fer_lightning.studies.report import build_study
from fer_lightning.studies.definition import StudyDefinition
from fer_lightning.studies.markdown import write_study
from fer_lightning.report.terminal import print_line
from fer_lightning.study_config import StudyConfig, compose_study
from fer_lightning.study_terminal import show_files, show_study
from fer_lightning.study_wandb import log_study_run

_SCORES = {"accuracy": "accuracy", "macro F1": "macro_f1"}  # shown of runs without a study


def report_found_study(found: FoundStudy, to: Path, config_dir: Path | None, wandb: str, console: Console) -> None:
    """Reports the runs of a study, finished or not.

    Args:
        found: The runs.
        to: Where folders of papers are.
        config_dir: Where further studies are, or None.
        wandb: Mode, see `log_study_run`.
        console: Where the table is printed.

    Raises:
        UserError: The study says not what its rows are, or its runs cannot be compared.
    """
    assert found.name is not None
    config = compose_study(found.name, found.budget, config_dir)
    if config.report is None:
        raise UserError(f"study={found.name} has no report block that says what its rows are.")
    definition = StudyDefinition.from_block(found.name, config.report)
    runs = collect_runs(found.folder)
    claims = claims_dir()
    report = build_study(
        definition,
        runs,
        read_published(claims / definition.paper / "published.csv") if definition.table and definition.paper else None,
        read_credible(claims / "credible.csv"),
        found.command(config.swept),
        config.budget,
        len(config.grid),
        _unfinished(config, found),
    )
    datasets = report.runs["dataset"].unique()
    parts = [found.name, found.experiment, *(datasets if len(datasets) == 1 else []), config.budget]
    # Names of records, which must not lead out of the folder.
    name = re.sub(r"[^\w.+-]+", "_", "_".join(part for part in parts if part)).lstrip(".")
    _write(report, found.folder, to / (definition.paper or "") / name, wandb, console)


def _unfinished(config: StudyConfig, found: FoundStudy) -> list[str]:
    """Runs of the grid that no run in the folder is, whichever study started it."""
    started = [set(run) for other in find_studies(found.folder) for run in other.overrides]
    return [" ".join(run) for run in config.grid if not any(set(run) <= each for each in started)]


def report_comparison(folder: Path, to: Path, wandb: str, console: Console) -> None:
    """Reports runs of no study: every variant is a row.

    Args:
        folder: Of the runs, after which the report is named.
        to: Where it is written.
        wandb: Mode, see `log_study_run`.
        console: Where the table is printed.
    """
    runs = collect_runs(folder)
    rows = {str(name): str(name) for name in runs["variant"].unique()}
    name = folder.resolve().name
    metrics = {told: score for told, score in _SCORES.items() if score in runs}
    definition = StudyDefinition(name, name, metrics, own_rows=rows)
    command = "fer report <the folder of these runs>"
    report = build_study(definition, runs, None, read_credible(claims_dir() / "credible.csv"), command, None, None, [])
    _write(report, folder, to / name, wandb, console)


def _write(report: StudyReport, runs: Path, to: Path, wandb: str, console: Console) -> None:
    page = write_page(report, to)
    show_study(report, [page, *write_study(report, to)], console)
    if logged := log_study_run(report, page, runs, wandb):
        print_line(console, f"Logged to W&B: {shown_path(logged)}")
        console.print()


def report_found_search(found: FoundStudy, to: Path, config_dir: Path | None, console: Console) -> None:
    """Reports a search; arguments as for `report_found_study`."""
    name = found.name or found.folder.resolve().name
    block = compose_study(found.name, found.budget, config_dir).report if found.name else None
    definition = SearchDefinition.from_block(name, block) if block else SearchDefinition(name, {})
    claims = claims_dir() / definition.paper / "published.csv" if definition.paper and definition.table else None
    published = None if claims is None else read_published(claims)
    folder = to / (definition.paper or "") / found.folder.resolve().name
    show_files(definition.title, write_search(found.folder, definition, published, folder), console)
