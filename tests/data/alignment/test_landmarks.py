from __future__ import annotations

import numpy as np

from fer_lightning.data.alignment.landmarks import (
    BLENDSHAPES,
    BROWS,
    EYES,
    FROM_MEDIAPIPE,
    JAW,
    MIRRORED,
    MIRRORED_BLENDSHAPES,
    MOUTH,
    NOSE,
    RIGID,
    TEMPLATE,
)


def test_parts_cover_the_points_once():
    numbers = [number for part in (JAW, BROWS, NOSE, EYES, MOUTH) for number in range(part.start, part.stop)]
    assert numbers == list(range(68))


def test_mesh_points_are_distinct_points_of_the_mesh():
    assert len(set(FROM_MEDIAPIPE.tolist())) == 68
    assert 0 <= FROM_MEDIAPIPE.min() and FROM_MEDIAPIPE.max() < 478


def test_mirroring_twice_changes_nothing():
    assert (MIRRORED[MIRRORED] == np.arange(68)).all()
    # On the middle line: chin, bridge and tip of the nose, its base, and the lips above and below.
    assert np.flatnonzero(MIRRORED == np.arange(68)).tolist() == [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]


def test_mirroring_keeps_the_parts():
    for part in (JAW, BROWS, NOSE, EYES, MOUTH):
        numbers = np.arange(68)[part]
        assert set(MIRRORED[numbers].tolist()) == set(numbers.tolist())


def test_rigid_points_are_brows_nose_and_eyes():
    assert RIGID.tolist() == list(range(17, 48))


def test_template_is_its_own_mirror_image():
    mirrored = TEMPLATE.copy()
    mirrored[:, 0] = 1 - mirrored[:, 0]
    np.testing.assert_allclose(mirrored[MIRRORED], TEMPLATE, atol=1e-9)


def test_template_is_an_upright_face_inside_the_picture():
    assert 0 < TEMPLATE.min() and TEMPLATE.max() < 1
    brow, eye, nose, mouth, chin = (
        TEMPLATE[part, 1].mean() for part in (BROWS, EYES, slice(31, 36), MOUTH, slice(8, 9))
    )
    assert brow < eye < nose < mouth < chin
    np.testing.assert_allclose(48 * TEMPLATE[36:42].mean(0), (16.7, 19.15), atol=0.01)
    np.testing.assert_allclose(48 * TEMPLATE[42:48].mean(0), (31.3, 19.15), atol=0.01)


def test_each_part_starts_on_the_left_of_the_picture():
    # The mesh's contour bends inwards towards the temples, so the jaw is looked at below the ears.
    for start, stop in ((2, 14), (17, 21), (22, 26), (31, 35), (36, 39), (42, 45), (48, 54), (60, 64)):
        assert (np.diff(TEMPLATE[start : stop + 1, 0]) > 0).all()


def test_52_different_names():
    assert len(set(BLENDSHAPES)) == len(BLENDSHAPES) == 52


def test_mirroring_swaps_left_and_right_alone():
    for name, other in zip(BLENDSHAPES, MIRRORED_BLENDSHAPES):
        swapped = name.replace("Left", "#").replace("Right", "Left").replace("#", "Right")
        assert BLENDSHAPES[other] == swapped
    assert (MIRRORED_BLENDSHAPES == np.arange(52)).sum() == 12
    assert BLENDSHAPES[MIRRORED_BLENDSHAPES[BLENDSHAPES.index("mouthSmileLeft")]] == "mouthSmileRight"
