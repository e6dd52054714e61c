"""Scores, p-values, names and tables as text: in Markdown, in CSV and in the terminal.

Names are text and nothing else there: no markup, and no formula of a spreadsheet.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from fer_lightning.errors import printable

if TYPE_CHECKING:
    import pandas as pd

NOTHING = "-"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how spreadsheets know one
_NOTHING = "[none][/none]"
_LATEST = 4e9  # seconds since 1970, in 2096: clocks and archives may say more than a date can


def percent(ratio: float) -> str:
    """A measured score in 0..1 as percent with one decimal, which is what a few thousand test images can tell."""
    return NOTHING if math.isnan(ratio) else f"{100 * ratio:.1f} %"


def as_printed(ratio: float) -> str:
    """A published score with as many digits as the papers have, which is two at most."""
    return NOTHING if math.isnan(ratio) else f"{round(100 * ratio, 2):g} %"


def points(ratio: float) -> str:
    """A difference of scores in 0..1 as percentage points with its sign."""
    return NOTHING if math.isnan(ratio) else f"{100 * ratio:+.1f}"


def range_of_percents(low: float, high: float) -> str:
    """Two scores, or the one that both are."""
    return percent(low) if low == high or math.isnan(low) else f"{percent(low)} to {percent(high)}"


def p_value(p: float) -> str:
    """A p-value with three decimals."""
    return NOTHING if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


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


def shorten(title: str, most: int) -> str:
    """The title, cut to `most` characters with an ellipsis where it is longer."""
    return title if len(title) <= most else title[: most - 1].rstrip() + "…"


def csv_cell(value: Any) -> Any:
    """A cell: text that a spreadsheet would compute gets an apostrophe, numbers stay numbers.

    Source: OWASP, "CSV injection".
    """
    if not isinstance(value, str):
        return value
    value = value.encode("utf-8", "backslashreplace").decode("utf-8")  # bytes of names that are not UTF-8
    if not value.startswith(_FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def csv_text(table: pd.DataFrame, **options: Any) -> str:
    """A table as CSV; names of columns and cells of text go through `csv_cell`.

    Args:
        table: Any.
        options: Of `DataFrame.to_csv`.
    """
    from pandas.api.types import is_numeric_dtype

    safe = table.rename(columns=csv_cell)
    for place, dtype in enumerate(table.dtypes):
        if not is_numeric_dtype(dtype):
            safe.isetitem(place, table.iloc[:, place].map(csv_cell))
    return safe.to_csv(**options)


def escape(name: object) -> str:
    """A name as a cell or a title of Rich: no markup, emoji code, control character or line break of its own acts."""
    # Rich's own escape leaves or doubles backslashes before a bracket that begins no tag, and at the end.
    text = re.sub(r"(\\*)(\[|$)", lambda found: _escaped(*found.groups()), printable(name))
    # Between tags, Rich looks for codes such as :smile: in each piece of text alone.
    return re.sub(r":(?=\S+:)", f":{_NOTHING}", text)


def _escaped(backslashes: str, bracket: str) -> str:
    return (2 * backslashes + _NOTHING if backslashes else "") + bracket.replace("[", "\\[")


def print_line(console: Console, line: object) -> None:
    """Prints a line as it is, so that paths and commands in it can be copied.

    Args:
        console: Where to print.
        line: Text; names in it need no escaping.
    """
    console.print(printable(line), soft_wrap=True, markup=False, emoji=False, highlight=False)


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


def facts_markdown(facts: Mapping[str, str]) -> str:
    """One point a fact."""
    return "\n".join(f"- **{markdown_text(heading)}:** {markdown_text(told)}" for heading, told in facts.items())


def table_markdown(table: pd.DataFrame, words: Collection[str] = ()) -> str:
    """A table of text in Markdown, its first column and those of `words` to the left and the others to the right."""
    sides = ["---" if name in (*words, table.columns[0]) else "---:" for name in table]
    lines = [list(table), sides, *table.to_numpy().tolist()]
    return "\n".join(markdown_line(line) for line in lines)
