from __future__ import annotations

import numpy as np
import pytest

from fer_lightning.data.alignment.detection import Landmarks
from fer_lightning.data.alignment.landmarks import BLENDSHAPES, TEMPLATE
from fer_lightning.data.auxiliary import SIDE_SIZES, mirror, side_vectors


def landmarks() -> Landmarks:
    """A crooked face, one that was not found, and the first one turned, scaled and moved."""
    rng = np.random.default_rng(0)
    face = TEMPLATE * 48 + rng.normal(0, 1, (68, 2))
    angle = 0.4
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = np.stack([face, np.full((68, 2), np.nan), face @ turn.T * 3 + 20]).astype(np.float32)
    blendshapes = rng.random((3, 52)).astype(np.float32)
    blendshapes[1] = np.nan
    return Landmarks(np.array([True, False, True]), points, blendshapes)


def test_landmarks_know_neither_place_nor_size_nor_roll():
    side = side_vectors(landmarks(), "landmarks")
    assert side.kind == "landmarks" and side.vectors.dtype == np.float32
    assert side.vectors.shape == (3, SIDE_SIZES["landmarks"]) == (3, 137)
    assert side.vectors[:, 0].tolist() == [1, 0, 1]
    np.testing.assert_allclose(side.vectors[2], side.vectors[0], atol=1e-4)
    points = side.vectors[0, 1:].reshape(68, 2)
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-5)
    assert points[8, 1] > points[27, 1]  # the chin is below the nose: y grows downwards


def test_blendshapes_stay_as_they_are():
    found = landmarks()
    vectors = side_vectors(found, "blendshapes").vectors
    assert vectors.shape == (3, SIDE_SIZES["blendshapes"]) == (3, 53)
    np.testing.assert_array_equal(vectors[[0, 2], 1:], found.blendshapes[[0, 2]])


@pytest.mark.parametrize("kind", ["landmarks", "blendshapes"])
def test_a_face_that_was_not_found_is_all_zero(kind):
    assert not side_vectors(landmarks(), kind).vectors[1].any()
    none = Landmarks(np.array([False]), np.full((1, 68, 2), np.nan), np.full((1, 52), np.nan))
    assert not side_vectors(none, kind).vectors.any()


def test_mirrored_landmarks_are_those_of_the_mirrored_face():
    found = landmarks()
    # The template is symmetric: the partner of a point lies where the mirror puts it.
    partners = np.linalg.norm(TEMPLATE[:, None] - (TEMPLATE * [-1, 1] + [1, 0]), axis=2).argmin(axis=1)
    seen = (found.points * [-1, 1] + [48, 0])[:, partners].astype(np.float32)
    expected = side_vectors(Landmarks(found.found, seen, found.blendshapes), "landmarks").vectors
    np.testing.assert_allclose(mirror(side_vectors(found, "landmarks").vectors, "landmarks"), expected, atol=1e-4)


@pytest.mark.parametrize("kind", ["landmarks", "blendshapes"])
def test_mirroring_twice_changes_nothing(kind):
    vectors = side_vectors(landmarks(), kind).vectors
    np.testing.assert_array_equal(mirror(mirror(vectors, kind), kind), vectors)


def test_mirrored_blendshapes_change_sides_by_name():
    vectors = side_vectors(landmarks(), "blendshapes").vectors
    mirrored = mirror(vectors, "blendshapes")
    place = {name: 1 + position for position, name in enumerate(BLENDSHAPES)}
    for name in BLENDSHAPES:
        swapped = name.replace("Left", "#").replace("Right", "Left").replace("#", "Right")
        assert mirrored[0, place[name]] == vectors[0, place[swapped]], name
