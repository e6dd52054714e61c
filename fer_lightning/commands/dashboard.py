"""`fer dashboard`: lists runs and searches, shows their curves and scores as a page, opens viewers; works offline."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import webbrowser
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import time
from typing import Any

from rich.console import Console
from rich.table import Table

from fer_lightning.commands.stored_config import read_overrides, shared_overrides
from fer_lightning.errors import UserError
from fer_lightning.files import write_text
from fer_lightning.overrides import WITHOUT_RUNS
from fer_lightning.plots.text import folder_table, print_fitting, print_line
from fer_lightning.results.metrics_schema import NAME, identity, read_metrics, read_started, typed_options
from fer_lightning.results.naming import RunLabels, label_run, waits_for_upload, wandb_label
from fer_lightning.search.report import (
    find_searches,
    has_screen,
    has_search,
    search_table,
    searches_served,
    serve_search,
)

_STILL_LOGS = 600  # seconds since the last change of a run that may still be in its first epoch
_SCORES = {"test accuracy": "accuracy", "macro F1": "macro_f1", "ECE": "ece"}


@dataclass(frozen=True)
class LoggedRun:
    """A run folder.

    Attributes:
        folder: Path of the folder.
        changed: Time of the last change, in seconds since 1970.
        metrics: Content of `metrics.json`; None if the run is not finished or the file is damaged.
        problem: Error in `metrics.json`, else empty.
        name: Variant, data set and seed, as in W&B; of a folder that is no run, the name of the folder.
        variant: The first part of it.
        group: Name of its study, search or multirun, else empty.
        began: Whether it finished an epoch, or logs something now.
        wandb: Folders of its W&B runs.
        tensorboard: Folder of its TensorBoard events, or None.
    """

    folder: Path
    changed: float
    metrics: dict[str, Any] | None
    wandb: tuple[Path, ...]
    tensorboard: Path | None
    problem: str = ""
    name: str = ""
    variant: str = ""
    group: str = ""
    began: bool = True


def main(argv: Sequence[str]) -> None:
    """Lists runs or opens a viewer.

    Raises:
        UserError: There are no runs, or `--sync` cannot upload them.
    """
    parser = argparse.ArgumentParser(
        prog="fer dashboard",
        description="Writes a page with the curves and scores of all runs under a folder, the newest first, and opens "
        "it in a web browser; then opens the W&B viewer in the terminal (q leaves it), or TensorBoard where only that "
        "was logged to. Beside it, where there are searches, the Optuna Dashboard on that which changed last, for this "
        "machine only.",
    )
    parser.add_argument(
        "folder",
        nargs="?",
        help="one run, or many (outputs); with --search also a storage file or URL (FER_SWEEP_STORAGE, else outputs)",
    )
    parser.add_argument("--list", action="store_true", help="print a table of the runs and searches instead")
    parser.add_argument("--all", action="store_true", help="also runs that ended before their first epoch")
    parser.add_argument("--search", action="store_true", help="show the Optuna Dashboard alone")
    parser.add_argument("--sync", action="store_true", help="upload the runs that were logged to W&B offline")
    parser.add_argument("--port", type=int, default=0, help="where the Optuna Dashboard listens (any free port)")
    parser.add_argument("--no-browser", action="store_true", help="only print addresses")
    options = parser.parse_args(argv)
    if options.search:
        serve_search(options.folder, options.port, browser=not options.no_browser)
        return
    folder = Path(options.folder or "outputs")
    every = sorted(find_runs(folder), key=lambda run: run.changed, reverse=True)
    if not every:
        raise UserError(f"{folder} must contain a run; none was found: run fer train first.")
    runs = [run for run in every if run.began or options.all]
    if options.sync:
        sync_runs(runs)
        return
    if options.list or not _on_a_terminal():
        _print_tables(runs, folder)
    if hidden := len(every) - len(runs):
        several = f"{hidden} runs that" if hidden > 1 else "1 run that"
        print_line(Console(), f"Hidden: {several} ended before the first epoch; --all shows them.")
    if waiting := sum(any(map(waits_for_upload, run.wandb)) for run in runs):
        command = shlex.join(["fer", "dashboard", str(folder), "--sync"])
        runs_are = "run is" if waiting == 1 else "runs are"
        print_line(Console(), f"W&B (offline): {waiting} {runs_are} on this machine only; to upload: {command}")
    if options.list:
        return
    address = write_runs_page(runs, folder).absolute().as_uri()
    print_line(Console(), f"Curves and scores: {address}")
    if not _on_a_terminal():
        return
    if has_screen() and not options.no_browser:
        webbrowser.open(address)
    if any(run.wandb for run in runs):
        with _beside(folder, options):
            _open_wandb(runs)
    elif any(run.tensorboard for run in runs):
        with _beside(folder, options):
            _open_tensorboard(folder)
    elif has_search(folder):
        serve_search(str(folder), options.port, browser=not options.no_browser)


def find_runs(root: Path) -> Iterator[LoggedRun]:
    """Yields every run folder at or below `root`, in no order."""
    for place, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in WITHOUT_RUNS]
        folder = Path(place)
        wandb_logs = sorted(folder.glob("wandb/*run-*/*.wandb"))
        events = sorted(folder.glob("tensorboard/events.out.tfevents.*"))
        record = [folder / name for name in ("config.yaml", "metrics.json") if name in files]
        written = [*record, *wandb_logs, *events]
        if not written:
            continue
        metrics, problem = None, ""
        if NAME in files:
            try:
                metrics = read_metrics(folder / NAME)
            except UserError as error:
                problem = str(error)
        changed = max(path.lstat().st_mtime for path in written)
        going_on = time() - changed < _STILL_LOGS
        labels = _labels(folder, metrics)
        yield LoggedRun(
            folder=folder,
            changed=changed,
            metrics=metrics,
            problem=problem,
            name=labels.name,
            variant=labels.variant,
            group=labels.group or "",
            began=NAME in files or "config.yaml" not in files or (folder / "checkpoints").is_dir() or going_on,
            wandb=tuple(path.parent for path in wandb_logs),
            tensorboard=folder / "tensorboard" if events else None,
        )


def _labels(folder: Path, metrics: Mapping[str, Any] | None) -> RunLabels:
    """Labels of a run from its record, or where it is not finished from what was typed for it."""
    multirun = folder.absolute().parent
    group = multirun.name if (multirun / "multirun.yaml").is_file() else None
    if started := None if metrics else _started(folder):
        typed = typed_options(started["overrides"])
        protocol = {"dataset": typed.get("data", "synthetic"), "split": "", "classes": []}
        metrics = {"protocol": protocol, "seed": typed.get("seed", "0"), **started}
    if not metrics:
        return RunLabels(folder.absolute().name, folder.absolute().name, group, "", ())
    metrics = {"model": "PsySFANet", **metrics}  # for which nothing must be typed
    return label_run(metrics, {}, _shared(multirun) if group else (), group)


def _started(folder: Path) -> dict[str, Any] | None:
    """Options and identity of a run of `fer train` that has no record."""
    with suppress(UserError):
        return read_started(folder)
    with suppress(UserError):  # as an earlier version started it
        if (folder / "config.yaml").is_file() and (overrides := read_overrides(folder)) is not None:
            return {"overrides": overrides, **identity(overrides)}
    return None


@cache
def _shared(multirun: Path) -> tuple[str, ...]:
    """What was typed for all runs of a multirun."""
    with suppress(UserError):
        return tuple(shared_overrides(multirun))
    return ()


def run_table(runs: Sequence[LoggedRun], root: Path, without: Collection[str] = ()) -> Table:
    """One row a run, in the order given, without some of the columns; `root` as in `folder_table`."""
    rows = [
        (run.folder, [run.name, run.group or "-", _logged_to(run) or "-", _state(run)], run.changed) for run in runs
    ]
    return folder_table("Runs", ["run", "name", "group", "logged to"], ["test\naccuracy"], rows, root, without)


def _logged_to(run: LoggedRun) -> str:
    return ", ".join(filter(None, (wandb_label(run.wandb), "TensorBoard" if run.tensorboard else "")))


def _state(run: LoggedRun) -> str:
    """The accuracy on test, or why there is none."""
    if run.metrics is None:
        if not (run.folder / "config.yaml").is_file() and not run.problem:
            return "-"  # the log of a report, which no run has
        return "damaged" if run.problem else "not finished" if run.began else "never began"
    test = run.metrics["splits"].get("test")
    return f"{test['accuracy']:.1%}" if test else "-"


def write_runs_page(runs: Sequence[LoggedRun], root: Path) -> Path:
    """Writes the page of runs, in the order given, as `dashboard.html` in the folder that holds them."""
    import pandas as pd  # here, because a list of runs needs neither tables nor figures

    from fer_lightning.studies.page import RunGroup, runs_page

    groups: dict[str, list[LoggedRun]] = {}
    for run in runs:
        if run.metrics or run.name != run.folder.absolute().name:
            groups.setdefault(run.group or "Single runs", []).append(run)
    shown = []
    for title, members in groups.items():
        histories: dict[str, list[pd.DataFrame]] = {}
        for run in members:
            history = _history(run)
            if history is not None and not history.empty:
                histories.setdefault(run.variant, []).append(history)
        shown.append(RunGroup(title, histories, pd.DataFrame([_page_row(run, root) for run in members])))
    records = [run.metrics for run in runs if run.metrics]
    studies = {(record["study"], record["budget"]) for record in records if record.get("study")}
    places = sorted({run.folder.parent / "report" for run in runs})
    of_runs = [page for place in places for page in sorted(place.rglob("index.html"))]
    recorded = sorted(Path("experiments").rglob("index.html"))
    of_studies = [page for page in recorded if _is_of(page.parent.name, studies)]
    return write_text(
        root / "dashboard.html",
        runs_page(
            str(root),
            shown,
            reports=_addresses([*of_studies, *of_runs]),
            records=_addresses([page for page in recorded if page not in of_studies]),
        ),
    )


def _is_of(report: str, studies: Collection[tuple[str, str]]) -> bool:
    """Whether the name of a report's folder is that of one of the studies with its budget."""
    return any(report.startswith(f"{study}_") and report.endswith(f"_{budget}") for study, budget in studies)


