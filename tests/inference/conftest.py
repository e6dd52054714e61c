"""What needs the face detector, opened once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from fer_lightning.errors import UserError
from fer_lightning.inference.face_detector import FaceFinder
from fer_lightning.inference.predictor import Predictor


@pytest.fixture(scope="session")
def portrait() -> np.ndarray:
    """scikit-image's astronaut, RGB `(512, 512, 3)`, whose face fills columns 170-275 and rows 70-175."""
    return pytest.importorskip("skimage.data").astronaut()


@pytest.fixture(scope="session")
def finder() -> Iterator[FaceFinder]:
    pytest.importorskip("mediapipe", exc_type=ImportError)
    try:
        opened = FaceFinder()
    except UserError as error:
        pytest.skip(str(error))
    with opened:
        yield opened


@pytest.fixture(scope="session")
def predictor(finder: FaceFinder) -> Iterator[Predictor]:
    """By the net that ships."""
    with Predictor("ferplus", threads=1) as opened:
        yield opened
