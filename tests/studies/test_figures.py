from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fer_lightning.plots.style import ACCENT
from fer_lightning.results.critical_difference import critical_difference
from fer_lightning.studies.comparison_table import COLUMNS
from fer_lightning.studies.figures import draw_comparison, draw_rank_diagram, draw_study_curves
from fer_lightning.studies.presentation import present_comparison


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


@pytest.fixture
def figure():
    scores = pd.DataFrame(np.tile(np.arange(6)[::-1], (4, 1)), columns=[f"net {letter}" for letter in "abcdef"])
    return draw_rank_diagram(critical_difference(scores))


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


@pytest.fixture
def comparison() -> pd.DataFrame:
    rows = [
        {"row": "Full", "published": 0.98, "mean": 0.68, "low": 0.65, "high": 0.71, "n_seeds": 3, "credible_low": 0.7}
        | {"credible_high": 0.77, "annotator_agreement": 0.64},
        {"row": "- Fusion", "published": 0.97, "published_difference": -0.01, "mean": 0.66, "n_seeds": 1}
        | {"difference": -0.02, "difference_low": -0.03, "difference_high": -0.005},
        {"row": "A name that no figure has room for, however wide it is", "published": 0.96, "n_seeds": 0},
    ]
    return pd.DataFrame(rows).reindex(columns=list(COLUMNS))


def test_bars_marks_and_what_was_not_run(comparison):
    figure = draw_comparison(present_comparison(comparison, "Full"), "Table 6")
    scores, differences = figure.axes
    assert [bar.get_width() for bar in scores.patches if bar.get_height() == 0.58] == [0.68, 0.66]
    assert [text.get_text() for text in scores.texts] == ["not run"]
    claims = next(line for line in scores.lines if line.get_label() == "published, as a claim")
    assert claims.get_xdata().tolist() == [0.98, 0.97, 0.96]
    [interval] = scores.collections
    np.testing.assert_allclose(interval.get_segments()[0], [[0.65, 0], [0.71, 0]])
    np.testing.assert_allclose(differences.collections[0].get_segments()[0], [[-3, 1], [-0.5, 1]])
    labels = {text.get_text() for text in figure.legends[0].get_texts()}
    assert {"credible best of others", "annotator agreement", "95 % interval"} <= labels
    assert len(scores.get_yticklabels()[2].get_text()) == 44


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("rows", [[0], [2]])
def test_without_a_reference_there_is_one_panel(comparison, rows):
    figure = draw_comparison(present_comparison(comparison.iloc[rows].reset_index(drop=True), None), "Table 3")
    figure.draw_without_rendering()
    assert len(figure.axes) == 1
