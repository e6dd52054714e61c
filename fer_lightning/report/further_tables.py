"""Other published tables that the runs of a study measure too: spreads over seeds, p-values."""

from __future__ import annotations

import pandas as pd

from fer_lightning.errors import UserError
from fer_lightning.plots.text import NOTHING, as_printed
from fer_lightning.report.published import published_scores
from fer_lightning.studies.definition import FurtherTable

_MEASURED = {"mean": "mean", "sd": "sd", "p": "p", "p_holm": "p (Holm)"}


def further_table(further: FurtherTable, published: pd.DataFrame, ledger: pd.DataFrame) -> pd.DataFrame:
    """Sets another published table beside what a ledger holds.

    Args:
        further: What the table is.
        published: As `read_published` returns it.
        ledger: The headline, as `build_ledger` returns it.

    Returns:
        Text, one line a row: `row`, then of each metric what was published and what was measured, then `seeds`, and for
        p-values the `test`.

    Raises:
        UserError: The paper has no such table, metric or row, or the ledger no such column.
    """
    if strange := set(further.columns.values()) - set(_MEASURED):
        raise UserError(f"{further.table} cannot show {', '.join(strange)}: choose from {', '.join(_MEASURED)}.")
    claims = {metric: published_scores(published, further.table, metric) for metric in further.columns}
    measured = ledger.set_index("variant")
    lines = []
    for title, variant in further.rows.items():
        row = measured.loc[variant] if variant in measured.index else None
        line = {"row": title}
        for metric, column in further.columns.items():
            if title not in claims[metric]:
                raise UserError(f"{further.table} has no {metric} of {title!r}: it has {', '.join(claims[metric])}.")
            line[f"published {metric}, as a claim"] = _shown(claims[metric][title], column, claim=True)
            line[f"measured {_MEASURED[column]}"] = "not run" if row is None else _shown(row[column], column)
        line["seeds"] = NOTHING if row is None else str(row["n_seeds"])
        if {"p", "p_holm"} & set(further.columns.values()):
            line["test"] = NOTHING if row is None or pd.isna(row["test"]) else str(row["test"])
        lines.append(line)
    return pd.DataFrame(lines)


def _shown(value: float, column: str, claim: bool = False) -> str:
    if pd.isna(value):
        return NOTHING
    if column in ("p", "p_holm"):
        return f"{value:.4f}" if value >= 0.0001 else "< 0.0001"
    return as_printed(value) if claim else f"{100 * value:.2f} %"
