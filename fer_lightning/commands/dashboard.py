"""`fer dashboard`: what was trained and searched, and the viewers of what was logged; works offline."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

from fer_lightning.errors import UserError
from fer_lightning.results.metrics_file import NAME, read_metrics
from fer_lightning.folder_table import folder_table
from fer_lightning.report.terminal import print_line
from fer_lightning.search_dashboard import find_searches, search_table, searches_served, serve_search

_NOT_RUNS = {"wandb", "tensorboard", "csv", "checkpoints", "figures", ".hydra"}


@dataclass(frozen=True)
class LoggedRun:
    """A run folder.

    Attributes:
        folder: Where it is.
        changed: When something was last written there, in seconds since 1970.
        metrics: Content of `metrics.json`; None while the run is not finished, or where that is damaged.
        problem: What is wrong with `metrics.json`, in a sentence; else empty.
        wandb: Folders of its W&B runs.
        tensorboard: Folder of its TensorBoard events, or None.
    """

    folder: Path
    changed: float
    metrics: dict[str, Any] | None
    wandb: tuple[Path, ...]
    tensorboard: Path | None
    problem: str = ""


def main(argv: Sequence[str]) -> None:
    """Lists runs or opens a viewer.

    Args:
        argv: Arguments after `fer dashboard`.

    Raises:
        UserError: There are no runs, or none that a viewer could show.
    """
    parser = argparse.ArgumentParser(
        prog="fer dashboard",
        description="Opens the W&B viewer in the terminal (q leaves it) on all runs under a folder, the newest first; "
        "TensorBoard where only that was logged to. Beside it, where there are searches, the Optuna Dashboard on that "
        "which changed last, in a web browser and for this machine only.",
    )
    parser.add_argument(
        "folder",
        nargs="?",
        help="one run, or many (outputs); with --search also a storage file or URL (FER_SWEEP_STORAGE, else outputs)",
    )
    parser.add_argument("--list", action="store_true", help="print a table of the runs and searches instead")
    parser.add_argument("--search", action="store_true", help="show the Optuna Dashboard alone")
    parser.add_argument("--port", type=int, default=0, help="where the Optuna Dashboard listens (any free port)")
    parser.add_argument("--no-browser", action="store_true", help="only print its address")
    options = parser.parse_args(argv)
    if options.search:
        serve_search(options.folder, options.port, browser=not options.no_browser)
        return
    folder = Path(options.folder or "outputs")
    runs = sorted(find_runs(folder), key=lambda run: run.changed, reverse=True)
    if not runs:
        raise UserError(f"{folder} holds no runs yet: fer train makes the first one.")
    if options.list or not _on_a_terminal():
        _print_tables(runs, folder)
    elif any(run.wandb for run in runs):
        with _beside(folder, options):
            _open_wandb(runs)
    elif any(run.tensorboard for run in runs):
        with _beside(folder, options):
            _open_tensorboard(folder)
    elif _has_search(folder):
        serve_search(str(folder), options.port, browser=not options.no_browser)
    else:
        _print_tables(runs, folder)
        raise UserError("these runs were logged neither to W&B nor to TensorBoard: train with logger=wandb.")


def find_runs(root: Path) -> Iterator[LoggedRun]:
    """Yields every run folder at or below `root`, in no order."""
    for place, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in _NOT_RUNS]
        folder = Path(place)
        wandb_logs = sorted(folder.glob("wandb/*run-*/*.wandb"))
        events = sorted(folder.glob("tensorboard/events.out.tfevents.*"))
        record = [folder / name for name in ("config.yaml", "metrics.json") if name in files]
        written = [*record, *wandb_logs, *events]
        if written:
            metrics, problem = None, ""
            if NAME in files:
                try:
                    metrics = read_metrics(folder / NAME)
                except UserError as error:
                    problem = str(error)
            yield LoggedRun(
                folder=folder,
                changed=max(path.lstat().st_mtime for path in written),
                metrics=metrics,
                problem=problem,
                wandb=tuple(path.parent for path in wandb_logs),
                tensorboard=folder / "tensorboard" if events else None,
            )


def run_table(runs: Sequence[LoggedRun], root: Path) -> Table:
    """One row a run, in the order given.

    Args:
        runs: The runs.
        root: Folders are shown relative to it.
    """
    rows = []
    for run in runs:
        metrics = run.metrics or {"protocol": {"dataset": "-"}, "model": "-", "splits": {}}
        test = metrics["splits"].get("test")
        accuracy = f"{test['accuracy']:.1%}" if test else "-"
        cells = [
            metrics["protocol"]["dataset"],
            metrics["model"],
            ", ".join(name for name, found in (("W&B", run.wandb), ("TensorBoard", run.tensorboard)) if found) or "-",
            accuracy if run.metrics else "damaged" if run.problem else "not finished",
        ]
        rows.append((run.folder, cells, run.changed))
    return folder_table("Runs", ["run", "dataset", "model", "logged to"], ["test accuracy"], rows, root)


def _print_tables(runs: Sequence[LoggedRun], root: Path) -> None:
    """Prints the searches and the other runs; the trials of one search where that is `root`."""
    searches = sorted(find_searches(root), key=lambda search: search.changed, reverse=True)
    folders = {search.folder for search in searches}
    if searches:
        Console().print(search_table(searches, root))
    if shown := [run for run in runs if run.folder not in folders and not folders - {root} & set(run.folder.parents)]:
        Console().print(run_table(shown, root))
    for problem in [found.problem for found in searches] + [run.problem for run in runs]:
        if problem:
            print_line(Console(), f"Damaged: {problem}")


def _has_search(folder: Path) -> bool:
    return any((search.folder / "study.db").is_file() for search in find_searches(folder))


def _beside(folder: Path, options: argparse.Namespace) -> AbstractContextManager[None]:
    """The Optuna Dashboard while another viewer is open, where there is a search to show."""
    if not _has_search(folder):
        return nullcontext()
    return searches_served(str(folder), options.port, browser=not options.no_browser)


def _on_a_terminal() -> bool:
    return sys.stdout.isatty()


def _open_wandb(runs: Sequence[LoggedRun]) -> None:
    """Shows all runs side by side; the viewer takes one folder, so they are linked into one."""
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
