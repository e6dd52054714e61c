from __future__ import annotations

import numpy as np
import pytest

from fer_lightning.data.alignment.landmarks import EYES, MOUTH, TEMPLATE
from fer_lightning.deploy.keypoints import ALIGNED, KEYPOINTS, crop_matrix


def test_the_points_lie_where_the_landmarks_have_them():
    eyes = TEMPLATE[EYES].reshape(2, 6, 2).mean(1)
    np.testing.assert_allclose(KEYPOINTS[:2], eyes, atol=0.02)
    np.testing.assert_allclose(KEYPOINTS[2], TEMPLATE[30], atol=0.03)
    np.testing.assert_allclose(KEYPOINTS[3], TEMPLATE[MOUTH].mean(0), atol=0.03)


@pytest.mark.parametrize("zoom", [1.0, 1.3])
def test_a_turned_and_shifted_face_comes_back_upright(zoom):
    turn = np.array([[0.6, -0.8], [0.8, 0.6]]) * 70
    matrix = crop_matrix(KEYPOINTS @ turn.T + (31, -7), 48, zoom)
    crop = (KEYPOINTS @ turn.T + (31, -7)) @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(crop[ALIGNED], 48 * (0.5 + zoom * (KEYPOINTS[ALIGNED] - 0.5)), atol=1e-9)
