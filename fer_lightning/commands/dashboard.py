"""`fer dashboard`: lists runs and searches and opens W&B, TensorBoard or the Optuna Dashboard; works offline."""

from __future__ import annotations

import argparse
import os
import sqlite3
import subprocess
import sys
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from socketserver import ThreadingMixIn
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from rich.console import Console
from rich.table import Table

from fer_lightning.errors import UserError, printable
from fer_lightning.plots.text import folder_table, print_line
from fer_lightning.results.metrics_schema import NAME, read_best, read_metrics

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

_NOT_RUNS = {"wandb", "tensorboard", "csv", "checkpoints", "figures", ".hydra"}
HOST = "127.0.0.1"  # local only, because anyone who reaches the dashboard can delete studies
STORAGE = "FER_SWEEP_STORAGE"  # as in conf/hydra/sweeper/optuna.yaml


@dataclass(frozen=True)
class LoggedRun:
    """A run folder.

    Attributes:
        folder: Path of the folder.
        changed: Time of the last change, in seconds since 1970.
        metrics: Content of `metrics.json`; None if the run is not finished or the file is damaged.
        problem: Error in `metrics.json`, else empty.
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
        UserError: There are no runs, or none that a viewer can show.
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
        raise UserError(f"{folder} must contain a run; none was found: run fer train first.")
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
        raise UserError("a viewer needs runs that were logged to W&B or TensorBoard: train with logger=wandb.")


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
    """Prints tables of the searches and of the runs outside them; if `root` is a search, of its trials."""
    searches = sorted(find_searches(root), key=lambda search: search.changed, reverse=True)
    folders = {search.folder for search in searches}
    if searches:
        Console().print(search_table(searches, root))
    if shown := [run for run in runs if run.folder not in folders and not folders - {root} & set(run.folder.parents)]:
        Console().print(run_table(shown, root))
    for problem in [search.problem for search in searches] + [run.problem for run in runs]:
        if problem:
            print_line(Console(), f"Damaged: {problem}")


def _has_search(folder: Path) -> bool:
    return any((search.folder / "study.db").is_file() for search in find_searches(folder))


def _beside(folder: Path, options: argparse.Namespace) -> AbstractContextManager[None]:
    """Context in which the Optuna Dashboard is served if there is a search."""
    if not _has_search(folder):
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


@dataclass(frozen=True)
class LoggedSearch:
    """Folder of a sweep.

    Attributes:
        folder: Path of the folder.
        changed: Time of the last change, in seconds since 1970.
        report: Content of `best.json`; None if the search is not finished or the file is damaged.
        problem: Error in `best.json`, else empty.
    """

    folder: Path
    changed: float
    report: dict[str, Any] | None
    problem: str = ""


def find_searches(root: Path) -> Iterator[LoggedSearch]:
    """Yields every sweep folder at or below `root`, in no order."""
    for place, folders, files in os.walk(root):
        marks = [Path(place) / name for name in ("study.db", "best.json") if name in files]
        if marks:
            folders.clear()  # its subfolders are its trials
            report, problem = None, ""
            if marks[-1].name == "best.json":
                try:
                    report = read_best(marks[-1])
                except UserError as error:
                    problem = str(error)
            yield LoggedSearch(Path(place), max(mark.lstat().st_mtime for mark in marks), report, problem)


def search_table(searches: Sequence[LoggedSearch], root: Path) -> Table:
    """One row a search, in the order given.

    Args:
        searches: The searches.
        root: Folders are shown relative to it.
    """
    rows = []
    for search in searches:
        cells = ["-", "-", "damaged" if search.problem else "not finished", "-"]
        if search.report:
            best = search.report["best"]
            scores = [f"{best['value']:.5g}", str(best["trial"])] if best else ["none complete", "-"]
            cells = [search.report["objective"], str(sum(search.report["trials"].values())), *scores]
        rows.append((search.folder, cells, search.changed))
    return folder_table("Searches", ["search", "objective"], ["trials", "best value", "best trial"], rows, root)


@contextmanager
def searches_served(place: str | None, port: int, browser: bool) -> Iterator[None]:
    """Context in which the Optuna Dashboard is served to this machine; its address is printed.

    Args:
        place: URL of a storage, path of a storage file, a sweep folder, or a parent folder, of which the sweep that
            changed last is shown; None for the storage in `FER_SWEEP_STORAGE`, else `outputs`.
        port: Port of the server; 0 for any free port.
        browser: Whether to open a web browser, if there is a screen.

    Raises:
        UserError: There is no search, it cannot be reached, or the port is in use.
    """
    storage, shown = _open(place)
    from optuna_dashboard import wsgi

    try:
        server = make_server(HOST, port, wsgi(storage), server_class=_Server, handler_class=_Silent)
    except (OSError, OverflowError) as error:
        raise UserError(f"--port {port} cannot be used ({error}): omit it for any free port.") from error
    address = f"http://{HOST}:{server.server_port}/dashboard/"
    print(printable(f"Optuna Dashboard of {shown}: {address}"), flush=True)
    with server:
        Thread(target=server.serve_forever, daemon=True).start()
        if browser and _has_screen():
            webbrowser.open(address)
        try:
            yield
        finally:
            server.shutdown()


def serve_search(place: str | None, port: int, browser: bool) -> None:
    """Serves the Optuna Dashboard until Ctrl-C; see `searches_served`."""
    with searches_served(place, port, browser):
        print("Ctrl-C ends it.", flush=True)
        try:
            Event().wait()
        except KeyboardInterrupt:
            print()


class _Server(ThreadingMixIn, WSGIServer):
    """Server with one thread a connection, because browsers open connections that they do not use at once."""

    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged."""


