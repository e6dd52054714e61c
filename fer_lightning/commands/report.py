"""`fer report`: tables and figures of the studies below a folder, finished or not."""

from __future__ import annotations

import argparse
import logging
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import perf_counter, time
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.logging import RichHandler

from fer_lightning.commands.option_checks import require_inputs
from fer_lightning.error_messages import in_hydra
from fer_lightning.errors import UserError, printable
from fer_lightning.files import shown_path, write_json
from fer_lightning.overrides import grid_runs
from fer_lightning.plots.text import duration, percent, print_line, shorten
from fer_lightning.results.metrics_schema import (
    NAME,
    STARTED,
    UNFINISHED,
    UnfinishedRun,
    is_run_of,
    read_metrics,
    typed_options,
)
from fer_lightning.results.naming import name_runs, upload_command

if TYPE_CHECKING:
    from fer_lightning.plots.result_table import RunBoard
    from fer_lightning.studies.discovery import StudyRuns

_OF_MULTIRUN = {"reference", "show"}  # options that change what is printed, not what is trained
_CONFIG_DIR = "command-line"  # Hydra's name of the folder that --config-dir adds
_READ_FROM = {"data", "experiment", "init"}  # options that decide which files a run reads

_EXAMPLES = """examples:
  fer train study=psysfa_table6 budget=smoke           a study of a paper's table, in minutes
  fer report outputs/studies/psysfa_ablations_synthetic_smoke
                                                       its tables and figures, into experiments/psysfa_net/
  fer report outputs/studies                           every study that has runs, finished or not
  fer report outputs/multirun/2026-01-31_12-00-00      runs without a study: all variants side by side
  fer report outputs/multirun/2026-01-31_12-00-00 reference=psysfa_no_fusion
                                                       the same, tested against that variant
  fer report experiments/published_protocols           what published accuracies were selected on, as a page

Nothing is trained or scored again: reports are computed from the records of the runs.
"""


