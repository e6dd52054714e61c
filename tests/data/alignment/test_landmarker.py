from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_lightning.data.alignment.landmarker import Landmarker, find_model_file
from fer_lightning.data.alignment.landmarks import (
    BLENDSHAPES,
    EYES,
    MIRRORED,
    MIRRORED_BLENDSHAPES,
    MOUTH,
    NOSE,
    RIGID,
    TEMPLATE,
)
from fer_lightning.data.alignment.warp import fit_similarity, warp
from fer_lightning.errors import UserError

# Columns and rows of the face in scikit-image's portrait of an astronaut.
LEFT, TOP, SIDE = 165, 62, 125


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mediapipe", exc_type=ImportError)
    try:
        return find_model_file(None, tmp_path_factory.mktemp("cache"))
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def landmarker(model: Path) -> Iterator[Landmarker]:
    with Landmarker(model) as opened:
        yield opened


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return pytest.importorskip("skimage.data").astronaut()


@pytest.fixture(scope="module")
def face(portrait: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(portrait[TOP : TOP + SIDE, LEFT : LEFT + SIDE])


def eye_distance(points: np.ndarray) -> float:
    return float(np.linalg.norm(points[45] - points[36]))


def error(points: np.ndarray, expected: np.ndarray) -> float:
    """Mean distance of eyes, nose and mouth as a share of the distance of the outer eye corners."""
    inner = np.r_[NOSE, EYES, MOUTH]
    return float(np.linalg.norm(points[inner] - expected[inner], axis=1).mean()) / eye_distance(expected)


def test_a_face_is_found_where_it_is(landmarker, portrait):
    found = landmarker.detect(portrait)
    assert found.points.shape == (68, 2) and found.points.dtype == np.float32
    # Read off the picture by eye: the irises and the middle of the mouth.
    np.testing.assert_allclose(found.points[36:42].mean(0), (203, 101), atol=4)
    np.testing.assert_allclose(found.points[42:48].mean(0), (246, 104), atol=4)
    np.testing.assert_allclose(found.points[MOUTH].mean(0), (224, 146), atol=4)


def test_a_smile_is_seen_in_the_blendshapes(landmarker, face):
    found = landmarker.detect(face)
    assert found.blendshapes.shape == (52,) and found.blendshapes.dtype == np.float32
    assert (found.blendshapes >= 0).all() and (found.blendshapes <= 1).all()
    scores = dict(zip(BLENDSHAPES, found.blendshapes))
    assert min(scores["mouthSmileLeft"], scores["mouthSmileRight"]) > 0.4
    assert max(scores["mouthFrownLeft"], scores["jawOpen"], scores["eyeBlinkLeft"]) < 0.2


def test_names_are_those_of_the_model_in_its_order(landmarker, portrait):
    import mediapipe

    image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=portrait)
    categories = landmarker._model.detect(image).face_blendshapes[0]
    assert tuple(category.category_name for category in categories) == BLENDSHAPES


@pytest.mark.parametrize("side", [32, 48, 100, 300])
def test_coordinates_scale_with_the_picture(landmarker, face, portrait, side):
    expected = landmarker.detect(portrait).points - (LEFT, TOP)
    interpolation = cv2.INTER_AREA if side < SIDE else cv2.INTER_CUBIC
    found = landmarker.detect(cv2.resize(face, (side, side), interpolation=interpolation))
    assert error(found.points * SIDE / side, expected) < (0.08 if side == 32 else 0.05)


def test_pictures_need_not_be_square(landmarker, portrait):
    expected = landmarker.detect(portrait).points
    tall = landmarker.detect(portrait[:200, LEFT : LEFT + SIDE])
    assert error(tall.points + np.array([LEFT, 0]), expected) < 0.04


def test_grey_gives_the_same_face(landmarker, face):
    grey = landmarker.detect(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY))
    assert error(grey.points, landmarker.detect(face).points) < 0.04


