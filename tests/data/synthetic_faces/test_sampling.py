from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

import numpy as np
import pytest

from fer_lightning.data.labels import EIGHT, SEVEN
from fer_lightning.data.synthetic_faces.parameters import OCCLUSIONS, FaceParameters
from fer_lightning.data.synthetic_faces.sampling import SAMPLING_VERSION, sample_face, sample_identity

GOLDEN = {3: "fdf2421b37c8f1c6"}


def faces(difficulty: float, count: int = 210) -> list[FaceParameters]:
    names = SEVEN.classes
    return [sample_face(0, k, k // 7, names[k % 7], names, difficulty) for k in range(count)]


def test_the_same_arguments_give_the_same_face() -> None:
    assert faces(0.5, 14) == faces(0.5, 14)
    first = sample_face(0, 3, 1, "happy", SEVEN.classes, 0.5)
    assert first != sample_face(1, 3, 1, "happy", SEVEN.classes, 0.5)
    assert first != sample_face(0, 4, 1, "happy", SEVEN.classes, 0.5)


def test_a_person_keeps_the_face_in_every_picture() -> None:
    pictures = [sample_face(0, k, 5, "sad", SEVEN.classes, 1.0) for k in range(3)]
    assert all(face.identity == sample_identity(0, 5) for face in pictures)
    assert len({face.view for face in pictures}) == 3
    assert sample_identity(0, 6) != sample_identity(0, 5) != sample_identity(1, 5)


def test_easy_faces_are_passport_photographs() -> None:
    for face in faces(0.0, 35):
        view = face.view
        assert view.yaw == view.pitch == view.roll == view.shift_x == view.blur == view.noise == face.blend == 0
        assert view.scale == view.exposure == face.intensity == 1
        assert view.occlusion == "none"


def test_every_nuisance_grows_with_difficulty() -> None:
    def spread(difficulty: float) -> np.ndarray:
        drawn = faces(difficulty)
        columns = ("yaw", "pitch", "roll", "shift_x", "shift_y", "gaze_x", "blur", "noise")
        rows = [[abs(getattr(face.view, name)) for name in columns] for face in drawn]
        rates = [[1 - face.intensity, face.blend, face.view.occlusion != "none"] for face in drawn]
        return np.concatenate([np.mean(rows, axis=0), np.mean(rates, axis=0)])

    easy, middle, hard = spread(0.1), spread(0.5), spread(1.0)
    assert (easy < middle).all() and (middle < hard).all()


def test_units_stay_in_range_and_follow_the_expression() -> None:
    for face in faces(1.0):
        units = asdict(face.units)
        units.pop("side")
        assert all(0 <= amount <= 1.15 for amount in units.values())
        assert face.view.occlusion in OCCLUSIONS
    happy = [face.units.au12 for face in faces(0.55) if face.expression == "happy"]
    sad = [face.units.au12 for face in faces(0.55) if face.expression == "sad"]
    assert min(happy) > max(sad)


def test_contempt_is_mixed_in_only_where_it_is_a_class() -> None:
    def blended(classes: tuple[str, ...]) -> set[str]:
        return {sample_face(0, k, k, "sad", classes, 1.0).blended for k in range(300)}

    assert blended(SEVEN.classes) == {"", *SEVEN.classes} - {"sad"}
    assert blended(EIGHT.classes) == {"", *EIGHT.classes} - {"sad"}


def test_changing_the_distribution_needs_a_new_version() -> None:
    rows = [
        {name: round(value, 6) if isinstance(value, float) else value for name, value in face.to_row().items()}
        for face in faces(0.55, 28)
    ]
    digest = hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()[:16]
    if digest != GOLDEN[SAMPLING_VERSION]:
        pytest.fail(f"Faces are sampled differently: raise SAMPLING_VERSION and add {digest!r} for it to GOLDEN.")
