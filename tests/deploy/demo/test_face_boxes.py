from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from fer_lightning.deploy.demo.face_boxes import draw_boxes
from fer_lightning.deploy.prediction import Prediction
from fer_lightning.plots.style import ACCENT, VALIDATION


def faces(*boxes: tuple[float, float, float, float]) -> list[Prediction]:
    return [Prediction(box, "happy", 0.95, {"happy": 0.95}, np.zeros((48, 48, 1), np.uint8), None) for box in boxes]


def coloured(drawn: np.ndarray, colour: str) -> np.ndarray:
    return (drawn == np.round(255 * np.array(to_rgb(colour)))).all(axis=2)


def test_the_chosen_face_has_another_colour():
    picture = np.full((400, 600, 3), 90, np.uint8)
    drawn = draw_boxes(picture, faces((50, 100, 120, 150), (350, 100, 120, 150)), chosen=1)
    assert drawn.shape == picture.shape and (picture == 90).all()
    for colour, left, right in ((VALIDATION, 50, 171), (ACCENT, 350, 471)):
        at = coloured(drawn, colour)
        rows, columns = np.nonzero(at)
        assert at[180, left] and at[180, right - 1]
        assert columns.min() >= left - 1 and columns.max() <= right + 1
        assert rows.max() == 250 and rows.min() < 99  # the label stands above
    assert (drawn[180, 60:160] == 90).all()  # the faces themselves stay free


@pytest.mark.parametrize("box", [(-20, -30, 60, 60), (570, 360, 60, 60), (0, 0, 600, 400), (580, 2, 15, 15)])
def test_labels_stay_in_the_picture(box):
    drawn = draw_boxes(np.zeros((400, 600, 3), np.uint8), faces(box), chosen=0)
    whole = draw_boxes(np.zeros((400, 600, 3), np.uint8), faces((200, 200, 100, 100)), chosen=0)
    white = [(picture > 200).all(axis=2).sum() for picture in (drawn, whole)]
    assert white[0] == pytest.approx(white[1], rel=0.05)


def test_a_tiny_picture():
    assert draw_boxes(np.zeros((4, 3, 3), np.uint8), faces((0, 0, 3, 4)), 0).shape == (4, 3, 3)
