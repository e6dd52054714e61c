from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fer_lightning.report.study_curves import draw_study_curves


def history(*accuracies: float) -> pd.DataFrame:
    return pd.DataFrame({"epoch": np.arange(1.0, len(accuracies) + 1), "val/accuracy": accuracies})


def test_a_line_is_the_mean_over_seeds_and_its_band_their_range():
    figure = draw_study_curves({"full": [history(0.2, 0.4), history(0.4, 0.5)], "other": [history(0.1, 0.3)]}, "full")
    panel = figure.axes[1]
    assert panel.get_title(loc="left") == "Accuracy, validation"
    lines = {line.get_label(): line for line in panel.lines}
    assert list(lines) == ["full, 2 seeds", "other, 1 seed"]
    assert lines["full, 2 seeds"].get_ydata() == pytest.approx([0.3, 0.45])
    (band,) = panel.collections
    heights = {tuple(point) for point in band.get_paths()[0].vertices.round(6).tolist()}
    assert {(1.0, 0.2), (1.0, 0.4), (2.0, 0.4), (2.0, 0.5)} <= heights
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["full, 2 seeds", "other, 1 seed"]


def test_seeds_of_different_length_and_epochs_without_a_score():
    figure = draw_study_curves({"full": [history(0.2, np.nan, 0.4), history(0.4)]}, None)
    (line,) = figure.axes[1].lines
    assert list(zip(line.get_xdata(), line.get_ydata())) == [(1.0, pytest.approx(0.3)), (3.0, pytest.approx(0.4))]
    assert not figure.axes[0].lines  # no accuracy on training


@pytest.mark.filterwarnings("error")
def test_what_has_no_curve_is_left_out():
    figure = draw_study_curves({"vote": [pd.DataFrame({"epoch": [1.0]})], "one": [history(0.3)]}, "vote")
    assert [line.get_marker() for line in figure.axes[1].lines] == ["o"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one, 1 seed"]
