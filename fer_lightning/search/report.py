"""Report of a search: table of its trials, its best parameters beside published ones, and the Optuna Dashboard."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import webbrowser
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from socketserver import ThreadingMixIn
from threading import Event, Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pandas as pd
from rich.table import Table

from fer_lightning.errors import UserError, printable
from fer_lightning.files import write_text
from fer_lightning.plots.text import NOTHING, facts_markdown, folder_table, markdown_text, table_markdown
from fer_lightning.results.metrics_schema import read_best

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage

HOST = "127.0.0.1"  # local only, because anyone who reaches the dashboard can delete studies
STORAGE = "FER_SWEEP_STORAGE"  # as in conf/hydra/sweeper/optuna.yaml


@dataclass(frozen=True)
class SearchDefinition:
    """Content of the report of a search.

    Attributes:
        title: Title of the report.
        parameters: Searched option by row of the published table; empty for all options by their names.
        paper: Folder of `published.csv`, or None.
        table: Published table of the parameters, or None.
    """

    title: str
    parameters: Mapping[str, str]
    paper: str | None = None
    table: str | None = None

    @classmethod
    def from_block(cls, name: str, block: Mapping[str, Any]) -> SearchDefinition:
        """Reads the `report:` block of a search.

        Raises:
            UserError: A key is missing or unknown.
        """
        known = {field.name for field in fields(cls)}
        if set(block) - known or not {"title", "parameters"} <= set(block):
            raise UserError(
                f"the report block of the search study={name} must have title and parameters, and optionally paper and "
                f"table; got {', '.join(block)}."
            )
        return cls(**block)


def write_search(
    search: Path, definition: SearchDefinition, published: pd.DataFrame | None, folder: Path
) -> list[Path]:
    """Writes the report of a search.

    Args:
        search: Folder of the search, with `trials.csv`, `best.json` and `figures`.
        definition: Content of the report.
        published: Published numbers (`read_published`), or None.
        folder: Folder of the report, which is created if needed.

    Returns:
        Paths of `table.md`, `trials.csv` and the figures, first the fitness curve (Fig. 3 of PsySFA-Net).

    Raises:
        UserError: The search is not finished, or no trial is complete.
    """
    if not (search / "best.json").is_file() or not (search / "trials.csv").is_file():
        raise UserError(f"the search in {search} is not finished: repeat its command to continue it.")
    best = read_best(search / "best.json")
    if best["best"] is None:
        raise UserError(f"no trial of the search in {search} is complete: there is no best one to report.")
    folder.mkdir(parents=True, exist_ok=True)
    figures = sorted(
        (path for path in (search / "figures").glob("*.png") if path.is_file() and not path.is_symlink()),
        key=lambda path: (path.name != "fitness.png", path.name),
    )
    copied = [Path(shutil.copy(path, folder / path.name)) for path in (search / "trials.csv", *figures)]
    table = table_markdown(best_table(best["best"]["parameters"], definition, published))
    heading = definition.title if definition.table is None else f"{definition.table}: {definition.title}"
    counted = ", ".join(f"{count} {state}" for state, count in best["trials"].items())
    sampler = str((best["sampler"] or {}).get("_target_", "its default")).rpartition(".")[2]
    facts = {
        "Objective": f"{best['objective']}, {best['direction']}d",
        "Trials": counted,
        "Sampler": sampler,
        "Best": f"trial {best['best']['trial']}, {best['objective']} {best['best']['value']:.5g}",
    }
    pictures = [f"![{markdown_text(path.stem.replace('_', ' '))}]({quote(path.name)})" for path in figures]
    text = "\n\n".join([f"## {markdown_text(heading)}", facts_markdown(facts), table, *pictures]) + "\n"
    return [write_text(folder / "table.md", text), *copied]


def best_table(
    best: Mapping[str, object], definition: SearchDefinition, published: pd.DataFrame | None
) -> pd.DataFrame:
    """One row per parameter with its published numbers and its best value.

    Args:
        best: Best value by option.
        definition: Content of the report.
        published: Result of `read_published`, or None.

    Raises:
        UserError: The published table has no such row.
    """
    claims = pd.DataFrame() if published is None else published[published["table"] == definition.table]
    parameters = definition.parameters or {name: name for name in best}
    lines = []
    for title, option in parameters.items():
        line = {"parameter": title, **({"option": option} if definition.parameters else {})}
        if not claims.empty:
            claim = claims[claims["row"] == title]
            if claim.empty:
                raise UserError(f"{definition.table} has no row {title!r}: it has {', '.join(claims['row'].unique())}.")
            line |= {f"published {metric}": f"{value:g}" for metric, value in zip(claim["metric"], claim["value"])}
        value = best.get(option, NOTHING)
        lines.append(line | {"found here": f"{value:.4g}" if isinstance(value, float) else str(value)})
    return pd.DataFrame(lines)


def trial_table(study: Study) -> pd.DataFrame:
    """One row per trial: `number`, `state`, `value` (the last reported one of a pruned trial), the parameters by their
    names, `seconds`."""
    trials = study.get_trials(deepcopy=False)
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    rows = [
        [
            trial.number,
            trial.state.name.lower(),
            trial.value,
            *(trial.params.get(name) for name in names),
            trial.duration.total_seconds() if trial.duration else None,
        ]
        for trial in trials
    ]
    return pd.DataFrame(rows, columns=["number", "state", "value", *names, "seconds"])


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


def search_table(searches: Sequence[LoggedSearch], root: Path, without: Collection[str] = ()) -> Table:
    """One row a search, in the order given.

    Args:
        searches: The searches.
        root: Folders are shown relative to it.
        without: Headings of columns to omit, see `folder_table`.
    """
    rows = []
    for search in searches:
        cells = ["-", "-", "damaged" if search.problem else "not finished", "-"]
        if search.report:
            best = search.report["best"]
            scores = [f"{best['value']:.5g}", str(best["trial"])] if best else ["none complete", "-"]
            cells = [search.report["objective"], str(sum(search.report["trials"].values())), *scores]
        rows.append((search.folder, cells, search.changed))
    return folder_table(
        "Searches", ["search", "objective"], ["trials", "best value", "best trial"], rows, root, without
    )


def has_search(folder: Path) -> bool:
    """Whether a sweep at or below a folder has trials to show."""
    return any((search.folder / "study.db").is_file() for search in find_searches(folder))


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
        if browser and has_screen():
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
    from fer_lightning.search.storage import open_storage  # here, because importing Optuna takes a second

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


def has_screen() -> bool:
    """Whether a web browser can be shown."""
    on_desktop = sys.platform in ("darwin", "win32")
    return on_desktop or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
