"""A table of folders, as `fer dashboard` prints of runs and of searches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from rich.table import Table

from fer_lightning.report.terminal import escape

_LATEST = 4e9  # seconds since 1970, in 2096: clocks and archives may say more than a date can


def folder_table(
    title: str,
    words: Sequence[str],
    numbers: Sequence[str],
    rows: Iterable[tuple[Path, Sequence[str], float]],
    root: Path,
) -> Table:
    """One row a folder, in the order given.

    Args:
        title: What the folders are.
        words: Headings of columns of text, the first one that of the folders.
        numbers: Headings of columns to the right of those.
        rows: Of each folder its path, the cells of the other columns, and when it changed, in seconds since 1970.
        root: Folders are shown relative to it.
    """
    table = Table(title=escape(f"{title} in {root}"), title_justify="left", title_style="bold")
    table.add_column(words[0], overflow="fold")
    for heading in words[1:]:
        table.add_column(heading)
    for heading in numbers:
        table.add_column(heading, justify="right")
    table.add_column("when", no_wrap=True)
    for folder, cells, changed in rows:
        when = f"{datetime.fromtimestamp(min(max(changed, 0), _LATEST)):%Y-%m-%d %H:%M}"
        table.add_row(*map(escape, [folder.relative_to(root).as_posix(), *cells, when]))
    return table