def _open(place: str | None) -> tuple[BaseStorage, str]:
    """Existing storage of a search, and its name for messages."""
    option = "--search "
    if place is None and (place := os.environ.get(STORAGE)):
        option = f"{STORAGE}="
    place = place or "outputs"
    location, shown = _locate(place, option)
    named = f"{option}{shown}"
    # Imported here, because importing Optuna takes a second.
    from fer_lightning.search.storage import open_storage

    if location.startswith("sqlite"):
        _check_sqlite(location, named)
    try:
        storage = open_storage(location, Path(), option=option)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{named} must be a database or a journal of a search, such as a study.db.") from error
    if not storage.get_all_studies():
        raise UserError(f"{named} must contain a search; got none: run fer train -m hydra/sweeper=optuna ... first.")
    return storage, f"{shown} ({STORAGE})" if option.startswith(STORAGE) else shown


def _locate(place: str, option: str) -> tuple[str, str]:
    """Storage as `open_storage` takes it, and its name for messages, without password."""
    path = Path(place)
    if "://" in place:
        return place, place.rpartition("@")[2]
    if path.is_file():
        return f"sqlite:///{path.resolve()}" if path.suffix == ".db" else place, place
    if not path.is_dir() and option.startswith(STORAGE):
        raise UserError(f"{option}{place} does not exist: use the storage or the folder of a search.")
    searches = [search for search in find_searches(path) if (search.folder / "study.db").is_file()]
    if not searches:
        raise UserError(
            f"{place} must contain a search with a study.db; got none: run fer train -m hydra/sweeper=optuna ... "
            "first, or use the URL of a database."
        )
    folder = max(searches, key=lambda search: search.changed).folder
    return f"sqlite:///{(folder / 'study.db').resolve()}", str(folder)


def _check_sqlite(url: str, named: str) -> None:
    """Checks that a file holds studies; Optuna would create it, or its tables in the database of another program."""
    from sqlalchemy import make_url

    path = Path(make_url(url).database or "")
    if not path.is_file():
        raise UserError(f"{named} does not exist: use an existing study.db, or the folder of a search.")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            connection.execute("SELECT 1 FROM studies LIMIT 1")
    except sqlite3.Error as error:
        raise UserError(f"{named} must be the database of a search, such as a study.db: {error}.") from error


def _has_screen() -> bool:
    on_desktop = sys.platform in ("darwin", "win32")
    return on_desktop or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
