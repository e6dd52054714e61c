"""Scores, p-values, names and tables as text in Markdown, CSV and the terminal.

Names are escaped, so that they act neither as markup nor as formulas of a spreadsheet.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from fer_lightning.errors import printable

if TYPE_CHECKING:
    import pandas as pd

NOTHING = "-"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # first characters of a formula
_NOTHING = "[none][/none]"
_LONGEST_CELL = 40  # characters of a name in a narrow table, which continues below
_LATEST = 4e9  # seconds since 1970, in 2096: clocks and archives may exceed the range of dates


def percent(ratio: float) -> str:
    """A measured score in 0..1 as percent with one decimal, the precision that a few thousand test images support."""
    return NOTHING if math.isnan(ratio) else f"{100 * ratio:.1f} %"


def as_printed(ratio: float) -> str:
    """A published score in 0..1 as percent with the digits of the papers, at most two."""
    return NOTHING if math.isnan(ratio) else f"{round(100 * ratio, 2):g} %"


def points(ratio: float) -> str:
    """A difference of scores in 0..1 as signed percentage points."""
    return NOTHING if math.isnan(ratio) else f"{100 * ratio:+.1f}"


def range_of_percents(low: float, high: float) -> str:
    """Range of two scores, or a single score where both are equal."""
    return percent(low) if low == high or math.isnan(low) else f"{percent(low)} to {percent(high)}"


def p_value(p: float) -> str:
    """A p-value with three decimals."""
    return NOTHING if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def duration(seconds: float) -> str:
    """A time as one would say it: `45 s`, `12 min`, `2 h 5 min`."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def markdown_text(text: object) -> str:
    """Text on one line with HTML, links and code escaped; emphasis is kept."""
    shown = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", printable(text))
    return shown.replace("](", "]\\(").replace("`", "\\`")


def markdown_line(cells: Iterable[object]) -> str:
    """Row of a Markdown table; cells may contain any text."""
    # A pipe after a backslash cannot be escaped by another backslash.
    escaped = (
        re.sub(r"(\\*)\|", lambda bar: f"{bar[1]}&#124;" if bar[1] else "\\|", text)
        for text in map(markdown_text, cells)
    )
    return f"| {' | '.join(escaped)} |"


def shorten(title: str, most: int) -> str:
    """Title of at most `most` characters; a longer one ends with an ellipsis."""
    return title if len(title) <= most else title[: most - 1].rstrip() + "…"


def csv_cell(value: Any) -> Any:
    """Cell of a CSV file; text that a spreadsheet would interpret as a formula gets an apostrophe.

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
    """Table as CSV with the options of `DataFrame.to_csv`; text and names of columns are escaped by `csv_cell`."""
    from pandas.api.types import is_numeric_dtype

    safe = table.rename(columns=csv_cell)
    for place, dtype in enumerate(table.dtypes):
        if not is_numeric_dtype(dtype):
            safe.isetitem(place, table.iloc[:, place].map(csv_cell))
    return safe.to_csv(**options)


def escape(name: object) -> str:
    """Name as Rich text, with markup, emoji codes, control characters and line breaks escaped."""
    # Rich's own escape mishandles backslashes before a bracket that begins no tag, and at the end.
    text = re.sub(r"(\\*)(\[|$)", lambda match: _escaped(*match.groups()), printable(name))
    # Rich looks for codes such as :smile: separately in each piece of text between tags.
    return re.sub(r":(?=\S+:)", f":{_NOTHING}", text)


def _escaped(backslashes: str, bracket: str) -> str:
    return (2 * backslashes + _NOTHING if backslashes else "") + bracket.replace("[", "\\[")


def print_line(console: Console, line: object) -> None:
    """Prints a line without wrapping or markup, so that paths and commands in it can be copied."""
    console.print(printable(line), soft_wrap=True, markup=False, emoji=False, highlight=False)


def score_table(title: str, words: Sequence[str], numbers: Sequence[str]) -> Table:
    """Empty Rich table: its title, which is escaped, columns of text, and to their right columns of numbers."""
    table = Table(title=escape(title), title_justify="left", title_style="bold", caption_justify="left")
    for heading in words:
        table.add_column(heading, overflow="fold")
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def text_table(title: str, cells: pd.DataFrame, words: Collection[str] = ()) -> Table:
    """Rich table of text; the first column and those in `words` are left-aligned, as by `table_markdown`."""
    table = score_table(title, (), ())
    for heading in cells:
        number = heading not in (*words, cells.columns[0])
        table.add_column(heading, justify="right" if number else "left", no_wrap=number, overflow="fold")
    for row in cells.map(escape).to_numpy():
        table.add_row(*row)
    return table


def print_fitting(console: Console, build: Callable[[Collection[str]], Table], parts: Sequence[str]) -> None:
    """Prints the most complete form of a table that is not wider than the terminal.

    Args:
        console: Console of the terminal.
        build: Makes the table without the parts that it is given.
        parts: What the table can do without or in two lines, such as columns; the least important first.
    """
    anything = console.options.update(width=1000)  # not what the terminal would leave of it
    for count in range(len(parts) + 1):
        table = build(parts[:count])
        if Measurement.get(console, anything, table).maximum <= console.width:
            break
    console.print(table)


def folder_table(
    title: str,
    words: Sequence[str],
    numbers: Sequence[str],
    rows: Iterable[tuple[Path, Sequence[str], float]],
    root: Path,
    without: Collection[str] = (),
) -> Table:
    """Table of folders, in the given order.

    Args:
        title: Kind of the folders.
        words: Headings of the columns of text; the first one is that of the folders.
        numbers: Headings of the columns of numbers, to the right of those.
        rows: Path of each folder, the cells of its other columns, and its modification time in seconds since 1970.
        root: Folder that the paths are shown relative to.
        without: Headings of columns to omit. Without the heading of the folders, each stands below the first of the
            other cells of its row.
    """
    headings = [*words, *numbers, "when"]
    shown = [heading not in without for heading in headings]
    kept = [heading for heading, is_shown in zip(headings, shown) if is_shown]
    table = score_table(
        f"{title} in {root}",
        [heading for heading in kept if heading in words],
        [heading for heading in kept if heading in numbers],
    )
    table.pad_edge = False
    if not shown[0]:
        table.columns[0].max_width = _LONGEST_CELL
    if "when" in kept:
        table.add_column("when", no_wrap=True)
    for folder, others, changed in rows:
        place = folder.relative_to(root).as_posix()
        when = f"{datetime.fromtimestamp(min(max(changed, 0), _LATEST)):%Y-%m-%d %H:%M}"
        cells = [escape(cell) for cell, is_shown in zip([place, *others, when], shown) if is_shown]
        if not shown[0]:
            cells[0] += f"\n  {escape(place)}"
        table.add_row(*cells)
    return table


def facts_markdown(facts: Mapping[str, str]) -> str:
    """Markdown list of headings and values."""
    return "\n".join(f"- **{markdown_text(heading)}:** {markdown_text(value)}" for heading, value in facts.items())


def table_markdown(table: pd.DataFrame, words: Collection[str] = ()) -> str:
    """Markdown table; the first column and those in `words` are left-aligned, the others right-aligned."""
    rules = ["---" if name in (*words, table.columns[0]) else "---:" for name in table]
    lines = [list(table), rules, *table.to_numpy().tolist()]
    return "\n".join(markdown_line(line) for line in lines)
