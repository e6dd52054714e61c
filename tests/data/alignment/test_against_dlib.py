"""MediaPipe's landmarks against an independent 68-point detector, on real faces that are not part of the repository.

Set `FER_FER2013_ROOT` to the folder of `fer2013.csv`, install `dlib-bin` and `face_recognition_models`, and run
`pytest -m slow -s` on this file; it prints a table as CSV.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_lightning.data.alignment.landmarker import Landmarker, find_model_file
from fer_lightning.data.alignment.landmarks import BROWS, EYES, JAW, MOUTH, NOSE
from fer_lightning.data.text_tables import read_pixel_csv

FACES = 500
SIDE, BORDER = 192, 48
PARTS = {"eye": EYES, "nose": NOSE, "mouth": MOUTH, "brow": BROWS, "jaw": JAW}
# Medians in percent of the distance of the outer eye corners: about one and a half times what was measured.
BOUNDS = {"eye": 3.5, "nose": 5.0, "mouth": 5.0, "brow": 9.0, "jaw": 17.0}


def real_faces() -> list[np.ndarray]:
    """A fixed random sample of FER2013's Training, uint8 `(48, 48)` each."""
    root = os.environ.get("FER_FER2013_ROOT")
    if root is None:
        pytest.skip("FER_FER2013_ROOT does not name the folder of fer2013.csv")
    table = read_pixel_csv(Path(root) / "fer2013.csv", 7, ("Training", "PublicTest", "PrivateTest"))
    training = np.flatnonzero(table.frame["usage"] == "Training")
    rows = np.random.default_rng(0).choice(training, FACES, replace=False)
    return [table.reader.read(int(row)).reshape(48, 48) for row in rows]


class Dlib:
    """dlib's HOG detector and its 68-point predictor, on a picture enlarged and padded as MediaPipe gets it."""

    def __init__(self) -> None:
        self.dlib = pytest.importorskip("dlib", exc_type=ImportError)
        models = find_spec("face_recognition_models")  # importing it fails under recent setuptools
        if models is None or not models.submodule_search_locations:
            pytest.skip("face_recognition_models is not installed")
        weights = Path(models.submodule_search_locations[0]) / "models" / "shape_predictor_68_face_landmarks.dat"
        self.detector = self.dlib.get_frontal_face_detector()
        self.predictor = self.dlib.shape_predictor(str(weights))

    def detect(self, image: np.ndarray) -> np.ndarray | None:
        enlarged = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        padded = cv2.copyMakeBorder(enlarged, BORDER, BORDER, BORDER, BORDER, cv2.BORDER_REPLICATE)
        boxes = self.detector(padded, 0)
        if not boxes:
            return None
        shape = self.predictor(padded, max(boxes, key=lambda box: box.area()))
        points = np.array([(point.x, point.y) for point in shape.parts()], float)
        # dlib counts from the centre of the first pixel.
        return (points + 0.5 - BORDER) * len(image) / SIDE


@pytest.mark.slow
def test_landmarks_agree_with_dlibs_on_real_faces(tmp_path):
    pytest.importorskip("mediapipe", exc_type=ImportError)
    faces, dlib = real_faces(), Dlib()
    references = [dlib.detect(face) for face in faces]
    with Landmarker(find_model_file(None, tmp_path)) as landmarker:
        found = [landmarker.detect(face) for face in faces]
    rate = sum(face is not None for face in found) / FACES
    dlib_rate = sum(points is not None for points in references) / FACES
    pairs = [(ours.points, theirs) for ours, theirs in zip(found, references) if ours and theirs is not None]
    ours, theirs = (np.stack(points) for points in zip(*pairs))
    eye_distances = np.linalg.norm(theirs[:, 45] - theirs[:, 36], axis=1)
    errors = 100 * np.linalg.norm(ours - theirs, axis=2) / eye_distances[:, None]
    print("\nmeasure,value,faces")
    print(f"detection rate of MediaPipe in %,{100 * rate:.1f},{FACES}")
    print(f"detection rate of dlib's HOG detector in %,{100 * dlib_rate:.1f},{FACES}")
    for part, points in PARTS.items():
        per_face = errors[:, points].mean(1)
        print(f"{part} error (mean) in % of the outer-eye distance,{per_face.mean():.2f},{len(pairs)}")
        print(f"{part} error (median) in % of the outer-eye distance,{np.median(per_face):.2f},{len(pairs)}")
    assert rate > 0.96 and rate > dlib_rate
    for part, points in PARTS.items():
        assert np.median(errors[:, points].mean(1)) < BOUNDS[part]
