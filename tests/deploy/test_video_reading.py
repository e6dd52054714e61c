from __future__ import annotations

import cv2
import numpy as np
import pytest

from fer_lightning.inference.predictor import Predictor
from fer_lightning.deploy.video_reading import VideoReading


@pytest.fixture(scope="module")
def quick(finder):
    with Predictor("ferplus", thorough=False, threads=1) as opened:
        yield opened


def frame_with(portrait, left):
    picture = np.full((240, 320, 3), 100, np.uint8)
    picture[20:220, left : left + 200] = cv2.resize(portrait[:300, 80:380], (200, 200))[:, : 320 - left]
    return picture


def test_a_face_that_moves_keeps_its_track(quick, portrait):
    reading = VideoReading(quick, 0.3)
    for number in range(25):
        [read] = reading.read(frame_with(portrait, 2 + 4 * number), number / 25)
        assert read.track == 1 and read.label == "happy"
        assert read.box[0] == pytest.approx(60 + 4 * number, abs=12)


def test_probabilities_are_averaged_over_time(quick, portrait):
    dark = (frame_with(portrait, 40) * 0.3).astype(np.uint8)
    bright = frame_with(portrait, 40)
    [plain] = VideoReading(quick, 0.0).read(dark, 0.0)
    smoothed = VideoReading(quick, 1.0)
    [first] = smoothed.read(bright, 0.0)
    [second] = smoothed.read(dark, 0.5)
    # The second frame may be cut out a little differently, because the face is followed there.
    kept = np.exp(-0.5)
    expected = kept * np.array(list(first.probabilities.values()))
    expected += (1 - kept) * np.array(list(plain.probabilities.values()))
    np.testing.assert_allclose(list(second.probabilities.values()), expected, atol=0.02)
    assert sum(second.probabilities.values()) == pytest.approx(1, abs=1e-5)


def test_faces_come_and_go(quick, portrait):
    reading = VideoReading(quick, 0.3)
    empty = np.full((240, 320, 3), 100, np.uint8)
    assert reading.read(empty, 0.0) == []
    assert [read.track for read in reading.read(frame_with(portrait, 40), 0.04)] == [1]
    assert reading.read(empty, 0.08) == []
    assert [read.track for read in reading.read(frame_with(portrait, 44), 0.12)] == [1]
    both = np.hstack([frame_with(portrait, 40), frame_with(portrait, 40)])
    tracks = [sorted(read.track for read in reading.read(both, 0.16 + 0.04 * number)) for number in range(14)]
    assert tracks[-1] == [1, 2]


@pytest.mark.parametrize("rate", [5, 30, pytest.param(240, marks=pytest.mark.slow)])
def test_the_same_movement_is_read_alike_at_every_frame_rate(quick, portrait, rate):
    reading = VideoReading(quick, 0.3)
    tracks = set()
    for number in range(rate * 3 // 5 + 1):
        [read] = reading.read(frame_with(portrait, 2 + round(100 * number / rate)), number / rate)
        tracks.add(read.track)
    assert tracks == {1} and read.label == "happy"
    assert read.box[0] == pytest.approx(120, abs=15)


@pytest.mark.parametrize("size", [8, 120])
def test_small_videos(quick, portrait, size):
    reading = VideoReading(quick, 0.3)
    for number in range(4):
        reading.read(cv2.resize(portrait[:300, 80:380], (size, size)), number / 10)
