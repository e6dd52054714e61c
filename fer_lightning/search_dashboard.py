"""The searches among the logged runs, and the Optuna Dashboard on one of them, in a web browser."""

from __future__ import annotations

import json
import os
import sys
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from socketserver import ThreadingMixIn
from threading import Event, Thread
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from rich.markup import escape
from rich.table import Table

from fer_lightning.errors import UserError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

HOST = "127.0.0.1"  # the dashboard lets whoever reaches it delete studies


@dataclass(frozen=True)
class LoggedSearch:
    """Folder of a sweep.

    Attributes:
        folder: Where it is.
        changed: When a trial last ended there, in seconds since 1970.
        report: Content of `best.json`; None while the search is not finished.
    """

    folder: Path
    changed: float
    report: dict[str, Any] | None


def find_searches(root: Path) -> Iterator[LoggedSearch]:
    """Yields every sweep folder at or below `root`, in no order."""
    for place, folders, files in os.walk(root):
        marks = [Path(place) / name for name in ("study.db", "best.json") if name in files]
        if marks:
            folders.clear()  # what lies below are its trials
            report = json.loads(marks[-1].read_text()) if marks[-1].name == "best.json" else None
            yield LoggedSearch(Path(place), max(mark.stat().st_mtime for mark in marks), report)


def search_table(searches: Sequence[LoggedSearch], root: Path) -> Table:
    """One row a search, in the order given.

    Args:
        searches: The searches.
        root: Folders are shown relative to it.
    """
    table = Table(title=escape(f"Searches in {root}"), title_justify="left", title_style="bold")
    table.add_column("search", overflow="fold")
    table.add_column("objective")
    for heading in ("trials", "best value", "best trial"):
        table.add_column(heading, justify="right")
    table.add_column("when", no_wrap=True)
    for search in searches:
        cells = ["-", "-", "not finished", "-"]
        if search.report:
            best = search.report["best"]
            found = [f"{best['value']:.5g}", str(best["trial"])] if best else ["none complete", "-"]
            cells = [escape(search.report["objective"]), str(sum(search.report["trials"].values())), *found]
        when = f"{datetime.fromtimestamp(search.changed):%Y-%m-%d %H:%M}"
        table.add_row(escape(search.folder.relative_to(root).as_posix()), *cells, when)
    return table


@contextmanager
def searches_served(place: str, port: int, browser: bool) -> Iterator[None]:
    """Serves the Optuna Dashboard to this machine while a `with` block lasts, and prints its address.

    Args:
        place: URL of a storage, path of a storage file, a sweep folder, or a folder above some, of which the sweep that
            changed last is shown.
        port: Where to listen; 0 takes any free port.
        browser: Whether to open a web browser, if there is a screen.

    Raises:
        UserError: There is no search, or the port is taken.
    """
    storage, shown = _open(place)
    from optuna_dashboard import wsgi

    try:
        server = make_server(HOST, port, wsgi(storage), server_class=_Server, handler_class=_Silent)
    except (OSError, OverflowError) as error:
        raise UserError(f"--port {port} cannot be used ({error}): leave it away for any free one.") from error
    address = f"http://{HOST}:{server.server_port}/dashboard/"
    print(f"Optuna Dashboard of {shown}: {address}", flush=True)
    with server:
        Thread(target=server.serve_forever, daemon=True).start()
        if browser and _has_screen():
            webbrowser.open(address)
        try:
            yield
        finally:
            server.shutdown()


def serve_search(place: str, port: int, browser: bool) -> None:
    """Serves the Optuna Dashboard until Ctrl-C; see `searches_served`."""
    with searches_served(place, port, browser):
        print("Ctrl-C ends it.", flush=True)
        try:
            Event().wait()
        except KeyboardInterrupt:
            print()


class _Server(ThreadingMixIn, WSGIServer):
    """Answers each connection in a thread: browsers open some that they do not use at once."""

    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Requests are nobody's news."""


def _open(place: str) -> tuple[BaseStorage, str]:
    path = Path(place)
    if "://" in place:
        location, shown = place, place.rpartition("@")[2]  # without user and password
    elif path.is_file():
        location, shown = (f"sqlite:///{path.resolve()}" if path.suffix == ".db" else place), place
    else:
        found = [search for search in find_searches(path) if (search.folder / "study.db").is_file()]
        if not found:
            raise UserError(
                f"{place} holds no search with a study.db: fer train -m hydra/sweeper=mboa ... makes one; for a search "
                "in a database, give the URL of that."
            )
        folder = max(found, key=lambda search: search.changed).folder
        location, shown = f"sqlite:///{(folder / 'study.db').resolve()}", str(folder)
    # Optuna takes a second to import, which only those pay who look at a search.
    from fer_lightning.search.storage import open_storage

    return open_storage(location, path), shown


def _has_screen() -> bool:
    on_desktop = sys.platform in ("darwin", "win32")
    return on_desktop or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
