from __future__ import annotations

import numpy as np
import pytest

from fer_lightning.data.synthetic_faces.parameters import View
from fer_lightning.data.faces.pose import Camera

CENTRE, CHIN, LEFT = np.array([[0.0, 0.0]]), np.array([[0.0, 0.9]]), np.array([[-0.3, 0.0]])


def test_a_frontal_face_is_upright_and_centred() -> None:
    camera = Camera(View(), 100)
    (x, y), (chin_x, chin_y), (left_x, left_y) = (camera.project(point)[0] for point in (CENTRE, CHIN, LEFT))
    assert x == chin_x == 50
    assert chin_y > y == pytest.approx(left_y)
    assert left_x < x


@pytest.mark.parametrize("yaw", [-30.0, 30.0])
def test_a_turned_head_foreshortens_the_far_side(yaw: float) -> None:
    camera = Camera(View(yaw=yaw), 100)
    left, middle, right = camera.project(np.array([(-0.4, 0.0), (0.0, 0.0), (0.4, 0.0)]))[:, 0]
    assert (middle - left > right - middle) == (yaw > 0)


def test_a_face_that_looks_up_moves_up() -> None:
    up, down = (Camera(View(pitch=pitch), 100).project(CENTRE)[0, 1] for pitch in (20.0, -20.0))
    assert up < down


def test_roll_turns_by_its_angle() -> None:
    camera = Camera(View(roll=30.0), 100)
    line = camera.project(CENTRE)[0] - camera.project(CHIN)[0]
    assert np.degrees(np.arctan2(line[0], -line[1])) == pytest.approx(30.0)


def test_size_and_place_scale_with_the_picture() -> None:
    view = View(scale=1.2, shift_x=0.1, shift_y=-0.05, yaw=10)
    small, large = Camera(view, 50).project(CHIN), Camera(view, 200).project(CHIN)
    np.testing.assert_allclose(large, 4 * small)
    unmoved = Camera(View(scale=1.2, yaw=10), 50).project(CHIN)
    np.testing.assert_allclose(small - unmoved, [[5.0, -2.5]])
