"""Text and tables in Markdown, in which names are text and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable

from fer_lightning.errors import printable


def markdown_text(text: object) -> str:
    """Text on one line, in which HTML, links and code of a name are shown instead of obeyed; emphasis stays."""
    shown = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", printable(text))
    return shown.replace("](", "]\\(").replace("`", "\\`")


def markdown_line(cells: Iterable[object]) -> str:
    """One line of a table; cells may hold any text."""
    # A pipe after a backslash cannot be escaped by one more.
    escaped = (
        re.sub(r"(\\*)\|", lambda bar: f"{bar[1]}&#124;" if bar[1] else "\\|", text)
        for text in map(markdown_text, cells)
    )
    return f"| {' | '.join(escaped)} |"
