"""What `fer report` prints: the headline table of a study and where its files are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fer_lightning.plots.text import as_printed, p_value, percent, points
from fer_lightning.report.shown_path import shown_path
from fer_lightning.report.study import StudyReport
from fer_lightning.report.terminal import escape, print_line

_NEXT = 3


def show_study(report: StudyReport, files: Sequence[Path], console: Console) -> None:
    """Prints the headline of a study.

    Args:
        report: What was found.
        files: Where it was written.
        console: Where it is printed.
    """
    metric, ledger = next(iter(report.ledgers.items()))
    table = Table(title=escape(f"{report.title} ({metric})"), title_justify="left", title_style="bold")
    table.add_column("row")
    for heading in ("claimed", "measured", "seeds", "difference", "p (Holm)"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in ledger.itertuples():
        spread = f" ± {100 * row.sd:.1f}" if row.n_seeds > 1 else ""
        measured = f"{percent(row.mean)}{spread}" if row.n_seeds else "not run"
        one_seed = "¹" if str(row.test).startswith("McNemar") else ""
        tested = "reference" if row.row == report.reference else f"{p_value(row.p_holm)}{one_seed}"
        cells = [as_printed(row.published), measured, str(row.n_seeds), points(row.difference), tested]
        table.add_row(*map(escape, [str(row.row), *cells]))
    console.print(table)
    if ledger["test"].astype(str).str.startswith("McNemar").any():
        console.print("¹ of one seed: covers the draw of the test images, not the luck of the seed.")
    if report.unfinished:
        more = "; ..." if len(report.unfinished) > _NEXT else ""
        told = f"{len(report.unfinished)} runs have no record yet: {'; '.join(report.unfinished[:_NEXT])}{more}"
        print_line(console, told)
    show_files(report.name, files, console)


def show_files(name: str, files: Sequence[Path], console: Console) -> None:
    """Prints where a report was written, on one line that can be copied.

    Args:
        name: Of the report.
        files: In one folder, the one to read first.
        console: Where it is printed.
    """
    others = ", ".join(path.name for path in files[1:])
    print_line(console, f"{name}: {shown_path(files[0])}, beside it {others}")
    console.print()
