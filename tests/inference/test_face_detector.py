from __future__ import annotations

import subprocess
import sys
import zipfile

import cv2
import numpy as np
import pytest

from fer_lightning.data.alignment.landmarker import find_model_file
from fer_lightning.data.alignment.landmarks import EYES, MOUTH, TEMPLATE
from fer_lightning.errors import UserError
from fer_lightning.inference.face_detector import ALIGNED, KEYPOINTS, MODEL, Face, FaceFinder, crop_faces, crop_matrix

FACE_DETECTOR_EYES = np.array([(203.8, 103.1), (245.4, 100.2)])  # of the portrait, as MediaPipe's landmarker finds them
GREY, COLOUR = {"image_size": 48, "channels": 1}, {"image_size": 40, "channels": 3}


def turned(picture, degrees):
    """The picture turned about its centre, and the matrix that did it."""
    side = picture.shape[0]
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), degrees, 1)
    return cv2.warpAffine(picture, matrix, (side, side)), matrix


def test_the_detector_is_that_of_the_landmark_model(tmp_path):
    try:
        landmarker = find_model_file(None, tmp_path)
    except UserError as error:
        pytest.skip(str(error))
    assert zipfile.ZipFile(landmarker).read(MODEL.name) == MODEL.read_bytes()


def test_a_face_is_found_with_its_points(finder, portrait):
    [face] = finder.find(portrait)
    np.testing.assert_allclose(face.points[:2], FACE_DETECTOR_EYES, atol=7)
    x, y, width, height = face.box
    assert 160 < x < 185 and 60 < y < 85 and 85 < width == height < 120 and face.score > 0.8
    assert face.points.shape == (6, 2)


@pytest.mark.parametrize("degrees", [30, 90, 135, 180, 270])
def test_turned_faces_are_found_with_the_same_points(finder, portrait, degrees):
    picture, matrix = turned(portrait, degrees)
    face = max(finder.find(picture), key=lambda face: face.score)
    np.testing.assert_allclose(face.points[:2], FACE_DETECTOR_EYES @ matrix[:, :2].T + matrix[:, 2], atol=7)


def test_far_faces_need_the_thorough_search(finder, portrait):
    wall = np.full((900, 1200, 3), 90, np.uint8)
    places = [(20, 30, 240), (500, 60, 160), (900, 500, 200), (100, 560, 300)]
    for left, top, side in places:
        wall[top : top + side, left : left + side] = cv2.resize(portrait[:300, 80:380], (side, side))
    faces = finder.find(wall)
    assert len(faces) == 4
    areas = [face.box[2] * face.box[3] for face in faces]
    assert areas == sorted(areas, reverse=True)
    for face, (left, top, side) in zip(faces, sorted(places, key=lambda place: -place[2])):
        expected = (FACE_DETECTOR_EYES - (80, 0)) * side / 300 + (left, top)
        np.testing.assert_allclose(face.points[:2], expected, atol=0.03 * side)
    with FaceFinder(thorough=False) as quick:
        assert len(quick.find(wall)) < 4
    with FaceFinder(min_face=80) as of_near_ones:
        assert [face.box[2] >= 80 for face in of_near_ones.find(wall)] == [True] * len(of_near_ones.find(wall))
        assert 0 < len(of_near_ones.find(wall)) < 4


def test_a_picture_filled_by_its_face(finder, portrait):
    assert len(finder.find(portrait[80:165, 180:265])) == 1


def test_dark_small_and_huge_pictures(finder, portrait):
    assert len(finder.find((portrait * 0.08).astype(np.uint8))) == 1
    assert len(finder.find(cv2.resize(portrait, (100, 100), interpolation=cv2.INTER_AREA))) == 1
    [face] = finder.find(cv2.resize(portrait, (4096, 4096)))
    np.testing.assert_allclose(face.points[:2], 8 * FACE_DETECTOR_EYES, atol=56)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (20, 20), (120, 160)])
def test_nothing_is_found_where_nothing_is(finder, shape):
    assert finder.find(np.full((*shape, 3), 127, np.uint8)) == []


def test_a_face_is_followed_and_let_go(finder, portrait):
    [face] = finder.find(portrait)
    moved = np.roll(portrait, (12, 9), axis=(0, 1))
    [followed] = finder.follow(moved, [face], [])
    np.testing.assert_allclose(followed.points[:2], FACE_DETECTOR_EYES + np.array((9, 12)), atol=7)
    assert finder.follow(np.zeros_like(portrait), [face], [0]) == []


def test_glances_find_small_new_faces_in_turn(portrait):
    wall = np.full((240, 640, 3), 90, np.uint8)
    wall[20:220, 20:220] = wall[20:220, 400:600] = cv2.resize(portrait[:300, 80:380], (200, 200))
    with FaceFinder(thorough=False) as quick:
        faces = []
        for glance in range(4):  # the whole picture and three squares
            faces = quick.follow(wall, faces, [glance])
    assert sorted(round(face.box[0], -2) for face in faces) == [100, 500]


def test_the_terminal_stays_clean_even_when_nobody_closes_it():
    program = """
import numpy as np
from fer_lightning.inference.face_detector import FaceFinder
finder = FaceFinder()
finder.find(np.zeros((64, 64, 3), np.uint8))
"""
    pytest.importorskip("mediapipe", exc_type=ImportError)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


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