def _addresses(pages: Iterable[Path]) -> dict[str, str]:
    return {page.parent.as_posix(): page.absolute().as_uri() for page in pages}


def _history(run: LoggedRun) -> Any:
    from fer_lightning.results.collect import read_history

    try:
        return read_history(str(run.folder)) if run.metrics else None
    except UserError:  # the page shows the scores alone
        return None


def _page_row(run: LoggedRun, root: Path) -> dict[str, object]:
    metrics = run.metrics or {"splits": {}}
    test = metrics["splits"].get("test", {})
    scores = {name: float(test.get(key, "nan")) for name, key in _SCORES.items()}
    seconds = metrics.get("timing", {}).get("fit_seconds")
    return {
        "name": run.name,
        **scores,
        "best epoch": str(metrics.get("best_epoch", "-")),
        "time": float("nan") if seconds is None else float(seconds),
        "state": "finished" if run.metrics else _state(run),
        "logged to": _logged_to(run) or "-",
        "folder": run.folder.relative_to(root).as_posix(),
    }


def sync_runs(runs: Sequence[LoggedRun]) -> None:
    """Uploads those of the runs, the newest first, that were logged offline and have not been uploaded yet.

    Raises:
        UserError: There is nothing to upload, or nobody is logged in; the commands that would upload are printed.
    """
    offline = [logged for run in reversed(runs) for logged in run.wandb if logged.name.startswith("offline-")]
    waiting = list(filter(waits_for_upload, offline))
    if not waiting:
        raise UserError(
            f"--sync needs a run that was logged offline and not uploaded yet; got {len(offline)} uploaded ones."
        )
    from fer_lightning.training.wandb_logger import choose_mode

    if choose_mode("auto") != "online":
        several = "1 run" if len(waiting) == 1 else f"{len(waiting)} runs"
        for folder in waiting:
            print(f"wandb sync {shlex.quote(str(folder.absolute()))}")
        raise UserError(
            f"--sync needs a login and a network to upload {several}, by the commands above: run wandb "
            "login, or set WANDB_API_KEY, and unset WANDB_MODE."
        )
    _show([sys.executable, "-m", "wandb", "sync", *map(str, waiting)])


