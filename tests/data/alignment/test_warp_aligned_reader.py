from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest

from fer_lightning.data.alignment import warp
from fer_lightning.data.alignment.detection import Landmarks, detect_landmarks
from fer_lightning.data.alignment.landmarker import Landmarker, find_model_file
from fer_lightning.data.alignment.landmarks import TEMPLATE
from fer_lightning.data.alignment.warp import AlignedReader, eye_centres, eye_spread, roll
from fer_lightning.data.samples import ImageFiles
from fer_lightning.data.store import LazyImages, pack

pytest.importorskip("mediapipe")

SIZE = 112


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return find_model_file(None, tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def aligned(face_folder: Path, model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> AlignedReader:
    """8 turned, shifted and scaled pictures of one face, and 2 of noise."""
    paths = sorted(str(path.relative_to(face_folder)) for path in (face_folder / "val").rglob("*.png"))
    reader = ImageFiles(face_folder, tuple(paths))
    folder = tmp_path_factory.mktemp("landmarks") / "landmarks"
    return AlignedReader(
        reader, detect_landmarks(reader, paths, folder, lambda: model_file, workers=1, on_bad_sample="skip"), SIZE
    )


def test_eyes_land_on_the_template(aligned: AlignedReader, model_file: Path) -> None:
    """As a second search in the aligned pictures tells."""
    found = np.flatnonzero(aligned.landmarks.found)
    before = aligned.landmarks.points[found]
    assert len(found) == 8
    assert np.abs(roll(before)).max() > 10 and eye_spread(before) > 4
    with Landmarker(model_file) as landmarker:
        faces = [landmarker.detect(aligned.read(row)) for row in found]
    after = np.stack([face.points for face in faces if face is not None])
    assert len(after) == 8
    assert np.abs(roll(after)).max() < 3
    assert eye_spread(after) < 0.01 * SIZE
    # One person's own proportions keep single parts off the mean face.
    assert np.abs(eye_centres(after) - eye_centres(TEMPLATE[None] * SIZE)).max() < 0.035 * SIZE


def test_pictures_without_a_face_stay_as_they_are(aligned: AlignedReader) -> None:
    missing = np.flatnonzero(~aligned.landmarks.found)
    assert len(missing) == 2
    for row in missing:
        np.testing.assert_array_equal(aligned.read(row), aligned.reader.read(row))


def test_packed_and_files_agree(aligned: AlignedReader, tmp_path: Path) -> None:
    images, bad = pack(aligned, tmp_path / "store", SIZE, 1)
    rows = np.arange(len(aligned))
    assert not bad
    np.testing.assert_array_equal(images.batch(rows), LazyImages(aligned, SIZE, 1).batch(rows))


def test_taking_rows_takes_their_landmarks(aligned: AlignedReader) -> None:
    some = aligned.take(np.array([7, 0]))
    assert len(some) == 2
    np.testing.assert_array_equal(some.read(0), aligned.read(7))
    np.testing.assert_array_equal(some.read(1), aligned.read(0))


def test_pickles(aligned: AlignedReader) -> None:
    copy = pickle.loads(pickle.dumps(aligned))
    np.testing.assert_array_equal(copy.read(3), aligned.read(3))
    assert copy.content_key() == aligned.content_key()


def test_the_content_key_follows_everything_that_decides_the_pixels(
    aligned: AlignedReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = aligned.landmarks.points.copy()
    points[0, 40, 1] += 0.1
    moved = Landmarks(aligned.landmarks.found, points, aligned.landmarks.blendshapes)
    swapped = aligned.reader.take(np.arange(len(aligned))[::-1])
    variants = [
        aligned,
        dataclasses.replace(aligned, landmarks=moved),
        dataclasses.replace(aligned, size=SIZE + 1),
        dataclasses.replace(aligned, reader=swapped),
    ]
    keys = [variant.content_key() for variant in variants]
    monkeypatch.setattr(warp, "TEMPLATE", TEMPLATE + 0.01)
    keys.append(aligned.content_key())
    monkeypatch.setattr(warp, "ALIGNMENT_VERSION", -1)
    keys.append(aligned.content_key())
    assert len({*keys, aligned.reader.content_key()}) == 7
    assert aligned.local_key() == aligned.reader.local_key()
