from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from fer_lightning.benchmark.output import draw_pipeline_benchmark
from fer_lightning.report.pipeline_table import parts_table, whole_table


@pytest.fixture
def table() -> pd.DataFrame:
    """Ours, and a peer that takes three times as long."""
    rows = [
        ("ours torch", "whole", 10.0, 14.0, 1.0, "happy", 1.0),
        ("ours torch", "cpu", 9.0, 12.0, 1.0, "happy", 1.0),
        ("ours torch", "detect", 4.0, 5.0, np.nan, "happy", 1.0),
        ("ours torch", "align", 1.0, 2.0, np.nan, "happy", 1.0),
        ("ours torch", "classify", 4.5, 6.0, np.nan, "happy", 1.0),
        ("peer", "whole", 30.0, 50.0, 3.0, "sad", 0.5),
        ("peer", "cpu", 36.0, 40.0, 4.0, "sad", 0.5),
        ("blind", "whole", 2.0, 3.0, 0.2, None, 0.0),
        ("blind", "cpu", 2.0, 3.0, 0.2, None, 0.0),
    ]
    found = pd.DataFrame(rows, columns=["who", "stage", "median_ms", "p95_ms", "ratio", "label", "found"])
    memory = found["who"].map({"ours torch": 512.3, "peer": 300.0, "blind": np.nan})
    found["fps"] = 1000 / found["median_ms"]
    return found.assign(ratio_low=found["ratio"] - 0.1, ratio_high=found["ratio"] + 0.1, peak_memory_mb=memory)


def test_bars_are_medians_and_whiskers_end_at_the_95th_percentile(table):
    figure = draw_pipeline_benchmark(table, "title")
    whole, parts = figure.axes
    assert [bar.get_width() for bar in whole.patches] == [10, 30, 2]
    ends = [segment[:, 0].max() for collection in whole.collections for segment in collection.get_segments()]
    assert ends == [14, 50, 3]
    assert [text.get_text() for text in whole.get_yticklabels()] == ["ours torch", "peer", "blind"]
    colours = [bar.get_facecolor() for bar in whole.patches]
    assert colours[0] != colours[1] == colours[2]
    assert [(bar.get_x(), bar.get_width()) for bar in parts.patches] == [(0, 4), (4, 1), (5, 4.5)]


def printed(drawn) -> str:
    text = io.StringIO()
    Console(file=text, width=140).print(drawn)
    return text.getvalue()


def test_the_table_tells_ratios_memory_and_labels(table):
    text = printed(whole_table(table, "title"))
    rows = {name: next(line for line in text.splitlines() if name in line) for name in ("ours", "peer", "blind")}
    assert " ".join(rows["peer"].split()) == "peer 30.0 50.0 33 36.0 3.00 2.90-3.10 300 sad, 50%"
    assert rows["blind"].split()[-4:] == ["-", "no", "face", "found"] and rows["ours"].split()[-1] == "happy"


def test_without_an_interval_the_ratio_stands_alone(table):
    text = printed(whole_table(table.assign(ratio_low=np.nan, ratio_high=np.nan), "title"))
    row = next(line for line in text.splitlines() if "peer" in line)
    assert row.split()[5:7] == ["3.00", "300"]


def test_parts_are_those_of_who_tells_them(table):
    text = printed(parts_table(table))
    assert "4.00 (5.00)" in text and "1.00 (2.00)" in text and "peer" not in text
