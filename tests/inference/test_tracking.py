from __future__ import annotations

from itertools import permutations

import cv2
import numpy as np
import pytest

from fer_lightning.inference.predictor import Predictor
from fer_lightning.inference.tracking import Smoother, Tracker, VideoReading, pairwise_iou

BEFORE, AFTER = np.array([1.0, 0.0]), np.array([0.0, 1.0])


def iou(one, other):
    """By counting pixels."""
    canvas = np.zeros((2, 60, 60), bool)
    for layer, (x, y, width, height) in zip(canvas, (one, other)):
        layer[y : y + height, x : x + width] = True
    return (canvas[0] & canvas[1]).sum() / (canvas[0] | canvas[1]).sum()


def test_overlaps_are_those_counted_by_pixels():
    rng = np.random.default_rng(0)
    boxes = [tuple(int(number) for number in (*rng.integers(0, 30, 2), *rng.integers(1, 30, 2))) for _ in range(8)]
    expected = [[iou(one, other) for other in boxes[:5]] for one in boxes]
    np.testing.assert_allclose(pairwise_iou(boxes, boxes[:5]), expected)


@pytest.mark.parametrize("seed", range(5))
def test_faces_are_paired_as_the_best_of_all_permutations_pairs_them(seed):
    rng = np.random.default_rng(seed)
    before = [tuple(map(int, (*rng.integers(0, 25, 2), 20, 20))) for _ in range(4)]
    after = [tuple(map(int, (*rng.integers(0, 25, 2), 20, 20))) for _ in range(4)]
    tracker = Tracker(min_iou=0.01)
    first = tracker.update(before, 0.0)
    second = tracker.update(after, 0.1)
    table = np.array([[iou(one, other) for other in after] for one in before])
    best = max(permutations(range(4)), key=lambda order: sum(table[row, column] for row, column in enumerate(order)))
    expected = {column: first[row] for row, column in enumerate(best) if table[row, column] > 0.01}
    assert expected
    assert all(second[column] == number for column, number in expected.items())


def test_two_people_that_change_places_in_the_list_keep_their_numbers():
    tracker = Tracker()
    assert tracker.update([(0, 0, 20, 20), (100, 0, 20, 20)], 0.0) == [1, 2]
    assert tracker.update([(98, 2, 20, 20), (3, 0, 20, 20)], 0.04) == [2, 1]


def test_somebody_keeps_the_number_through_a_gap_and_loses_it_after_a_long_one():
    tracker = Tracker(max_gap=0.5)
    assert tracker.update([(0, 0, 20, 20)], 0.0) == [1]
    assert tracker.update([], 0.2) == []
    assert tracker.update([(2, 0, 20, 20)], 0.4) == [1]
    assert tracker.update([(2, 0, 20, 20)], 1.0) == [2]


@pytest.mark.parametrize("rate", [5, 12, 30, 240])
def test_the_same_movement_has_the_same_tracks_at_every_frame_rate(rate):
    """Two people who walk towards each other, one above the other, at three widths of their faces a second."""
    tracker = Tracker()
    tracks = set()
    for frame in range(2 * rate + 1):
        seconds = frame / rate
        tracks.add(tuple(tracker.update([(60 * seconds, 0, 20, 20), (120 - 60 * seconds, 60, 20, 20)], seconds)))
    assert tracks == {(1, 2)}


@pytest.mark.parametrize("seconds", [2, 60, 3600])
def test_who_stays_in_place_keeps_the_number_in_a_time_lapse(seconds):
    tracker = Tracker()
    assert [tracker.update([(frame, 0, 20, 20)], frame * seconds) for frame in range(4)] == [[1]] * 4
    assert tracker.update([(200, 0, 20, 20)], 4 * seconds) == [2]


def test_a_face_elsewhere_is_somebody_else():
    tracker = Tracker(min_iou=0.3)
    assert tracker.update([(0, 0, 20, 20)], 0.0) == [1]
    assert tracker.update([(15, 0, 20, 20)], 0.1) == [2]


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


@pytest.mark.parametrize("rate", [5, 30, 240])
def test_a_step_is_answered_alike_at_every_frame_rate(rate):
    smoother = Smoother(time_constant=0.4)
    smoother.smooth(1, BEFORE, 0.0)
    for frame in range(1, rate + 1):
        smoothed = smoother.smooth(1, AFTER, frame / rate)
    np.testing.assert_allclose(smoothed, [np.exp(-1 / 0.4), 1 - np.exp(-1 / 0.4)])


def test_frames_at_irregular_times_weigh_as_long_as_they_last():
    """Against the sum that the recursion stands for."""
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.01, 0.3, 20))
    values = rng.dirichlet(np.ones(7), 20)
    smoother = Smoother(0.25)
    for seconds, value in zip(times, values):
        smoothed = smoother.smooth(3, value, seconds)
    kept = np.exp(-np.diff(times) / 0.25)
    weights = [np.prod(kept[row:]) * (1 if row == 0 else 1 - kept[row - 1]) for row in range(20)]
    np.testing.assert_allclose(smoothed, np.array(weights) @ values)
    assert smoothed.sum() == pytest.approx(1)


def test_people_do_not_mix_and_the_first_frame_is_as_it_is():
    smoother = Smoother(1.0)
    smoother.smooth(1, BEFORE, 0.0)
    np.testing.assert_array_equal(smoother.smooth(2, AFTER, 0.1), AFTER)


def test_without_a_time_constant_nothing_is_smoothed():
    smoother = Smoother(0.0)
    smoother.smooth(1, BEFORE, 0.0)
    np.testing.assert_array_equal(smoother.smooth(1, AFTER, 0.01), AFTER)
