from __future__ import annotations

import numpy as np
import pytest

from fer_lightning.deploy.demo.seen import Seen
from fer_lightning.deploy.prediction import UNCERTAIN, Prediction

BOXES = [(10.0, 10.0, 100.0, 80.0), (60.0, 40.0, 20.0, 20.0), (200.0, 5.0, 30.0, 30.0)]


def seen(chosen: int) -> Seen:
    face = np.zeros((48, 48, 1), np.uint8)
    faces = [Prediction(box, "happy", 1.0, {"happy": 1.0}, face, None) for box in BOXES]
    return Seen("ferplus", np.zeros((100, 300, 3), np.uint8), faces, chosen)


@pytest.mark.parametrize(
    ("x", "y", "expected"), [(20, 20, 0), (70, 50, 1), (210, 34, 2), (229, 36, 0), (0, 0, 0), (110, 90, 0)]
)
def test_a_place_means_the_smallest_face_around_it(x, y, expected):
    assert seen(0).face_at(x, y) == expected


def test_a_place_without_a_face_leaves_the_choice():
    assert seen(2).face_at(150, 50) == 2
    assert seen(2).face.box == BOXES[2]


def test_the_most_probable_class_of_an_uncertain_face():
    face = Prediction(
        BOXES[0], UNCERTAIN, 0.4, {"sad": 0.3, "happy": 0.4, "fear": 0.3}, np.zeros((48, 48, 1), np.uint8)
    )
    assert Seen("ferplus", np.zeros((100, 300, 3), np.uint8), [face]).most_probable == "happy"
