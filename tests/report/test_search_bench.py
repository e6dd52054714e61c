from __future__ import annotations

import pandas as pd
import pytest

from fer_lightning.report.search_bench import draw_search_ranks

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