def main(argv: Sequence[str]) -> None:
    """Reports every study below a folder.

    Raises:
        UserError: There are no runs, or a study cannot be reported; the others are reported nevertheless.
    """
    parser = argparse.ArgumentParser(
        prog="fer report",
        description="Writes the report of a study: each published score beside the measured mean over seeds, with "
        "interval and significance test, as HTML, Markdown, CSV and figures. Rows without runs are shown as not run.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="folder of a study, or of several")
    parser.add_argument(
        "--to", type=Path, help="output folder (experiments; of runs without a study, report/ in their own folder)"
    )
    parser.add_argument(
        "--reference",
        metavar="NAME",
        help="variant that the others are tested against, of runs without a study (..._full, or else the first)",
    )
    parser.add_argument("--config-dir", type=Path, help="folder of your own studies, as for fer train --config-dir")
    parser.add_argument(
        "--wandb",
        choices=("auto", "online", "offline", "disabled"),
        default="auto",
        help="log the study as a W&B run beside its runs; auto: in the mode of the runs, if they were logged (auto)",
    )
    options = parser.parse_args([f"--{word}" if word.startswith("reference=") else word for word in argv])
    to = options.to or Path("experiments")
    from fer_lightning.studies.discovery import find_studies
    from fer_lightning.studies.published_protocols import PROTOCOLS, write_protocols

    if (options.folder / PROTOCOLS).is_file():
        pages = write_protocols(options.folder, options.to or options.folder)
        print_line(Console(), f"Protocols of published code: {', '.join(str(shown_path(page)) for page in pages)}")
        return
    studies = find_studies(options.folder)
    named = [study for study in studies if study.name is not None or study.searched]
    from fer_lightning.commands.study_report import find_included, report_comparison, report_search, report_study

    console = Console()
    failed: dict[StudyRuns, str] = {}

    def report(study: StudyRuns) -> None:
        try:
            if study.searched:
                report_search(study, to, options.config_dir, console)
            else:
                report_study(study, to, options.config_dir, options.wandb, console)
        except UserError as error:
            failed[study] = str(error)

    for study in named:
        report(study)
    grids = [study for study in named if not (study.searched or study in failed)]
    for study in find_included(grids, options.config_dir):
        report(study)
    if not named:
        report_comparison(studies, options.folder, options.to, options.reference, options.wandb, console)
    elif len(named) < len(studies):
        omitted = ", ".join(str(shown_path(study.folder)) for study in studies if study not in named)
        print_line(console, f"Runs without a study are omitted: to compare them, give fer report only {omitted}.")
    if failed:
        raise UserError(*failed.values())


class RunProgress(Callback):
    """Prints what a multirun is about to run, a line per run, and its comparison with the next command at its end.

    Launchers copy the callback to the processes of the runs.
    """

    started: RunProgress | None = None  # the multirun of this process that has not ended
    board: RunBoard | None = None  # of a multirun in several processes

    def __init__(self) -> None:
        self._runs: list[dict[str, str]] = []
        self._names: list[str] = []
        self._seconds: list[float] = []
        self._outcomes: dict[int, str] = {}
        self._began = 0.0
        self._repeated = False
        self._plain = False  # whether no sampler chooses the runs
        self._warned: set[str] = set()
        self._process = os.getpid()
        self._events: Path | None = None  # of the board

    # The signatures are Hydra's.

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        # What cannot be composed is refused by the sweeper.
        with suppress(HydraException, OmegaConfBaseException):
            self._begin(config)

    def _begin(self, config: DictConfig) -> None:
        self._folder = Path(in_hydra(config, "hydra.sweep.dir"))
        self._reference = config.reference
        self._study = config.hydra.runtime.choices.get("study")
        self._plain = str(config.hydra.sweeper._target_).endswith("BasicSweeper")
        places = [Path(source.path) for source in config.hydra.runtime.config_sources if source.provider == _CONFIG_DIR]
        self._config_dir = places[0] if places else None
        self._command = ["fer", "train", *(word for word in sys.argv[1:] if not word.startswith("hydra.sweep.dir="))]
        if not self._plain:
            return
        # Its list of runs is that of the lines below.
        for launcher in ("hydra", "hydra_plugins.hydra_joblib_launcher"):
            logging.getLogger(launcher).setLevel(logging.WARNING)
        swept = [f"{name}={value}" for name, value in (config.hydra.sweeper.get("params") or {}).items()]
        grid = map(typed_options, grid_runs([*swept, *config.hydra.overrides.task]))
        self._runs = runs = [{name: run[name] for name in run if name not in _OF_MULTIRUN} for run in grid]
        values = {name: list(dict.fromkeys(run[name] for run in runs)) for name in runs[0]}
        self._names = name_runs(runs)
        axes = [name for name, several in values.items() if len(several) > 1]
        if not _READ_FROM & {re.split(r"[.@]", name)[0] for name in axes}:
            _require_inputs(config)
        shown = " x ".join(f"{name} ({shorten(', '.join(values[name]), 60)})" for name in axes)
        count = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
        _print(f"{count}{': ' if shown else ''}{shown}, in {shown_path(self._folder)}")
        RunProgress.started = self
        at_once = _at_once(config.hydra.launcher)
        if at_once > 1 and config.show != "verbose":
            from fer_lightning.plots.result_table import RunBoard  # here, because it takes a second

            RunProgress.board = RunBoard(self._names, min(at_once, len(runs)))
            self._events = RunProgress.board.events

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        self._began = perf_counter()
        folder = Path(config.hydra.runtime.output_dir)
        self._repeated = (folder / NAME).is_file()
        beside = self._events is not None and os.getpid() != self._process
        if self._events is not None:
            _post(self._events, int(config.hydra.job.num), "running")
        if beside:
            _print_to(folder / f"{config.hydra.job.name}.log")
        if config.show == "quiet" or (config.show == "auto" and config.hydra.mode == RunMode.MULTIRUN):
            root = logging.getLogger()
            for handler in root.handlers[:]:
                if isinstance(handler, RichHandler):  # the log file of the run stays complete
                    handler.setLevel(logging.WARNING)
                    # What one run says of its data, the others need not repeat.
                    handler.addFilter(partial(_unless_said, frozenset(self._warned), self._warned))
                    if beside and self._events is not None:
                        root.removeHandler(handler)
                        root.addHandler(_Forward(self._events, int(config.hydra.job.num)))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        several = config.hydra.mode == RunMode.MULTIRUN
        if (not several and config.show != "quiet") or int(os.environ.get("LOCAL_RANK", 0)):
            return
        seconds = perf_counter() - self._began
        folder = Path(config.hydra.runtime.output_dir)
        outcome = _outcome(job_return, folder, self._repeated, seconds)
        done = job_return.status is JobStatus.COMPLETED
        if not several:
            if done:
                _print(f"{shown_path(folder)}: {outcome}")
            return
        number = int(config.hydra.job.num)
        if not self._plain:
            _print(f"[trial {number}] {outcome}")  # Hydra has listed its options
            return
        comparable = seconds - _startup(folder, seconds) if done and not self._repeated else None
        if self._events is not None:
            _post(self._events, number, "done" if done else "failed", outcome, comparable)
            return
        if not done:
            self._outcomes[number] = outcome
        if comparable is not None:
            self._seconds.append(comparable)
        left, runs = "", len(self._names) - number - 1
        if self._seconds and runs and _at_once(config.hydra.launcher) == 1:
            left = f"; about {duration(runs * sum(self._seconds) / len(self._seconds))} left"
        _print(f"[{number + 1} of {len(self._names)}] {self._names[number]}: {outcome}{left}")

    @classmethod
    def end(cls, stopped: bool) -> None:
        """Prints the comparison and the next commands of the multirun of this process, if there was one.

        Args:
            stopped: Whether the user stopped it, for which the command that continues it is printed elsewhere.
        """
        run, cls.started = cls.started, None
        board, cls.board = cls.board, None
        if board is not None:
            board.stop()
        if run is not None and run._folder.is_dir():
            run._end(stopped, run._outcomes if board is None else board.outcomes)

    def _end(self, stopped: bool, outcomes: Mapping[int, str]) -> None:
        from fer_lightning.commands.study_report import show_comparisons, show_study_comparison
        from fer_lightning.results.collect import read_runs
        from fer_lightning.studies.discovery import StudyRuns

        records: dict[Path, dict[str, Any]] = {}
        try:
            records = read_runs(self._folder)
            if self._study is None:
                show_comparisons(records, self._reference, Console())
            else:
                study = StudyRuns(self._study, self._folder, records, records)
                show_study_comparison(study, self._config_dir, Console())
        except UserError as error:
            if records:
                _print(error)
        missing = {
            self._names[number]: UnfinishedRun(
                name=self._names[number], options=run, outcome=outcomes.get(number, "no record")
            )
            for number, run in enumerate(self._runs)
            if not any(is_run_of(record, run) for record in records.values())
        }
        self._note_unfinished([*missing.values()])
        if missing:
            _print(f"{len(missing)} of {len(self._runs)} runs have no record: {shorten('; '.join(missing), 300)}")
            again = [*self._command, *([] if self._study else [f"hydra.sweep.dir={shown_path(self._folder)}"])]
            if not stopped:
                _print(f"Only these run again with: {shlex.join(again)}")
        if records:
            config_dir = ["--config-dir", str(shown_path(self._config_dir))] if self._config_dir else []
            reference = [f"reference={self._reference}"] if self._reference else []
            report = ["fer", "report", *config_dir, str(shown_path(self._folder)), *reference]
            _print(f"Report with tests and figures: {shlex.join(report)}")
        if command := upload_command(self._folder):
            _print(f"W&B (offline): to upload the runs: {command}")

    def _note_unfinished(self, runs: Sequence[UnfinishedRun]) -> None:
        """Writes what has no record, for reports: a run that fails at its start leaves nothing in its folder."""
        if runs:
            write_json(self._folder / UNFINISHED, [run.model_dump() for run in runs])
        else:
            (self._folder / UNFINISHED).unlink(missing_ok=True)


class _Forward(logging.Handler):
    """Sends warnings of a run to the board of its multirun."""

    def __init__(self, events: Path, run: int) -> None:
        super().__init__(logging.WARNING)
        self._events, self._run = events, run

    def emit(self, record: logging.LogRecord) -> None:
        _post(self._events, self._run, "message", printable(f"{record.levelname} {record.getMessage()}"))


def _post(events: Path, run: int, *event: Any) -> None:
    from fer_lightning.plots.result_table import post_event

    post_event(events, run, *event)


def _print_to(path: Path) -> None:
    """Makes a file the standard output and error of this process, which else would print into the board of another."""
    with path.open("ab") as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _startup(folder: Path, seconds: float) -> float:
    """Seconds from the launch of a run, `seconds` ago, until it began: imports, which the next one does not repeat."""
    with suppress(OSError):
        since = time() - (folder / STARTED).stat().st_mtime
        return max(seconds - since, 0.0) if since < seconds else 0.0  # that of a continued run is from its first start
    return 0.0


def _require_inputs(config: DictConfig) -> None:
    """Ends the command if an input is missing that all runs read, instead of failing once for each of them."""
    try:
        require_inputs(config, "train")
    except UserError as error:
        print(f"fer train: {error}", file=sys.stderr)
        sys.exit(2)  # of an exception, Hydra would make a warning


def _unless_said(before: frozenset[str], said: set[str], record: logging.LogRecord) -> bool:
    said.add(record.getMessage())
    return record.getMessage() not in before


def _outcome(job_return: JobReturn, folder: Path, repeated: bool, seconds: float) -> str:
    """Scores of a run, or why it has none."""
    if job_return.status is not JobStatus.COMPLETED:
        error = job_return._return_value
        if type(error).__name__ == "TrialPruned":
            return f"pruned after {duration(seconds)}"
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        return f"failed: {shorten(' '.join(reason.split()).rstrip('.'), 200)}"
    splits = read_metrics(folder / NAME)["splits"]
    scores = " ".join(f"{split} {percent(splits[split]['accuracy'])}" for split in ("val", "test") if split in splits)
    return f"{scores}, already finished" if repeated else f"{scores} in {duration(seconds)}"


def _at_once(launcher: DictConfig) -> int:
    """Number of runs that a launcher trains at once on this machine; 0 if that is not known."""
    in_parallel = {"BasicLauncher": 1, "JoblibLauncher": launcher.get("n_jobs", 1)}
    at_once = int(in_parallel.get(str(launcher._target_).rpartition(".")[2], 0))
    return at_once if at_once >= 0 else max(1, (os.cpu_count() or 1) + 1 + at_once)  # as joblib counts


def _print(line: object) -> None:
    print(printable(line), flush=True)  # a process of a launcher may end without flushing