def _print_tables(runs: Sequence[LoggedRun], root: Path) -> None:
    """Prints tables of the searches and of the runs outside them; if `root` is a search, of its trials."""
    searches = sorted(find_searches(root), key=lambda search: search.changed, reverse=True)
    folders = {search.folder for search in searches}
    if searches:
        print_fitting(Console(), partial(search_table, searches, root), ("best trial", "objective", "when"))
    if shown := [run for run in runs if run.folder not in folders and not folders - {root} & set(run.folder.parents)]:
        print_fitting(Console(), partial(run_table, shown, root), ("group", "run", "logged to", "when"))
    for problem in [search.problem for search in searches] + [run.problem for run in runs]:
        if problem:
            print_line(Console(), f"Damaged: {problem}")


def _beside(folder: Path, options: argparse.Namespace) -> AbstractContextManager[None]:
    """Context in which the Optuna Dashboard is served if there is a search."""
    if not has_search(folder):
        return nullcontext()
    return searches_served(str(folder), options.port, browser=not options.no_browser)


def _on_a_terminal() -> bool:
    return sys.stdout.isatty()


def _open_wandb(runs: Sequence[LoggedRun]) -> None:
    """Shows all runs together; they are linked into one folder, because the viewer shows one folder."""
    with TemporaryDirectory(prefix="fer_dashboard_") as together:
        for run in runs:
            for logged in run.wandb:
                (Path(together) / logged.name).symlink_to(logged.resolve(), target_is_directory=True)
        _show([sys.executable, "-m", "wandb", "leet", together])


def _open_tensorboard(folder: Path) -> None:
    if find_spec("tensorboard") is None:
        raise UserError("TensorBoard is not installed: pip install 'fer_lightning[tensorboard]'.")
    _show([sys.executable, "-m", "tensorboard.main", "--logdir", str(folder)])


def _show(command: list[str]) -> None:
    status = subprocess.call(command)
    if status:
        sys.exit(status)
