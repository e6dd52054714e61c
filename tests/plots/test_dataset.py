from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fer_lightning.plots.dataset import draw_agreement, draw_alignment, draw_copies


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


def test_bars_are_stacked_and_told():
    table = pd.DataFrame(
        {"splits": ["train", "train - test", "test"], "exact": [5, 2, 0], "near": [3, 0, 0], "mirrored": [1, 1, 0]}
    )
    panel = draw_copies(table, "faces").axes[0]
    exact, near, mirrored = ([bar.get_width() for bar in bars] for bars in panel.containers)
    assert (exact, near, mirrored) == ([5, 2, 0], [3, 0, 0], [1, 1, 0])
    assert [bar.get_x() for bar in panel.containers[2]] == [8, 2, 0]
    assert [text.get_text().strip() for text in panel.texts] == ["5 + 3 + 1", "2 + 0 + 1", "none"]
    assert panel.get_title(loc="left") == "faces: copies within and across splits"


def test_a_dataset_without_copies(tmp_path):
    table = pd.DataFrame({"splits": ["train"], "exact": [0], "near": [0], "mirrored": [0]})
    draw_copies(table, "faces").savefig(tmp_path / "copies.png")


def test_bars_stand_above_their_class(tmp_path):
    rows = [
        ("a", "all", "all", 0.5, 0.4, 0.6),
        ("a", "all", "happy", 0.9, 0.8, 0.95),
        ("a", "train", "happy", 0.1, 0.0, 0.2),  # not drawn
        ("b", "all", "all", 0.3, 0.2, 0.4),
        ("b", "all", "sad", 0.2, 0.1, 0.3),
        ("c", "all", "sad", 1.0, 0.9, 1.0),  # not asked for
    ]
    table = pd.DataFrame(rows, columns=["measure", "split", "class", "agreement", "low", "high"])
    figure = draw_agreement(table, ["a", "b"])
    panel = figure.axes[0]
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["all classes", "happy", "sad"]
    bars = {(round(bar.get_x() + bar.get_width() / 2, 6), round(bar.get_height(), 6)) for bar in panel.patches}
    assert bars == {(-0.2, 0.5), (0.8, 0.9), (0.2, 0.3), (2.2, 0.2)}
    assert bars and panel.get_ylim()[1] == pytest.approx(1.05)
    figure.savefig(tmp_path / "label_noise.png")
