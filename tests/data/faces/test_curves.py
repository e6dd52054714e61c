from __future__ import annotations

import numpy as np
import pytest

from fer_lightning.data.faces.curves import ellipse, ribbon, smooth, taper


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