@pytest.mark.parametrize("degrees", [-30, -10, 20])
@pytest.mark.parametrize("side", [48, 125])
def test_a_rotation_is_recovered(landmarker, portrait, degrees, side):
    centre = (LEFT + SIDE / 2, TOP + SIDE / 2)
    matrix = cv2.getRotationMatrix2D(centre, -degrees, 1) * (side / SIDE)
    matrix[:, 2] += side / 2 - np.array(centre) * side / SIDE
    upright = warp(portrait, np.array([[1.0, 0, -LEFT], [0, 1, -TOP]]) * (side / SIDE), side)
    rotated = warp(portrait, matrix, side)
    fitted = fit_similarity(landmarker.detect(upright).points[RIGID], landmarker.detect(rotated).points[RIGID])
    assert abs(np.degrees(np.arctan2(fitted[1, 0], fitted[0, 0])) - degrees) < 3


@pytest.mark.parametrize("degrees", [-25, 25])
def test_alignment_turns_a_face_upright_onto_the_template(landmarker, portrait, degrees):
    rotated = cv2.warpAffine(portrait, cv2.getRotationMatrix2D((225, 125), degrees, 1), (512, 512))
    points = landmarker.detect(rotated).points
    aligned = landmarker.detect(warp(rotated, fit_similarity(points[RIGID], TEMPLATE[RIGID] * 128), 128))
    left, right = aligned.points[36:42].mean(0), aligned.points[42:48].mean(0)
    # Her head is turned and tilted, so brows and nose do not let the eyes lie quite level.
    assert abs(np.degrees(np.arctan2(right[1] - left[1], right[0] - left[0]))) < 8
    np.testing.assert_allclose((left + right) / 256, TEMPLATE[EYES].mean(0), atol=0.04)


def test_the_mirrored_picture_has_the_mirrored_points(landmarker, face):
    plain, mirrored = landmarker.detect(face), landmarker.detect(np.ascontiguousarray(face[:, ::-1]))
    expected = plain.points.copy()
    expected[:, 0] = SIDE - expected[:, 0]
    distances = np.linalg.norm(mirrored.points - expected[MIRRORED], axis=1) / eye_distance(plain.points)
    assert distances.max() < 0.15 and distances.mean() < 0.05
    differences = np.abs(mirrored.blendshapes - plain.blendshapes[MIRRORED_BLENDSHAPES])
    assert differences.mean() < 0.05


@pytest.mark.parametrize("large_is_left", [True, False])
def test_of_several_faces_the_largest(landmarker, portrait, large_is_left):
    large = portrait[10:260, 100:350]
    small = cv2.resize(large, (150, 150), interpolation=cv2.INTER_AREA)
    canvas = np.full((250, 400, 3), 127, np.uint8)
    start = 0 if large_is_left else 150
    canvas[:, start : start + 250] = large
    canvas[50:200, 250 - start : 400 - start] = small
    expected = landmarker.detect(np.ascontiguousarray(large)).points + np.array([start, 0])
    assert error(landmarker.detect(canvas).points, expected) < 0.05


@pytest.mark.parametrize("shape", [(48, 48), (300, 200, 3)])
def test_nothing_is_found_where_there_is_no_face(landmarker, shape):
    assert landmarker.detect(np.full(shape, 127, np.uint8)) is None


def test_the_terminal_stays_clean(model, face, capfd):
    with Landmarker(model) as landmarker:
        assert landmarker.detect(face) is not None
    assert capfd.readouterr() == ("", "")


def test_without_mediapipe_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(UserError, match=r"mediapipe, which is not installed: run pip install 'fer_lightning\[align\]'"):
        Landmarker(tmp_path)


def test_without_system_libraries_the_packages_are_named(model, monkeypatch):
    from mediapipe.tasks.python import vision

    def fail(options: object) -> None:
        raise OSError("libEGL.so.1: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(vision.FaceLandmarker, "create_from_options", fail)
    with pytest.raises(UserError, match=r"libEGL\.so\.1.*apt install libegl1 libgles2"):
        Landmarker(model)


def test_a_second_landmarker_survives_a_program_that_resets_all_signals(model):
    """As Lightning does when a fit ends."""
    program = f"""
import signal
from pathlib import Path
import numpy as np
from fer_lightning.data.alignment.landmarker import Landmarker

for _ in range(2):
    with Landmarker(Path({str(model)!r})) as landmarker:
        for _ in range(40):
            landmarker.detect(np.zeros((192, 192, 3), np.uint8))
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGPROF, signal.getsignal(signal.SIGPROF))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, (done.returncode, done.stderr)
