from __future__ import annotations

import numpy as np

from fer_lightning.explain.overlay import overlay


def test_cold_places_keep_the_face_and_hot_ones_are_coloured():
    face = np.full((4, 4, 1), 100, np.uint8)
    heat = np.zeros((4, 4))
    heat[0, 0] = 1

    found = overlay(face, heat)

    assert found.shape == (4, 4, 3) and found.dtype == np.uint8
    assert (found[1:] == 100).all()
    red, green, blue = found[0, 0].astype(int)
    assert red > green and red > blue  # turbo ends with a dark red
    # By hand: a quarter of the face, three quarters of turbo's last colour (122, 4, 3).
    np.testing.assert_allclose(
        found[0, 0], [0.25 * 100 + 0.75 * 122, 0.25 * 100 + 0.75 * 4, 0.25 * 100 + 0.75 * 3], atol=2
    )


def test_colour_faces_stay_as_they_are():
    face = np.random.default_rng(0).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    np.testing.assert_array_equal(overlay(face, np.zeros((5, 5))), face)
