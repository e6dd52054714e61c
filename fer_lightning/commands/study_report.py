"""Report of one study or search: composes its config, then writes, prints and logs the report."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.table import Table

from fer_lightning.commands.stored_config import read_yaml, sweep_group, wandb_nodes
from fer_lightning.errors import UserError
from fer_lightning.files import claims_dir, conf_dir, shown_path
from fer_lightning.overrides import grid_runs, literal
from fer_lightning.plots.text import print_fitting, print_line, text_table
from fer_lightning.results.collect import score_table, unfinished_runs
from fer_lightning.results.metrics_schema import is_run_of
from fer_lightning.results.naming import RunLabels, network_name, upload_command, waits_for_upload, wandb_label
from fer_lightning.search.report import SearchDefinition, write_search
from fer_lightning.studies.comparison_table import build_comparison, read_credible, read_published
from fer_lightning.studies.definition import StudyDefinition
from fer_lightning.studies.discovery import StudyRuns
from fer_lightning.studies.markdown import write_study
from fer_lightning.studies.page import write_page
from fer_lightning.studies.presentation import present_comparison, print_comparison
from fer_lightning.studies.report import StudyReport, build_study, compare_study, seconds_of
from fer_lightning.studies.selection_optimism import build_optimism, measure_optimism, whole_table

log = logging.getLogger(__name__)
_SCORES = {"accuracy": "accuracy", "macro F1": "macro_f1"}  # of runs without a study
_NEXT = 3  # unfinished runs that are printed


def report_study(study: StudyRuns, to: Path, config_dir: Path | None, wandb: str, console: Console) -> None:
    """Writes, prints and logs the report of a study, finished or not, below the folder `to`.

    Raises:
        UserError: The study has no valid report block, or its runs cannot be compared.
    """
    config, definition, published = _define(study, config_dir)
    runs, command = score_table(study.beside), study.command(config.grid[0] if config.grid else ())
    unfinished = [" ".join(f"{name}={value}" for name, value in cell.items()) for cell in study.missing(config.grid)]
    scope = command, config.budget, len(config.grid), unfinished
    if definition.selection_optimism:
        report = build_optimism(definition, runs, *scope)
    else:
        report = build_study(definition, runs, published, read_credible(claims_dir() / "credible.csv"), *scope)
    datasets = report.runs["dataset"].unique()
    parts = [study.name, study.experiment, *(datasets if len(datasets) == 1 else []), config.budget]
    # The names are from records and must not lead out of the folder.
    name = re.sub(r"[^\w.+-]+", "_", "_".join(part for part in parts if part)).lstrip(".")
    _write(report, study.folder, study.beside, to / (definition.paper or "") / name, wandb, console)


def show_study_comparison(study: StudyRuns, config_dir: Path | None, console: Console) -> None:
    """Prints the comparison table of a study, without its report; errors as in `report_study`."""
    _, definition, published = _define(study, config_dir)
    runs = score_table(study.beside)
    console.print()
    if definition.selection_optimism:
        _show_plain(definition.heading, whole_table(measure_optimism(definition, runs)[1]), console)
        return
    metric = next(iter(definition.metrics))
    table = compare_study(definition, runs, published)
    print_comparison(console, f"{definition.heading} ({metric})", table, seconds_of(runs))


def _define(study: StudyRuns, config_dir: Path | None) -> tuple[StudyConfig, StudyDefinition, pd.DataFrame | None]:
    """Config and definition of a study, and the tables of its paper, or None."""
    assert study.name is not None
    config = compose_study(study.name, study.budget, config_dir)
    if config.report is None:
        raise UserError(f"study={study.name} must have a report block that defines its rows.")
    definition = StudyDefinition.from_block(study.name, config.report)
    of_paper = claims_dir() / definition.paper / "published.csv" if definition.table and definition.paper else None
    return config, definition, None if of_paper is None else read_published(of_paper)


def report_comparison(
    studies: Sequence[StudyRuns], folder: Path, to: Path | None, reference: str | None, wandb: str, console: Console
) -> None:
    """Writes, prints and logs a report of the runs without a study in a folder, per data set: a row per variant.

    Args:
        studies: The runs.
        folder: The folder.
        to: Folder in which the report has that of its name; None for `report/` in the folder of the runs.
        reference: Variant that the others are tested against; None for one that is complete, or else the first.
        wandb: Mode of W&B, see `log_study_run`.
        console: Terminal.

    Raises:
        UserError: There is no such reference, or the runs of a data set cannot be compared.
    """
    records = {path: run for each in studies for path, run in each.runs.items()}
    open_runs = unfinished_runs(folder, records)
    place = folder / "report" if to is None else to / folder.resolve().name
    parts = list(_comparisons(records, folder.resolve().name, reference))
    for definition, runs in parts:
        part = place / runs["dataset"].iloc[0] if len(parts) > 1 else place
        unfinished = open_runs if len(parts) == 1 else []
        expected = runs["folder"].nunique() + len(unfinished)
        command = "fer report <the folder of these runs>"
        credible = read_credible(claims_dir() / "credible.csv")
        report = build_study(definition, runs, None, credible, command, None, expected, unfinished)
        _write(report, folder, records, part, wandb, console)
    if open_runs and len(parts) > 1:
        print_line(console, _not_finished(open_runs))


def show_comparisons(records: Mapping[Path, Mapping[str, Any]], reference: str | None, console: Console) -> None:
    """Prints the comparison of runs without a study, a table per data set; see `report_comparison`.

    Raises:
        UserError: There is no such reference, or the runs of a data set cannot be compared.
    """
    for definition, runs in _comparisons(records, "", reference):
        rows = definition.comparison_rows("accuracy", "")
        table = build_comparison(rows, {}, runs, definition.reference, {})
        console.print()
        print_comparison(console, definition.title, present_comparison(table, definition.reference), seconds_of(runs))


def _comparisons(
    records: Mapping[Path, Mapping[str, Any]], name: str, reference: str | None
) -> Iterator[tuple[StudyDefinition, pd.DataFrame]]:
    """Definition and scores (`score_table`) of the comparison on each data set; rows are in the order of the runs."""
    ordered = sorted(records, key=lambda path: [(len(part), part) for part in re.findall(r"\d+|\D+", str(path))])
    runs = score_table({path: records[path] for path in ordered})
    by_folder = runs.drop_duplicates("folder").set_index("folder").loc[[str(path) for path in ordered]]
    for dataset, part in by_folder.groupby("dataset", sort=False):
        # A run of which nothing was typed is named by its network.
        rows = {
            network_name(row.model) if row.variant == "default" else row.variant: row.variant
            for row in part.itertuples()
        }
        if reference is not None and reference not in rows:
            raise UserError(f"reference={reference} must be a variant of the runs: choose one of {', '.join(rows)}.")
        complete = next((row for row in rows if row.endswith("_full")), next(iter(rows)))
        metrics = {metric: score for metric, score in _SCORES.items() if score in runs}
        yield (
            StudyDefinition(
                name or str(dataset),
                f"{name}: {dataset}" if name else f"Test images of {dataset}",
                metrics,
                own_rows=rows,
                reference=(reference or complete) if len(rows) > 1 else None,
            ),
            runs[runs["dataset"] == dataset],
        )


def _write(report: StudyReport, folder: Path, runs: Iterable[Path], to: Path, wandb: str, console: Console) -> None:
    page = write_page(report, to)
    show_study(report, [page, *write_study(report, to)], console)
    if logged := log_study_run(report, page, folder, runs, wandb):
        command = upload_command(folder) if waits_for_upload(logged) else None
        upload = f"; to upload: {command}" if command else ""
        print_line(console, f"Logged to {wandb_label([logged])}: {shown_path(logged)}{upload}")
        console.print()


def report_search(study: StudyRuns, to: Path, config_dir: Path | None, console: Console) -> None:
    """Writes and prints the report of a search below the folder `to`."""
    name = study.name or study.folder.resolve().name
    block = compose_study(study.name, study.budget, config_dir).report if study.name else None
    definition = SearchDefinition.from_block(name, block) if block else SearchDefinition(name, {})
    claims = claims_dir() / definition.paper / "published.csv" if definition.paper and definition.table else None
    published = None if claims is None else read_published(claims)
    folder = to / (definition.paper or "") / study.folder.resolve().name
    show_files(definition.title, write_search(study.folder, definition, published, folder), console)


@dataclass(frozen=True)
class StudyConfig:
    """Config of a study.

    Attributes:
        budget: Name of the budget.
        report: The `report:` block as plain values, or None.
        grid: Swept options of each run, value by name, in the order in which the runs are trained; empty for a search.
    """

    budget: str
    report: dict[str, Any] | None
    grid: list[dict[str, str]]


@cache
def compose_study(name: str, budget: str | None, config_dir: Path | None) -> StudyConfig:
    """Composes `conf/train.yaml` with a study and a budget, None for the default, also from further configs."""
    overrides = [f"study={name}", *([f"budget={budget}"] if budget else [])]
    if config_dir is not None:
        overrides.append(f"hydra.searchpath=['file://{config_dir.absolute()}']")
    with initialize_config_dir(str(conf_dir()), version_base="1.3"), _refusing(name):
        cfg = compose("train", overrides, return_hydra_config=True)
        report: Any = OmegaConf.to_container(cfg.report, resolve=True) if "report" in cfg else None
        is_grid = cfg.hydra.runtime.choices["hydra/sweeper"] == "basic"
        return StudyConfig(cfg.budget, report or None, _grid(cfg.hydra.sweeper.params) if is_grid else [])


@contextmanager
def _refusing(name: str) -> Iterator[None]:
    """Context in which an error of Hydra or OmegaConf becomes a `UserError` that names the study."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        problem = " ".join(str(error).split())[:300]
        raise UserError(f"study={name} cannot be composed (--config-dir finds your own studies): {problem}") from error


