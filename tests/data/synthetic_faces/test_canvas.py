from __future__ import annotations

import numpy as np
import pytest

from fer_lightning.data.synthetic_faces.canvas import Camera, Canvas, ellipse, ribbon, smooth, taper
from fer_lightning.data.synthetic_faces.parameters import View

SQUARE = np.array([(2.0, 3.0), (6.0, 3.0), (6.0, 5.0), (2.0, 5.0)])
RED = np.array([200.0, 10.0, 0.0])
CENTRE, CHIN, LEFT = np.array([[0.0, 0.0]]), np.array([[0.0, 0.9]]), np.array([[-0.3, 0.0]])


def blank() -> Canvas:
    return Canvas(np.full((3, 10, 10), 100.0, np.float32), np.full((3, 10, 10), 0.5, np.float32))


def test_a_square_covers_its_area() -> None:
    canvas = blank()
    canvas.fill([SQUARE + 0.5], RED)
    np.testing.assert_allclose(canvas.pixels[:, 4, 4], RED, atol=0.5)
    np.testing.assert_allclose(canvas.pixels[:, 8, 8], 100)
    # OpenCV paints pixels whose centres lie on the outline: 5 x 3 of them instead of 4 x 2.
    assert 8 <= (canvas.pixels[0] > 150).sum() <= 15


def test_opacity_blends() -> None:
    canvas = blank()
    canvas.fill([SQUARE + 0.5], RED, 0.25)
    np.testing.assert_allclose(canvas.pixels[:, 4, 4], 0.75 * 100 + 0.25 * RED, atol=0.5)


def test_every_polygon_has_its_own_opacity() -> None:
    canvas = blank()
    canvas.fill([SQUARE + 0.5, SQUARE - (-0.5, -4.5)], RED, (1.0, 0.5))
    np.testing.assert_allclose(canvas.pixels[0, [4, 8], 4], [200, 150], atol=0.5)


def test_light_falls_on_lit_colours_alone() -> None:
    canvas = blank()
    canvas.fill([SQUARE + 0.5], RED, lit=True)
    np.testing.assert_allclose(canvas.pixels[:, 4, 4], 0.5 * RED, atol=0.5)


def test_a_clip_keeps_the_rest_untouched() -> None:
    canvas = blank()
    canvas.fill([SQUARE + 0.5], RED, clip=[SQUARE - (3.0, 0.0) + 0.5])
    np.testing.assert_allclose(canvas.pixels[0, 4, [3, 5]], [200, 100], atol=0.5)


def test_shapes_outside_the_picture_are_no_error() -> None:
    canvas = blank()
    canvas.fill([SQUARE + 50.0, SQUARE - (50.0, 0.0)], RED, softness=2.0)
    canvas.fill([SQUARE - (0.0, -50.0)], RED)
    canvas.fill([SQUARE - (0.0, 50.0)], RED)
    np.testing.assert_allclose(canvas.pixels, 100)


@pytest.mark.parametrize("closed", [False, True])
def test_a_smooth_curve_passes_through_its_knots(closed: bool) -> None:
    knots = np.random.default_rng(0).normal(size=(5, 2))
    curve = smooth(knots, per_segment=7, closed=closed)
    np.testing.assert_allclose(curve[::7][:5], knots, atol=1e-12)
    assert len(curve) == (35 if closed else 29)


def test_a_smooth_curve_through_points_of_a_line_stays_on_it() -> None:
    knots = np.array([(0.0, 1.0), (1.0, 3.0), (2.0, 5.0), (3.0, 7.0)])
    curve = smooth(knots)
    np.testing.assert_allclose(curve[:, 1], 2 * curve[:, 0] + 1, atol=1e-12)


def test_a_ribbon_lies_half_a_width_on_either_side() -> None:
    line = np.array([(0.0, 0.0), (1.0, 0.0), (2.0, 0.0)])
    outline = ribbon(line, np.array([2.0, 4.0, 6.0]))
    np.testing.assert_allclose(outline, [(0, 1), (1, 2), (2, 3), (2, -3), (1, -2), (0, -1)], atol=1e-12)


def test_a_taper_meets_its_three_widths() -> None:
    np.testing.assert_allclose(taper(9, 1.0, 5.0, 2.0)[[0, 4, 8]], [1.0, 5.0, 2.0])


def test_the_points_of_an_ellipse_solve_its_equation() -> None:
    x, y = ellipse((3.0, -2.0), 4.0, 0.5).T
    np.testing.assert_allclose(((x - 3) / 4) ** 2 + ((y + 2) / 0.5) ** 2, 1.0)


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
