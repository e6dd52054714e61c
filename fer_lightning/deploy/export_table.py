"""What `fer export` measured, as a table in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from fer_lightning.deploy.parity import Measured
from fer_lightning.plots.text import NOTHING, percent
from fer_lightning.report.terminal import escape


def export_table(rows: Sequence[Measured], told: str) -> Table:
    """One row a form of the network.

    Args:
        rows: What was measured.
        told: On which faces.
    """
    table = Table(
        "form", title=escape(f"On {told}; time: one face, one thread"), title_justify="left", title_style="bold"
    )
    for heading in ("MB", "accuracy", "95% interval", "same label", "max |Δ logit|", "ms"):
        table.add_column(heading, justify="right")
    for cells in measured_cells(rows):
        table.add_row(*map(escape, cells))
    return table


def measured_cells(rows: Sequence[Measured]) -> list[list[str]]:
    """Form, size, accuracy, its interval, agreement, difference and time of each row, for readers."""
    return [
        [
            row.form,
            NOTHING if row.megabytes is None else f"{row.megabytes:.1f}",
            percent(row.scores["accuracy"]) if row.scores else NOTHING,
            f"{100 * row.scores['accuracy_low']:.1f}–{percent(row.scores['accuracy_high'])}" if row.scores else NOTHING,
            percent(row.agreement),
            f"{row.difference:.2g}",
            f"{row.milliseconds:.2f}",
        ]
        for row in rows
    ]


def ratio_line(rows: Sequence[Measured]) -> str | None:
    """How much faster int8 is than float32, in the same rounds; None where there is no int8."""
    by_form = {row.form: row for row in rows}
    if "ONNX, int8" not in by_form:
        return None
    whole, integer = by_form["ONNX, float32"], by_form["ONNX, int8"]
    told = f"int8 takes {integer.milliseconds / whole.milliseconds:.2f} of the time of float32 ONNX"
    if whole.scores:
        lost = 100 * (whole.scores["accuracy"] - integer.scores["accuracy"])
        told += f" and changes accuracy by {-lost:+.1f} points"
    return told + "."
