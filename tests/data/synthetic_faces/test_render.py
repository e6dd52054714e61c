"""What action units do is measured on pixels, without the drawing's own geometry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest

from fer_lightning.data.labels import SEVEN
from fer_lightning.data.synthetic_faces.parameters import (
    OCCLUSIONS,
    PROTOTYPES,
    ActionUnits,
    FaceParameters,
    Identity,
    View,
)
from fer_lightning.data.synthetic_faces.render import DRAWING_VERSION, draw_face
from fer_lightning.data.synthetic_faces.sampling import sample_face

SIZE = 160
MODEL = Identity(hair_volume=0.0, hair_tone=0.0, age=0.0, skin_tone=0.1)
STUDIO = View(light_azimuth=0.0, light_contrast=0.3)

# Grey thumbnails of faces by version; pixels may differ by a grey level between builds of OpenCV, so no hash will do.
GOLDEN = {
    2: (
        "706e6a677c86817161697275dfda8d22202020202398eef3aeb1a13d2626282839a7d9e1686767a0b7b6b0a38e676e71e0c9251f1f21"
        "201f1f26d8f1afb03b252832342d283ed7e151527ab5b8b6b1a897746368e7a820315c67665b2f1fabecb49c263a61686c6c4527bce2"
        "363988b6b8b5b0a89a76565cefad1e576c6e6d6b541ea6e7b991234148686a4e4d27ade2282c939d8ea19c86887a5056f1b31d463e61"
        "613e441cace9b788225b5b6f74646c29a1dc3441a28a5a998c5579825c5be9ac1e5954666455581db6f8a97921596e484e6b64288ecd"
        "4d69a7b6b6b4a1aa9e827467dd9c43686e6a696c6540b6ff978b434f585c655e5b55a4bc5d6199afaf9b88a2927b6f6cd38c3e5f645e"
        "5c635c3badff8b8f635f6c6672747276afb8575485a4a4968c9387746566d88b3758494c4b485536a6fe8d947759614d556d6d8bc1c8"
        "4644589e93746f817f5e585be69528585c4b4a5a55289ef1979f91565b4245676aaadce237373769999c92825d454e51f0a21631545b"
        "5952311697dfa0a8bd645b383b6875dbf2f833333541717a746c41414a4df3b416161a29281a1616a2d8a3abc3ae535a6262aae5f9fd"
    ),
}


def draw(size: int = SIZE, view: View = STUDIO, **units: float) -> np.ndarray:
    return draw_face(FaceParameters("neutral", 1.0, "", 0.0, ActionUnits(**units), MODEL, view), size)


def grey(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(float)


def window(image: np.ndarray, top: float, bottom: float, left: float, right: float) -> np.ndarray:
    """Part of a picture, in fractions of its side."""
    side = len(image)
    return image[round(top * side) : round(bottom * side), round(left * side) : round(right * side)]


def brow_height(image: np.ndarray) -> float:
    """Mean row of the dark pixels above the eyes, as a fraction of the side, upwards."""
    rows, _ = np.nonzero(window(grey(image), 0.18, 0.425, 0.22, 0.78) < 100)
    return -float(rows.mean()) / len(image)


def brow_gap(image: np.ndarray) -> int:
    """Columns without a dark pixel between the brows."""
    dark = (window(grey(image), 0.2, 0.425, 0.3, 0.7) < 100).any(axis=0)
    middle = len(dark) // 2
    left = middle - 1 - int(np.flatnonzero(dark[:middle]).max())
    return left + int(np.flatnonzero(dark[middle:]).min())


def eye_white(image: np.ndarray) -> int:
    red, _, blue = window(image, 0.4, 0.53, 0.25, 0.75).reshape(-1, 3).astype(int).T
    return int(((blue > 140) & (red - blue < 30)).sum())


def mouth_cavity(image: np.ndarray) -> int:
    return int((window(grey(image), 0.68, 0.95, 0.33, 0.67) < 75).sum())


def lip_line(image: np.ndarray, left: float, right: float) -> float:
    """Mean row of the darkest pixel of the mouth's columns, as a fraction of the side, upwards."""
    return -float(window(grey(image), 0.66, 0.86, left, right).argmin(axis=0).mean()) / len(image)


def corner_lift(image: np.ndarray) -> float:
    """How far the lip corners lie above the middle of the mouth."""
    corners = (lip_line(image, 0.395, 0.415) + lip_line(image, 0.585, 0.605)) / 2
    return corners - lip_line(image, 0.48, 0.52)


def nose_wrinkles(image: np.ndarray) -> float:
    bridge = window(grey(image), 0.5, 0.6, 0.46, 0.54)
    return float(np.abs(np.diff(bridge, axis=0)).mean())


