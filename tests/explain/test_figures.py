from __future__ import annotations

import numpy as np
import pytest

from fer_lightning.explain.faithfulness import Curves
from fer_lightning.explain.figures import (
    draw_curves,
    draw_strips,
    faces_strip,
    heat_strip,
    map_strip,
    overlay,
    signed_strip,
)

FACES = np.full((10, 12, 12, 1), 128, np.uint8)


def test_more_than_eight_faces_go_on_below():
    captions = [f"face {number}" for number in range(10)]
    rows = [faces_strip(FACES, captions), heat_strip("heat", FACES, np.zeros((10, 3, 3)), captions)]
    wide = draw_strips(rows, "Title", "how to read it")
    narrow = draw_strips(
        [faces_strip(FACES[:8], captions[:8]), heat_strip("heat", FACES[:8], np.zeros((8, 3, 3)), [])], ""
    )

    (panel,) = wide.axes
    assert len(panel.images) == 20
    texts = [text.get_text() for text in panel.texts]
    assert {"Title", "how to read it"} <= set(texts) and texts.count("face 9") == 2 and texts.count("heat") == 2
    assert wide.get_figwidth() == narrow.get_figwidth() and wide.get_figheight() > 1.9 * narrow.get_figheight()
    left, right, bottom, top = panel.images[-1].get_extent()
    assert panel.get_xlim()[0] < left < right < panel.get_xlim()[1] and top < bottom < panel.get_ylim()[0]


@pytest.mark.parametrize("count", [1, 2])
def test_the_pictures_of_few_faces_fill_the_width(count):
    note = "a note of many words that does not fit into one line of a figure as narrow as that of three pictures, or so"
    faces = FACES[:count]
    rows = [faces_strip(faces, ["face"] * count)]
    rows += [heat_strip(name, faces, np.zeros((count, 3, 3)), ["happy 9 %"] * count) for name in ("first", "second")]
    figure = draw_strips(rows, "Title", note)
    (panel,) = figure.axes
    assert len(panel.images) == 3 * count
    covered = sum(image.get_extent()[1] - image.get_extent()[0] for image in panel.images[:3])
    assert covered > 0.9 * panel.get_xlim()[1]
    texts = [text.get_text() for text in panel.texts]
    assert texts.count("first") == texts.count("second") == count and texts.count("happy 9 %") == 2 * count
    figure.canvas.draw()
    assert all(text.get_window_extent().x1 < figure.bbox.x1 for text in panel.texts)


def test_red_speaks_for_a_class_and_blue_against_it():
    values = np.zeros((1, 12, 12))
    values[:, :6], values[:, 6:] = 2.0, -1.0
    picture = signed_strip("shap", FACES[:1], values, []).pictures[0].astype(int)
    assert picture[30, 100, 0] > picture[30, 100, 2] + 50
    assert picture[200, 100, 2] > picture[200, 100, 0] + 30


def test_a_map_without_any_value_leaves_the_face_pale():
    picture = signed_strip("shap", FACES[:1], np.zeros((1, 12, 12)), []).pictures[0]
    assert picture.std() == 0 and picture.min() > 150


def test_shades_end_where_they_are_told_to():
    maps = np.array([[[0.0, 1.0], [2.0, 4.0]]])
    whole, half = (map_strip("stage", maps, np.array([0.0]), np.array([end])).pictures[0] for end in (4.0, 2.0))
    assert half[200, 10].tolist() == half[200, 200].tolist() == whole[200, 200].tolist()
    assert whole[200, 10].tolist() != whole[200, 200].tolist()


def test_legend_tells_the_areas_of_both_panels():
    flat = Curves(np.full((3, 5), 0.25), np.full((3, 5), 0.5))
    figure = draw_curves({"Map": flat}, {"Map": [flat, flat]}, [flat], "Title")
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert told == ["Map: 0.250, 0.500", "Map, random places: 0.250, 0.500", "noise: 0.250, 0.500"]
    for panel, height in zip(figure.axes, (0.25, 0.5)):
        assert [line.get_ydata()[0] for line in panel.lines] == pytest.approx([height] * 3)


def test_cold_places_keep_the_face_and_hot_ones_are_coloured():
    face = np.full((4, 4, 1), 100, np.uint8)
    heat = np.zeros((4, 4))
    heat[0, 0] = 1

    found = overlay(face, heat)

    assert found.shape == (4, 4, 3) and found.dtype == np.uint8
    assert (found[1:] == 100).all()
    red, green, blue = found[0, 0].astype(int)
    assert red > green and red > blue  # turbo ends with a dark red
    # By hand: a quarter of the face, three quarters of turbo's last colour (122, 4, 3).
    np.testing.assert_allclose(
        found[0, 0], [0.25 * 100 + 0.75 * 122, 0.25 * 100 + 0.75 * 4, 0.25 * 100 + 0.75 * 3], atol=2
    )


def test_colour_faces_stay_as_they_are():
    face = np.random.default_rng(0).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    np.testing.assert_array_equal(overlay(face, np.zeros((5, 5))), face)
