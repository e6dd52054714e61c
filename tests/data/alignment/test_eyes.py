from __future__ import annotations

import numpy as np
import pytest

from fer_lightning.data.alignment.eyes import eye_centres, eye_distance, eye_spread, roll


def faces(centres: list[list[tuple[float, float]]]) -> np.ndarray:
    """Faces whose eyes are circles around the given centres; everything else lies at (1000, 1000)."""
    points = np.full((len(centres), 68, 2), 1000.0)
    angles = np.arange(6) * np.pi / 3
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    for face, (left, right) in zip(points, centres):
        face[36:42], face[42:48] = circle + left, circle + right
    return points


def test_centres() -> None:
    np.testing.assert_allclose(eye_centres(faces([[(3, 4), (9, 5)]])), [[(3, 4), (9, 5)]])


def test_roll_is_positive_where_the_right_eye_is_lower() -> None:
    found = roll(faces([[(0, 0), (10, 0)], [(0, 0), (10, 10)], [(0, 5), (0, -5)]]))
    np.testing.assert_allclose(found, [0, 45, -90], atol=1e-9)


def test_spread_is_the_root_mean_square_of_four_deviations() -> None:
    several = faces([[(0, 0), (10, 0)], [(2, 0), (10, 6)]])
    assert eye_spread(several) == pytest.approx(np.sqrt((1**2 + 0 + 0 + 3**2) / 4))
    assert eye_spread(several[:1]) == 0


def test_distance_is_that_of_the_centres() -> None:
    np.testing.assert_allclose(eye_distance(faces([[(0, 0), (3, 4)], [(2, 1), (2, 1)]])), [5, 0], atol=1e-9)
