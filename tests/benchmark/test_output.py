from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from fer_lightning.benchmark.output import draw_pipeline_benchmark, draw_search_ranks, parts_table, whole_table

RANKS = pd.DataFrame(
    [
        (60, "tpe", 1.0, 1.0, 1.5, 2.0, 1.0, 1.0),
        (60, "mboa paper", 2.5, 2.0, 3.0, 0.5, 2.0, 3.0),
        (60, "gp", 2.5, 2.0, 3.0, 30.0, 3.0, 2.0),
        (300, "mboa paper", 1.25, 1.0, 2.0, 0.5, 1.5, 1.0),
        (300, "tpe", 1.75, 1.0, 2.0, 2.0, 1.5, 2.0),
    ],
    columns=["budget", "sampler", "mean_rank", "low", "high", "ask_ms", "bowl", "valley"],
)


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


def names(panel) -> list[str]:
    return [label.get_text() for label in panel.get_yticklabels()]


def test_a_panel_a_budget_with_the_best_on_top():
    panels = draw_search_ranks(RANKS).axes
    assert [panel.get_title(loc="left") for panel in panels] == ["60 evaluations", "300 evaluations"]
    assert names(panels[0]) == ["tpe", "mboa paper", "gp"] and names(panels[1]) == ["mboa paper", "tpe"]
    assert all(panel.yaxis_inverted() for panel in panels)


def test_each_row_shows_problems_interval_and_mean():
    panel = draw_search_ranks(RANKS).axes[1]
    on_problems, interval, mean = (line.get_xydata() for line in panel.lines[:3])
    assert on_problems[:, 0].tolist() == [1.5, 1.0] and len(set(on_problems[:, 1])) == 2
    assert interval.tolist() == [[1.0, 0], [2.0, 0]]
    assert mean.tolist() == [[1.25, 0]]
    assert [text.get_text() for text in panel.texts] == ["1.2", "1.8"]


def test_mboa_is_coloured():
    panel = draw_search_ranks(RANKS).axes[0]
    tpe, mboa, gp = (panel.lines[number].get_color() for number in (2, 5, 8))
    assert tpe == gp != mboa


@pytest.mark.filterwarnings("error")
def test_one_budget():
    figure = draw_search_ranks(RANKS[RANKS["budget"] == 60])
    figure.savefig("/dev/null", format="png")
    assert len(figure.axes) == 1
