from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from fer_lightning.errors import UserError
from fer_lightning.inference.annotate import AnnotatedVideo, can_show, draw_boxes, draw_predictions
from fer_lightning.inference.predictions import Prediction, predict
from fer_lightning.plots.style import ACCENT, VALIDATION

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


def test_valence_and_arousal_are_a_second_line():
    box = (100.0, 120.0, 60.0, 60.0)
    both = predict(box, np.array([0.9, 0.1, 0.424, -0.1]), CLASSES, 0.0, FACE)
    assert both.affect == "valence +0.42, arousal -0.10" and read(box).affect == ""
    black = np.zeros((240, 320, 3), np.uint8)
    one, two = ((draw_predictions(black, [face])[:120, 101] > 0).any(1).sum() for face in (read(box), both))
    assert 1.6 * one < two < 2.2 * one  # height of the label, above the box
    opposite = predict(box, np.array([0.9, 0.1, -0.424, -0.1]), CLASSES, 0.0, FACE)
    assert (draw_predictions(black, [both]) != draw_predictions(black, [opposite])).any()


def test_tracks_and_doubt_are_seen():
    picture = np.zeros((240, 320, 3), np.uint8)
    box = (100.0, 120.0, 60.0, 60.0)
    plain, numbered, unsure = (
        draw_predictions(picture, [prediction])
        for prediction in (read(box), read(box, track=7), read(box, threshold=0.95))
    )
    assert (plain != numbered).any()
    assert (plain[150, 100] != unsure[150, 100]).any()


def read_back(path):
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB))
    return frames, capture.get(cv2.CAP_PROP_FPS)


def test_frames_come_back_in_their_order_and_colours(tmp_path):
    path = tmp_path / "new" / "film.mp4"
    with AnnotatedVideo(path, 24.0) as video:
        for number in range(8):
            video.write(np.full((48, 64, 3), (200, 25 * number, 30), np.uint8), number / 24)
            assert not path.exists()
        video.write(np.zeros((96, 128, 3), np.uint8), 8 / 24)  # another size
    frames, rate = read_back(path)
    assert rate == 24 and len(frames) == 9 and frames[0].shape == (48, 64, 3)
    colours = [frame.reshape(-1, 3).mean(0) for frame in frames[:8]]
    np.testing.assert_allclose(colours, [(200, 25 * number, 30) for number in range(8)], atol=8)


def test_what_was_written_before_an_error_is_kept(tmp_path):
    with pytest.raises(KeyboardInterrupt), AnnotatedVideo(tmp_path / "film.mp4", 24.0) as video:
        video.write(np.zeros((48, 64, 3), np.uint8), 0.0)
        raise KeyboardInterrupt
    assert len(read_back(tmp_path / "film.mp4")[0]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_without_frames_there_is_no_file(tmp_path):
    with AnnotatedVideo(tmp_path / "film.mp4", 24.0):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("rate", [0.05, 0.5, 1, 23.976, 29.97, 59.94, 240, 960])
def test_a_video_lasts_as_long_at_any_rate(tmp_path, rate):
    with AnnotatedVideo(tmp_path / "film.mp4", rate) as video:
        for number in range(12):
            video.write(np.zeros((48, 64, 3), np.uint8), number / rate)
        video.repeat_until(12 / rate)
    frames, written = read_back(tmp_path / "film.mp4")
    assert len(frames) / written == pytest.approx(12 / rate, rel=0.02)


def test_frames_at_irregular_times_are_shown_at_these_times(tmp_path):
    times = np.cumsum([0, 0.04, 0.01, 0.3, 0.04, 1.2, 0.1])
    with AnnotatedVideo(tmp_path / "film.mp4", 30) as video:
        for number, seconds in enumerate(times):
            video.write(np.full((48, 64, 3), 30 * number, np.uint8), seconds)
        video.repeat_until(2.5)
    frames, rate = read_back(tmp_path / "film.mp4")
    assert len(frames) / rate == pytest.approx(2.5, abs=1 / rate)
    for number in (0, 2, 3, 4, 5, 6):
        shade = frames[round((times[number] + 0.01) * rate)].mean()
        assert shade == pytest.approx(30 * number, abs=15)


def test_what_does_not_play_gets_no_name(tmp_path, monkeypatch):
    """OpenCV does not say when the disk is full."""
    (tmp_path / ".film.mp4").write_bytes(b"of a run that was killed")
    monkeypatch.setattr("fer_lightning.inference.annotate._frames", lambda path: 0.0)
    with (
        pytest.raises(UserError, match=r"film\.mp4 cannot be written: .*disk full"),
        AnnotatedVideo(tmp_path / "film.mp4", 24.0) as video,
    ):
        video.write(np.zeros((48, 64, 3), np.uint8), 0.0)
    assert not list(tmp_path.iterdir())


def test_a_window_needs_a_display_and_an_opencv_that_opens_windows(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:                           GTK3")
    assert not can_show()
    monkeypatch.setenv("DISPLAY", ":0")
    assert can_show()
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:                           NONE")
    assert not can_show()


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
