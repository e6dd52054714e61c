from __future__ import annotations

import numpy as np
import pytest

from fer_lightning.plots.dataset import draw_alignment


@pytest.mark.parametrize("channels", [1, 3])
def test_each_face_has_its_aligned_one_below(channels):
    rng = np.random.default_rng(0)
    before, after = rng.integers(0, 256, (2, 8, 20, 20, channels), dtype=np.uint8)
    points = rng.uniform(1, 19, (8, 68, 2))
    panel = draw_alignment(before, points, after, list("abcdefgh"), "Faces").axes[0]
    assert len(panel.images) == 16
    for number in range(8):
        upper, lower = panel.images[2 * number : 2 * number + 2]
        np.testing.assert_array_equal(upper.get_array(), np.broadcast_to(before[number], (20, 20, 3)))
        np.testing.assert_array_equal(lower.get_array(), np.broadcast_to(after[number], (20, 20, 3)))
        left, right, bottom, top = upper.get_extent()
        assert lower.get_extent()[:2] == [left, right] and lower.get_extent()[3] > bottom
        drawn = (panel.lines[number].get_xydata() - (left, top)) / (right - left, bottom - top)
        np.testing.assert_allclose(drawn, points[number] / 20)


def test_points_beyond_the_picture_are_not_drawn_over_others():
    points = np.full((1, 68, 2), 5.0)
    points[0, :3] = (-1, 5), (5, 11), (np.nan, np.nan)
    blank = np.zeros((1, 10, 10, 1), np.uint8)
    panel = draw_alignment(blank, points, blank, ["a"], "Faces").axes[0]
    assert len(panel.lines[0].get_xydata()) == 65


def test_nothing_reaches_beyond_the_page():
    blank = np.zeros((12, 10, 10, 1), np.uint8)
    figure = draw_alignment(blank, np.full((12, 68, 2), 5.0), blank, ["surprise"] * 12, "fer2013: before and after")
    figure.canvas.draw()
    for text in figure.axes[0].texts:
        box = text.get_window_extent()
        assert figure.bbox.containsx(box.x0) and figure.bbox.containsx(box.x1), text.get_text()
        assert figure.bbox.containsy(box.y0) and figure.bbox.containsy(box.y1), text.get_text()


@pytest.mark.filterwarnings("error")
def test_a_sheet_without_faces():
    none = np.zeros((0, 10, 10, 1), np.uint8)
    draw_alignment(none, np.zeros((0,)), none, [], "Nothing").savefig("/dev/null", format="png")
