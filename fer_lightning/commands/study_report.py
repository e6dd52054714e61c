"""Report of one study or search: composes its config, then writes, prints and logs the report."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.table import Table

from fer_lightning.commands.stored_config import read_yaml, sweep_group, wandb_nodes
from fer_lightning.errors import UserError
from fer_lightning.files import claims_dir, conf_dir, shown_path
from fer_lightning.overrides import literal
from fer_lightning.plots.text import escape, print_line
from fer_lightning.results.collect import score_table
from fer_lightning.search.report import SearchDefinition, write_search
from fer_lightning.studies.comparison_table import read_credible, read_published
from fer_lightning.studies.definition import StudyDefinition
from fer_lightning.studies.discovery import StudyRuns, is_run_of
from fer_lightning.studies.markdown import write_study
from fer_lightning.studies.page import write_page
from fer_lightning.studies.presentation import Finding
from fer_lightning.studies.report import StudyReport, build_study

_SCORES = {"accuracy": "accuracy", "macro F1": "macro_f1"}  # of runs without a study
_NEXT = 3  # unfinished runs that are printed


def report_study(study: StudyRuns, to: Path, config_dir: Path | None, wandb: str, console: Console) -> None:
    """Writes, prints and logs the report of a study, finished or not, below the folder `to`.

    Raises:
        UserError: The study has no valid report block, or its runs cannot be compared.
    """
    assert study.name is not None
    config = compose_study(study.name, study.budget, config_dir)
    if config.report is None:
        raise UserError(f"study={study.name} must have a report block that defines its rows.")
    definition = StudyDefinition.from_block(study.name, config.report)
    runs = score_table(study.beside)
    claims = claims_dir()
    report = build_study(
        definition,
        runs,
        read_published(claims / definition.paper / "published.csv") if definition.table and definition.paper else None,
        read_credible(claims / "credible.csv"),
        study.command(config.grid[0] if config.grid else ()),
        config.budget,
        len(config.grid),
        [" ".join(f"{name}={value}" for name, value in cell.items()) for cell in study.missing(config.grid)],
    )
    datasets = report.runs["dataset"].unique()
    parts = [study.name, study.experiment, *(datasets if len(datasets) == 1 else []), config.budget]
    # The names are from records and must not lead out of the folder.
    name = re.sub(r"[^\w.+-]+", "_", "_".join(part for part in parts if part)).lstrip(".")
    _write(report, study.folder, study.beside, to / (definition.paper or "") / name, wandb, console)


def report_comparison(studies: Sequence[StudyRuns], folder: Path, to: Path, wandb: str, console: Console) -> None:
    """Writes, prints and logs a report with a row per variant of the runs without a study in a folder."""
    records = {path: run for each in studies for path, run in each.runs.items()}
    runs = score_table(records)
    rows = {str(name): str(name) for name in runs["variant"].unique()}
    name = folder.resolve().name
    metrics = {metric: score for metric, score in _SCORES.items() if score in runs}
    definition = StudyDefinition(name, name, metrics, own_rows=rows)
    command = "fer report <the folder of these runs>"
    report = build_study(definition, runs, None, read_credible(claims_dir() / "credible.csv"), command, None, None, [])
    _write(report, folder, records, to / name, wandb, console)


def _write(report: StudyReport, folder: Path, runs: Iterable[Path], to: Path, wandb: str, console: Console) -> None:
    page = write_page(report, to)
    show_study(report, [page, *write_study(report, to)], console)
    if logged := log_study_run(report, page, folder, runs, wandb):
        print_line(console, f"Logged to W&B: {shown_path(logged)}")
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
        report = OmegaConf.to_container(cfg.report, resolve=True) if "report" in cfg else None
        is_grid = cfg.hydra.runtime.choices["hydra/sweeper"] == "basic"
        params = _params(cfg) if is_grid else {}
        assert report is None or isinstance(report, dict)
        shown = {str(key): value for key, value in report.items()} if report else None
        return StudyConfig(cfg.budget, shown, _grid(params))


@contextmanager
def _refusing(name: str) -> Iterator[None]:
    """Context in which an error of Hydra or OmegaConf becomes a `UserError` that names the study."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        problem = " ".join(str(error).split())[:300]
        raise UserError(f"study={name} cannot be composed (--config-dir finds your own studies): {problem}") from error


def _params(cfg: DictConfig) -> Mapping[str, str]:
    params = OmegaConf.to_container(cfg.hydra.sweeper.params or OmegaConf.create(), resolve=True)
    assert isinstance(params, dict)
    return {str(key): str(value) for key, value in params.items()}


def _grid(params: Mapping[str, str]) -> list[dict[str, str]]:
    parser = OverridesParser.create(GlobalHydra.instance().config_loader())
    choices = []
    for key, values in params.items():
        override = parser.parse_override(f"{key}={values}")
        swept = override.is_sweep_override()
        choices.append(list(override.sweep_string_iterator()) if swept else [override.get_value_element_as_str()])
    return [dict(zip(params, values)) for values in product(*choices)] if choices else []


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
    metric, comparison = next(iter(report.comparisons.items()))
    table = Table(title=escape(f"{report.title} ({metric})"), title_justify="left", title_style="bold")
    table.add_column("row")
    for heading in ("claimed", "measured", "seeds", "difference", "p (Holm)"):
        table.add_column(heading, justify="right", no_wrap=True)
    for line in comparison.lines:
        tested = "reference" if line.finding is Finding.REFERENCE else line.marked_p
        measured = f"{line.measured.text}{line.spread}"
        cells = [line.title, line.published.text, measured, str(line.n_seeds), line.difference.text, tested]
        table.add_row(*map(escape, cells))
    console.print(table)
    if comparison.tested_by_images:
        console.print("¹ One seed: covers the sampling of test images, not the variance of seeds.")
    if report.unfinished:
        more = "; ..." if len(report.unfinished) > _NEXT else ""
        next_runs = "; ".join(report.unfinished[:_NEXT])
        print_line(console, f"{len(report.unfinished)} runs have no record yet: {next_runs}{more}")
    show_files(report.name, files, console)


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
    from fer_lightning.studies.wandb_study import log_study
    from fer_lightning.training.wandb_logger import WandbRunLogger

    logger = WandbRunLogger(
        save_dir=str(folder),
        mode=mode,
        project=node.project,
        entity=node.entity,
        name=f"study {report.name}",
        group=node.group or sweep_group(folder),
        tags=[*node.tags, "study"],
        init_timeout=node.init_timeout,
        log_checkpoint=False,
    )
    failed = True
    try:
        run = logger.experiment
        log_study(run, report, page)
        where = None if run.disabled else Path(run.dir).parent
        failed = False
    finally:
        logger.close(failed)
    return where