@pytest.mark.parametrize(
    "measure, weak, strong",
    [
        (brow_height, {}, {"au1": 0.5, "au2": 0.5}),
        (brow_height, {"au1": 0.5, "au2": 0.5}, {"au1": 1.0, "au2": 1.0}),
        (brow_height, {"au4": 0.7}, {}),
        (brow_gap, {"au4": 1.0}, {}),
        (eye_white, {}, {"au5": 1.0}),
        (eye_white, {"au7": 1.0}, {}),
        (eye_white, {"au43": 1.0}, {"au43": 0.4}),
        (eye_white, {"au6": 1.0}, {}),
        (mouth_cavity, {}, {"au25": 1.0}),
        (mouth_cavity, {"au25": 0.6, "au26": 0.3}, {"au25": 0.6, "au26": 1.0}),
        (corner_lift, {}, {"au12": 1.0}),
        (corner_lift, {"au15": 1.0}, {}),
        (nose_wrinkles, {}, {"au9": 1.0}),
    ],
)
def test_action_units_do_what_they_are_named_for(
    measure: Callable[[np.ndarray], float], weak: dict[str, float], strong: dict[str, float]
) -> None:
    assert measure(draw(**weak)) < measure(draw(**strong))


def test_lip_corners_go_up_and_down() -> None:
    assert corner_lift(draw(au12=1.0)) > 0.01
    assert corner_lift(draw(au15=1.0)) < -0.01


def test_a_one_sided_smile_lifts_one_corner_and_mirrors() -> None:
    left, right = draw(au12=0.8, au14=1.0, side=-1.0), draw(au12=0.8, au14=1.0, side=1.0)
    for image, sign in ((left, 1), (right, -1)):
        difference = lip_line(image, 0.395, 0.415) - lip_line(image, 0.585, 0.605)
        assert sign * difference > 0.01
    face = (0.2, 0.9, 0.25, 0.75)
    mirrored = np.abs(window(grey(left), *face) - window(grey(right)[:, ::-1], *face)).mean()
    straight = np.abs(window(grey(left), *face) - window(grey(right), *face)).mean()
    assert mirrored < 0.5 * straight


def test_the_same_face_is_drawn_the_same() -> None:
    view = replace(STUDIO, noise=8.0, blur=0.01)
    np.testing.assert_array_equal(draw(view=view), draw(view=view))
    assert (draw(view=view) != draw(view=replace(view, background=1))).any()


@pytest.mark.parametrize("size", [32, 48, 100, 224])
def test_any_size_shows_the_same_picture(size: int) -> None:
    image = draw(size, au26=0.5, au25=1.0)
    assert image.shape == (size, size, 3)
    assert image.dtype == np.uint8
    small = cv2.resize(image, (16, 16), interpolation=cv2.INTER_AREA).astype(float)
    reference = cv2.resize(draw(128, au26=0.5, au25=1.0), (16, 16), interpolation=cv2.INTER_AREA)
    assert np.abs(small - reference).mean() < 7


def test_light_comes_from_its_direction() -> None:
    left, right = (
        window(grey(draw(view=replace(STUDIO, light_azimuth=60.0, light_contrast=0.9))), 0.3, 0.8, *columns).mean()
        for columns in ((0.25, 0.45), (0.55, 0.75))
    )
    assert right > left + 20
    bright, dark = (grey(draw(view=replace(STUDIO, exposure=exposure))).mean() for exposure in (1.3, 0.7))
    assert bright > dark + 20


def test_occlusions_hide_what_they_cover() -> None:
    mouth, eyes = (0.68, 0.82, 0.42, 0.58), (0.44, 0.52, 0.3, 0.42)

    def change(occlusion: str, place: tuple[float, float, float, float], **units: float) -> float:
        view = replace(STUDIO, occlusion=occlusion)
        return float(
            np.abs(window(grey(draw(view=view)), *place) - window(grey(draw(view=view, **units)), *place)).mean()
        )

    assert change("mask", mouth, au12=1.0) < 0.3 * change("none", mouth, au12=1.0)
    assert change("sunglasses", eyes, au43=1.0) < 0.3 * change("none", eyes, au43=1.0)
    frontal = grey(draw())
    for occlusion in OCCLUSIONS[1:]:
        assert np.abs(grey(draw(view=replace(STUDIO, occlusion=occlusion))) - frontal).mean() > 3


def test_extreme_parameters_draw_without_error() -> None:
    view = View(yaw=60, pitch=-40, roll=90, scale=2.0, shift_x=0.6, light_contrast=1.0, blur=0.05, noise=40)
    odd = Identity(face_width=0.8, hair_volume=0.4, hair_length=1.6, age=1.0, glasses=True)
    for expression, variants in PROTOTYPES.items():
        for units in variants:
            for occlusion in OCCLUSIONS:
                shown = replace(view, occlusion=occlusion)
                image = draw_face(FaceParameters(expression, 1.0, "", 0.0, units, odd, shown), 32)
                assert image.std() > 1


def test_changing_the_drawing_needs_a_new_version() -> None:
    names = SEVEN.classes
    pictures = [draw_face(sample_face(0, k, k, names[k % 7], names, 0.0), 96) for k in (0, 3, 5)]
    thumbnail = np.hstack([cv2.resize(grey(picture), (12, 12), interpolation=cv2.INTER_AREA) for picture in pictures])
    golden = np.frombuffer(bytes.fromhex(GOLDEN[DRAWING_VERSION]), np.uint8).reshape(12, 36)
    if np.abs(thumbnail - golden).max() > 1.5:
        new = np.rint(thumbnail).astype(np.uint8).tobytes().hex()
        pytest.fail(f"Faces are drawn differently: raise DRAWING_VERSION and add its thumbnail to GOLDEN: {new}")