def _grid(params: Mapping[str, str] | None) -> list[dict[str, str]]:
    runs = grid_runs([f"{key}={values}" for key, values in params.items()]) if params else []
    return [dict(option.partition("=")[::2] for option in run) for run in runs]


def find_included(studies: Sequence[StudyRuns], config_dir: Path | None) -> list[StudyRuns]:
    """Studies that those of the runs include (see `StudyDefinition`), if all their runs exist under other studies."""
    included: dict[tuple[str, Path], StudyRuns] = {}
    for study in studies:
        assert study.name is not None
        report = compose_study(study.name, study.budget, config_dir).report or {}
        named = {run["study"] for run in study.beside.values()}
        for name, dataset in report.get("includes", {}).items():
            if name in named or dataset not in (None, *(run["protocol"]["dataset"] for run in study.runs.values())):
                continue
            grid = compose_study(name, study.budget, config_dir).grid
            runs = {
                path: run
                for path, run in study.beside.items()
                if run["budget"] == study.budget
                and dataset in (None, run["protocol"]["dataset"])
                and any(is_run_of(run, cell) for cell in grid)
            }
            if len(runs) == len(grid):
                included[name, study.folder] = replace(study, name=name, runs=runs, beside=runs)
    return list(included.values())


def show_study(report: StudyReport, files: Sequence[Path], console: Console) -> None:
    """Prints the headline comparison of a study, its unfinished runs and its files."""
    if report.comparisons:
        metric, comparison = next(iter(report.comparisons.items()))
        print_comparison(console, f"{report.title} ({metric})", comparison, report.seconds)
    else:
        _show_plain(report.title, next(iter(report.beside.values())), console)
        for sentence in report.verdict:
            console.print(sentence, highlight=False, markup=False)
    if report.unfinished:
        print_line(console, _not_finished(report.unfinished))
    show_files(report.name, files, console)


