from __future__ import annotations

import numpy as np

from fer_lightning.inference.annotate import draw_predictions
from fer_lightning.deploy.prediction import predict

CLASSES = ("froh", "traurig")
FACE = np.zeros((48, 48, 1), np.uint8)


def read(box, probabilities=(0.9, 0.1), threshold=0.0, track=None):
    return predict(box, np.array(probabilities), CLASSES, threshold, FACE, track)


def test_boxes_are_drawn_where_the_faces_are_and_the_picture_is_left_alone():
    picture = np.full((240, 320, 3), 200, np.uint8)
    before = picture.copy()
    drawn = draw_predictions(picture, [read((100.0, 120.0, 60.0, 60.0))])
    np.testing.assert_array_equal(picture, before)
    changed = (drawn != 200).any(2)
    assert changed[120:181, 100].all() and changed[180, 100:161].all()
    assert not changed[125:175, 105:155].any() and not changed[190:].any()
    assert changed[90:118].any()  # the label, above


def test_labels_stay_inside_small_pictures_and_at_the_borders():
    for box in ((-5.0, -5.0, 30.0, 30.0), (300.0, 0.0, 40.0, 40.0), (0.0, 230.0, 10.0, 10.0)):
        assert draw_predictions(np.zeros((240, 320, 3), np.uint8), [read(box)]).any()
    assert draw_predictions(np.zeros((20, 20, 3), np.uint8), [read((2.0, 2.0, 10.0, 10.0))]).shape == (20, 20, 3)


def test_tracks_and_doubt_are_seen():
    picture = np.zeros((240, 320, 3), np.uint8)
    box = (100.0, 120.0, 60.0, 60.0)
    plain, numbered, unsure = (
        draw_predictions(picture, [prediction])
        for prediction in (read(box), read(box, track=7), read(box, threshold=0.95))
    )
    assert (plain != numbered).any()
    assert (plain[150, 100] != unsure[150, 100]).any()
