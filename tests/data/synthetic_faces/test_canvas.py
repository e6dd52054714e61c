from __future__ import annotations

import numpy as np

from fer_lightning.data.synthetic_faces.canvas import Canvas

SQUARE = np.array([(2.0, 3.0), (6.0, 3.0), (6.0, 5.0), (2.0, 5.0)])
RED = np.array([200.0, 10.0, 0.0])


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
