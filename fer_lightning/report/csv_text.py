"""Tables as CSV that a spreadsheet shows and does not compute."""

from __future__ import annotations

from typing import Any

import pandas as pd

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how spreadsheets know one


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
    safe = table.rename(columns=csv_cell)
    for place, dtype in enumerate(table.dtypes):
        if not pd.api.types.is_numeric_dtype(dtype):
            safe.isetitem(place, table.iloc[:, place].map(csv_cell))
    return safe.to_csv(**options)
