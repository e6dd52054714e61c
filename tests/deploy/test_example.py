"""`predict.py`, which `fer export` writes beside an ONNX file, against `Predictor`."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
from PIL import Image

from fer_lightning.deploy.formats import EXAMPLE
from fer_lightning.inference.face_detector import ALIGNED
from fer_lightning.inference.predictor import Predictor
from fer_lightning.training.safetensors_weights import WEIGHTS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `fer export` leaves it, but for the weights, which are beside the graph that ships."""
    folder = tmp_path_factory.mktemp("exported")
    shutil.copy(WEIGHTS / "ferplus.onnx", folder / "model.onnx")
    shutil.copy(WEIGHTS / "ferplus.safetensors", folder)
    shutil.copy(EXAMPLE, folder / "predict.py")
    return folder


@pytest.fixture(scope="module")
def pictures() -> dict[str, np.ndarray]:
    portrait = pytest.importorskip("skimage.data").astronaut()
    centre = cv2.getRotationMatrix2D((222, 122), 35, 1.3)
    return {
        "large": cv2.resize(portrait, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC),
        "small": portrait[::2, ::2],
        "cut off": portrait[70:170, 165:275],  # the crop is tighter
        "rotated": cv2.warpAffine(portrait, centre, (512, 400)),
        "dark": portrait // 3,
    }


def test_reproduces_the_predictor(folder: Path, pictures: dict[str, np.ndarray]) -> None:
    pytest.importorskip("mediapipe", exc_type=ImportError)
    specification = importlib.util.spec_from_file_location("example", folder / "predict.py")
    example = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(example)
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    expressions = set()
    with Predictor("ferplus") as predictor:
        for name, picture in pictures.items():
            [wanted] = predictor(picture)
            [face] = predictor.finder.find(picture)
            read = example.predict(session, picture, face.points[ALIGNED])
            assert read == pytest.approx(wanted.probabilities, abs=1e-3), name
            np.testing.assert_array_equal(
                cv2.cvtColor(example.crop_face(picture, face.points[ALIGNED], len(wanted.face)), cv2.COLOR_RGB2GRAY),
                wanted.face.squeeze(),
                err_msg=name,
            )
            expressions.add(round(wanted.confidence, 3))
        assert len(expressions) > 2
        Image.fromarray(pictures["small"]).save(folder / "small.png")
        points = [str(number) for number in predictor.finder.find(pictures["small"])[0].points[ALIGNED].ravel()]
        [wanted] = predictor(folder / "small.png")
    command = [sys.executable, "-I", "predict.py", "model.onnx", "small.png", *points]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == pytest.approx(wanted.probabilities, abs=1e-3)


def test_imports_nothing_of_this_package() -> None:
    assert "fer_lightning" not in EXAMPLE.read_text()
