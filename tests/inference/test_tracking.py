from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from fer_lightning.inference.tracking import Tracker, pairwise_iou


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
