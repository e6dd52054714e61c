"""Names of networks, classes, splits, data sets and runs in the tables of the terminal."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from rich.table import Table

from fer_lightning.benchmark.output import PARTS, latency_table, parts_table, whole_table, without_attention
from fer_lightning.commands import align, audit, data
from fer_lightning.commands import models as show_models
from fer_lightning.commands.dashboard import LoggedRun, run_table
from fer_lightning.data.duplicates.index import KINDS
from fer_lightning.data.samples import SPLITS
from fer_lightning.deploy.parity import export_table
from fer_lightning.errors import printable
from fer_lightning.plots.text import escape, print_line, text_table

ACTS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
ALPHABET = [
    *"|\\`<>[]()!/=+-@\t\n\r\v\x07\x1b\x9b$*_{}'\"#&;: 1é",
    *("\u202e", "\u202a", "\u2066", "\u2069", "\u200f", "\u061c", "\u2028", "\x85", "\udce9"),
    *("\x1b[31m", "\x1b[2J", "\x1b]0;title\x07", "[bold red]", "[/]", "[link=file:///etc/passwd]x[/link]", ":smile:"),
]


def pipeline(name: str, title: str, draw: Callable[..., Table]) -> Table:
    stages = ("whole", "cpu", *PARTS)
    numbers = dict.fromkeys(("median_ms", "p95_ms", "fps", "ratio", "ratio_low", "ratio_high", "peak_memory_mb"), 1.0)
    rows = [{"who": name, "stage": stage, "label": name, "found": 1.0, **numbers} for stage in stages]
    return draw(pd.DataFrame(rows), *([title] if draw is whole_table else []))


def models(name: str) -> Table:
    row = {"parameters": 1, "multiply_adds": 1, "median_ms": 1.0, "p95_ms": 1.0, "source": name}
    cells = show_models._cells(pd.DataFrame([row], index=pd.Index([name], name="model")))
    return text_table(name, cells, words=["source"])


def latencies(name: str) -> Table:
    return latency_table(pd.DataFrame({name: [1.0], without_attention(name): [2.0]}), [name])


def data_of(name: str) -> Any:
    return SimpleNamespace(
        dataset_name=name,
        protocol=SimpleNamespace(to_dict=lambda: {"dataset": name, "classes": [name]}),
        samples=SimpleNamespace(notes=[name]),
        bad=[name],
        label_set=SimpleNamespace(classes=[name]),
        class_counts=lambda split: [3],
    )


def findings_of(name: str) -> Any:
    counts = {**dict.fromkeys(KINDS, 1), "conflicting": 0}
    return SimpleNamespace(
        by_splits=pd.DataFrame([{"splits": "train and test", **counts}]),
        copy_groups=[2],
        blank=[name],
        bad=(name,),
        differences=pd.DataFrame([{"split": "train", "class": name, "official": 1, "found": 2}]),
        official=True,
        groups=None,
    )


def rates(name: str) -> Table:
    places = [(name, split) for split in (*SPLITS, "all")] + [("all", split) for split in (*SPLITS, "all")]
    counts = pd.DataFrame([{"class": each, "split": split, "images": 2, "found": 1} for each, split in places])
    return align._rate_table(counts, data_of(name))


def runs(name: str) -> Table:
    folder = Path("outputs", name.replace("/", "").replace("\0", "") or "x")
    metrics = {"protocol": {"dataset": name}, "model": name, "splits": {"test": {"accuracy": 0.5}}}
    return run_table([LoggedRun(folder, 0.0, metrics, (), None)], Path("outputs"))


TABLES: dict[str, Callable[[str], Table]] = {
    "fer benchmark": lambda name: pipeline(name, name, whole_table),
    "fer benchmark, parts": lambda name: pipeline(name, name, parts_table),
    "fer models": models,
    "fer benchmark part=latency": latencies,
    "fer data, protocol": lambda name: data._protocol_table(data_of(name)),
    "fer data, counts": lambda name: data._count_table(data_of(name)),
    "fer audit, copies": lambda name: audit._copy_table(findings_of(name), data_of(name)),
    "fer audit, others": lambda name: audit._other_table(findings_of(name)),
    "fer align": rates,
    "fer export": lambda name: export_table([], name),
    "fer dashboard --list": runs,
}


def shown(drawn: object) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=False, width=2000)
    if isinstance(drawn, str):
        print_line(console, drawn)
    else:
        console.print(drawn)
    return out.getvalue()


@pytest.mark.parametrize("where", TABLES)
def test_names_are_shown_as_they_are_and_act_on_nothing(where, campaign):
    for case, rng in campaign.cases(quick=40, full=400):
        name = "x" + "".join(ALPHABET[place] for place in rng.integers(0, len(ALPHABET), rng.integers(1, 8))) + "x"
        name = name.encode(errors="ignore").decode()  # a data frame holds no others
        text = shown(TABLES[where](name))
        expected = printable(name.replace("/", "") if where == "fer dashboard --list" else name)
        campaign.held((where, case, name), not ACTS.search(text), f"acts on a terminal: {text!r}")
        whole = "".join(expected.split()) in "".join(text.split())  # a long title is broken into lines
        campaign.held((where, case, name), whole, f"is not shown as {expected!r}: {text!r}")


def test_backslashes_and_brackets_are_shown(campaign):
    """All short names of characters that Rich reads, with text behind them."""
    for length in range(1, 4):
        for name in map("".join, itertools.product("\\[]a:/", repeat=length)):
            out = io.StringIO()
            Console(file=out, force_terminal=False, width=80).print(f"<{escape(name)}>", highlight=False)
            campaign.held(name, out.getvalue() == f"<{name}>\n", repr(out.getvalue()))


def test_lines_are_shown_in_one_line(campaign):
    for case, rng in campaign.cases(quick=200, full=2000):
        name = "".join(ALPHABET[place] for place in rng.integers(0, len(ALPHABET), rng.integers(1, 12)))
        text = shown(f"Report: {name}")
        campaign.held((case, name), text == f"Report: {printable(name)}\n" and not ACTS.search(text), repr(text))
    assert np.mean([bool(ACTS.search(each)) for each in ALPHABET]) > 0.3  # what is drawn from is hostile
