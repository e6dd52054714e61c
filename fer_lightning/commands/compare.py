"""`fer compare`: finished runs side by side, image by image, with paired tests."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from fer_lightning.files import shown_path, write_text
from fer_lightning.plots.predictions import draw_comparison
from fer_lightning.plots.style import save_figures
from fer_lightning.plots.text import (
    NOTHING,
    csv_text,
    escape,
    p_value,
    percent,
    points,
    print_fitting,
    print_line,
    score_table,
    table_markdown,
)
from fer_lightning.results.significance import compare

_EXAMPLES = """examples:
  fer train -m model=psysfa_net,resnet hydra.sweep.dir=outputs/two
  fer compare outputs/two/0 outputs/two/1             is one net better, on the same test images?
  fer compare outputs/two/0 outputs/evaluate/2026-01-31_12-00-00
                                                      a run and an evaluation, for example of another net
  fer compare outputs/two --to experiments/two        all pairs of a folder; also as CSV, Markdown and figure

The first run of a pair is its reference: a difference is second - first. Its interval is that of the paired bootstrap
over the test images; p is McNemar's, of the images that only one of the two gets right, and Holm's correction covers
all pairs. Both cover the draw of the test images, not the luck of the seed: fer report compares variants over several
seeds. Nothing is trained or scored again.
"""
_NOTE = (
    "Differences are those to the first of a pair, its reference, in points, with the 95 % interval of the paired "
    "bootstrap over the test images; p is McNemar's, adjusted by Holm over all pairs. The luck of the seed is not "
    "covered: see fer report."
)
_ALONE, _DIFFERENCE = "right\nalone", "minus\nreference [95 %]"
_IN_TWO_LINES = "in two lines"


def main(argv: Sequence[str]) -> None:
    """Compares finished runs in pairs.

    Raises:
        UserError: There are fewer than two runs, or their protocols or images differ.
    """
    parser = argparse.ArgumentParser(
        prog="fer compare",
        description="Compares runs that were scored on the same images under the same protocol: their accuracies, the "
        "difference of each pair with its interval, and whether it is more than chance.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", nargs="+", metavar="RUN", help="folder of fer train or fer evaluate, or above several")
    parser.add_argument("--split", default="test", help="split whose predictions are compared (test)")
    parser.add_argument(
        "--to",
        type=Path,
        metavar="FOLDER",
        help="folder for comparison.csv, .md and .png; without it nothing is written",
    )
    options = parser.parse_args(argv)
    table = compare(*options.run, split=options.split)
    pair = table.iloc[0]
    title = f"{pair['dataset']}, {pair['split']}: {pair['images']:,} images"
    console = Console()
    print_fitting(console, partial(_pair_table, title, _cells(table)), (_IN_TWO_LINES, _ALONE))
    console.print(_NOTE, highlight=False, markup=False)
    if options.to is not None:
        write_text(options.to / "comparison.csv", csv_text(table, index=False, float_format="%.6g"))
        parts = [title, table_markdown(_cells(table), words=["second"]), _NOTE, f"![{title}](comparison.png)"]
        write_text(options.to / "comparison.md", "\n\n".join(parts) + "\n")
        [picture] = save_figures(options.to, {"comparison": draw_comparison(table)})
        print_line(console, f"Figure: {shown_path(picture)}, beside it comparison.csv and comparison.md")


def _pair_table(title: str, pairs: pd.DataFrame, without: Collection[str] = ()) -> Table:
    """Two rows a pair: its reference, and the run that is compared with it."""
    shown = [name for name in ("accuracy", _ALONE, _DIFFERENCE, "p\n(Holm)") if name not in without]
    folded = _IN_TWO_LINES in without
    table = score_table(title, ["run"], [name.replace(" [", "\n[") if folded else name for name in shown])
    for pair in pairs.map(escape).to_dict("records"):
        difference = pair["difference [95 %]"]
        rows = {
            "first": (pair["accuracy"], pair["only first right"], "reference", NOTHING),
            "second": (
                pair["accuracy of second"],
                pair["only second right"],
                difference.replace(" ", "\n", 1) if folded else difference,
                pair["p (Holm)"],
            ),
        }
        for run, numbers in rows.items():
            cells = dict(zip(("accuracy", _ALONE, _DIFFERENCE, "p\n(Holm)"), numbers))
            table.add_row(pair[run], *(cells[name] for name in shown))
        table.add_section()
    if _ALONE in shown:
        table.caption = "right alone: images that only this run of the pair classifies correctly"
    return table


def _cells(table: pd.DataFrame) -> pd.DataFrame:
    """The table as text."""
    cells = {
        "first": table["first"],
        "accuracy": table["accuracy_first"].map(percent),
        "only first right": table["only_first"].map("{:,}".format),
        "second": table["second"],
        "accuracy of second": table["accuracy_second"].map(percent),
        "only second right": table["only_second"].map("{:,}".format),
        "difference [95 %]": [
            f"{points(pair.difference)} [{points(pair.low)}, {points(pair.high)}]" for pair in table.itertuples()
        ],
        "p": table["p"].map(p_value),
        "p (Holm)": table["p_holm"].map(p_value),
    }
    return pd.DataFrame(cells)
