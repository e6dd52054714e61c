from __future__ import annotations

import cv2
import numpy as np

from fer_lightning.deploy.face_crop import crop_faces
from fer_lightning.inference.face_detector import Face
from fer_lightning.deploy.keypoints import KEYPOINTS

GREY, COLOUR = {"image_size": 48, "channels": 1}, {"image_size": 40, "channels": 3}


def face_at(corner, side):
    """A face whose crop is exactly the square at `corner`."""
    return Face((*corner, side, side), 1.0, (KEYPOINTS * side + corner).astype(np.float32))


def test_an_upright_face_is_its_square():
    picture = np.random.default_rng(0).integers(0, 256, (100, 120, 3), dtype=np.uint8)
    [crop] = crop_faces(picture, [face_at((30, 20), 40)], COLOUR)
    np.testing.assert_allclose(crop.astype(int), picture[20:60, 30:70], atol=1)


def test_several_faces_in_grey_and_none():
    picture = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8), (0, 0), 4)
    crops = crop_faces(picture, [face_at((30, 20), 96), face_at((100, 80), 48)], GREY)
    assert crops.shape == (2, 48, 48, 1) and crops.dtype == np.uint8
    expected = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[80:128, 100:148]
    np.testing.assert_allclose(crops[1, ..., 0].astype(int), expected, atol=2)
    assert crop_faces(picture, [], GREY).shape == (0, 48, 48, 1)


def test_a_tight_picture_is_shown_closer_instead_of_with_a_repeated_border():
    picture = np.random.default_rng(0).integers(0, 200, (36, 36, 3), dtype=np.uint8)
    picture[0] = picture[-1] = picture[:, 0] = picture[:, -1] = 255
    face = face_at((-6.0, -6.0), 48)
    [crop] = crop_faces(picture, [face], COLOUR)
    assert (crop == 255).mean() < 0.2  # 0.44 of the crop lies beyond the picture where nothing is done
    wide = cv2.copyMakeBorder(picture, 50, 50, 50, 50, cv2.BORDER_REPLICATE)
    [framed] = crop_faces(wide, [face_at((44.0, 44.0), 48)], COLOUR)
    assert (framed == 255).mean() > 0.4