def _show_plain(title: str, cells: pd.DataFrame, console: Console) -> None:
    """Prints a table of text, without its last column where the terminal is too narrow."""

    def build(without: Collection[str]) -> Table:
        others = cells.columns[1:]
        shown = cells.drop(columns=[*without])
        return text_table(title, shown.rename(columns={name: name.replace(" ", "\n", 1) for name in others}))

    print_fitting(console, build, [cells.columns[-1]])


def _not_finished(runs: Sequence[str]) -> str:
    more = "; ..." if len(runs) > _NEXT else ""
    have = "run has" if len(runs) == 1 else "runs have"
    return f"{len(runs)} {have} no record yet: {'; '.join(runs[:_NEXT])}{more}"


def show_files(name: str, files: Sequence[Path], console: Console) -> None:
    """Prints the files of a report, which are in one folder, on one line."""
    others = ", ".join(path.name for path in files[1:])
    print_line(console, f"{name}: {shown_path(files[0])}, beside it {others}")
    console.print()


def log_study_run(report: StudyReport, page: Path, folder: Path, runs: Iterable[Path], mode: str) -> Path | None:
    """Logs a study as a W&B run of its own, in the project and the group of its runs.

    Args:
        report: Report of the study.
        page: Page of the report, which contains all of it: a page that was logged in this mode is not logged twice.
        folder: Folder of the study; W&B writes to `wandb/` in it.
        runs: Folders of its runs; the first run that logged to W&B gives project, entity, group and tags.
        mode: `"online"`, `"offline"`, `"disabled"`, or `"auto"`: the mode of the runs, if they were logged.

    Returns:
        Folder of the W&B run, or None if nothing was logged.

    Raises:
        UserError: The mode is `"online"`, but nobody is logged in.
    """
    node = None if mode == "disabled" else next(_wandb_loggers(runs), None)
    if mode == "disabled" or (mode == "auto" and node is None):
        return None
    chosen = OmegaConf.load(conf_dir() / "logger" / "wandb.yaml").wandb
    chosen.update({name: value for name, value in (node or {}).items() if name in chosen})
    asked = chosen.mode if mode == "auto" else mode
    logged = folder / "wandb" / f"{report.name}.sha256"
    digest = f"{hashlib.sha256(page.read_bytes()).hexdigest()} {asked}"
    if logged.is_file() and logged.read_text() == digest:
        return None
    where = _log(report, page, folder, chosen, asked)
    if where is not None:
        logged.write_text(digest)
    return where


