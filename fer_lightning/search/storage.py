"""Where the trials of a search are kept, so that several processes on several machines can share it."""

from __future__ import annotations

import time
from pathlib import Path

from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from fer_lightning.errors import UserError

_PATIENCE = 60.0  # seconds that a process waits for another one that writes to the same SQLite file
_ATTEMPTS = 5


def open_storage(place: str | None, folder: Path, *, option: str = "hydra.sweeper.storage=") -> BaseStorage:
    """Opens, or makes, the storage of a search.

    Args:
        place: URL of a database, as `postgresql://user@host/name`; path of a journal file, which also works on
            a network drive; or None for an SQLite file in `folder`.
        folder: Folder of the sweep.
        option: What the user typed, or set, before the place; messages name it.

    Raises:
        UserError: The database cannot be reached, or no driver for it is installed.
    """
    if place is None:
        place = f"sqlite:///{(folder / 'study.db').resolve()}"
    if "://" not in place:
        path = Path(place)
        path.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(path)))
    local = place.startswith("sqlite:")
    options = {"connect_args": {"timeout": _PATIENCE}} if local else {"pool_pre_ping": True}
    # Two processes that start at the same moment both make the tables, and one of them fails.
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return RDBStorage(place, engine_kwargs=options)
        except (ImportError, NoSuchModuleError, ArgumentError, ValueError) as error:
            raise UserError(
                f"{option}{_shown(place)} is no storage that can be opened here: {_first_line(error)}."
            ) from error
        except SQLAlchemyError as error:
            if attempt == _ATTEMPTS:
                raise UserError(f"{option}{_shown(place)} cannot be reached: {_first_line(error)}.") from error
            time.sleep(0.2 * attempt)
    raise AssertionError("unreachable")


def _shown(place: str) -> str:
    """The URL without user and password, which do not belong into logs."""
    scheme, _, rest = place.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _first_line(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    return " ".join(str(cause).split("\n")[0].split()).rstrip(".")
