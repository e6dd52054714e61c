"""The lines of which Markdown tables are made."""

from __future__ import annotations

from collections.abc import Iterable


def markdown_line(cells: Iterable[str]) -> str:
    """One line of a table; a cell that holds a `|` must have it escaped."""
    return f"| {' | '.join(cells)} |"