def _wandb_loggers(runs: Iterable[Path]) -> Iterator[DictConfig]:
    """W&B loggers in the configs of runs; runs whose config is missing or damaged have none."""
    for run in runs:
        with suppress(UserError):
            config = OmegaConf.create(literal(read_yaml(run / "config.yaml")))
            yield from wandb_nodes(config) if isinstance(config, DictConfig) else []


def _log(report: StudyReport, page: Path, folder: Path, node: DictConfig, mode: str) -> Path | None:
    # Imported late: only this part of a report needs torch.
    from wandb.errors import CommError

    from fer_lightning.commands.finish import ending
    from fer_lightning.studies.wandb_study import log_study, save_views
    from fer_lightning.training.wandb_logger import WandbRunLogger

    logger = WandbRunLogger(
        save_dir=str(folder),
        mode=mode,
        project=node.project,
        entity=node.entity,
        tags=node.tags,
        init_timeout=node.init_timeout,
    )
    kind, group = "study" if "study=" in report.command else "report", node.group or sweep_group(folder)
    logger.describe(RunLabels(f"{kind} {report.name}", report.name, group, kind, (report.name, kind)), {})
    with ending([logger]):
        run = logger.experiment
        log_study(run, report, page)
        if not (run.disabled or run.offline):
            try:
                print("W&B shows the study at", *save_views(run, group, report))
            except (UserError, CommError, OSError, ValueError) as error:
                log.warning("The workspace and the report could not be saved in W&B: %s", error)
        return None if run.disabled else Path(run.dir).parent
