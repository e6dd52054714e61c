from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fer_lightning.results.critical_difference import critical_difference
from fer_lightning.report.rank_diagram import draw_rank_diagram
from fer_lightning.plots.style import ACCENT


@pytest.fixture
def figure():
    scores = pd.DataFrame(np.tile(np.arange(6)[::-1], (4, 1)), columns=[f"net {letter}" for letter in "abcdef"])
    return draw_rank_diagram(critical_difference(scores), "seeds")


def test_names_stand_beside_their_ranks(figure):
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert "net a  1.00" in texts and "6.00  net f" in texts
    assert "critical difference 3.77 (level 0.05)" in texts


def test_bars_join_the_groups(figure):
    bars = [
        line.get_xdata() for line in figure.axes[0].lines if line.get_color() == ACCENT and line.get_linewidth() == 4
    ]
    np.testing.assert_allclose(bars, [[0.97, 4.03], [1.97, 5.03], [2.97, 6.03]])


def test_every_name_is_in_the_picture(figure):
    figure.draw_without_rendering()
    width, height = figure.bbox.size
    for text in figure.axes[0].texts:
        box = text.get_window_extent()
        assert 0 <= box.x0 and box.x1 <= width and 0 <= box.y0 and box.y1 <= height, text.get_text()


def test_the_title_tells_the_test(figure):
    assert figure.axes[0].get_title(loc="left").startswith("Mean rank over 4 seeds: Friedman p = 0.001")
