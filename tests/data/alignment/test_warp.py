from __future__ import annotations

import cv2
import numpy as np
import pytest

from fer_lightning.data.alignment.landmarks import RIGID, TEMPLATE
from fer_lightning.data.alignment.warp import (
    eye_centres,
    eye_distance,
    eye_spread,
    fit_similarity,
    normalised_shape,
    roll,
    warp,
)


def moved(points: np.ndarray, degrees: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return scale * points @ turn.T + shift


def test_fit_of_a_literal_example():
    """A quarter turn, twice the size, then 10 to the right and 1 up."""
    source = np.array([[0, 0], [1, 0], [0, 1]])
    target = np.array([[10, -1], [10, 1], [8, -1]])
    np.testing.assert_allclose(fit_similarity(source, target), [[0, -2, 10], [2, 0, -1]], atol=1e-12)


def test_fit_agrees_with_umeyamas_own_example():
    """Umeyama 1991, section III: three points whose best orthogonal fit would be a reflection."""
    source = np.array([[0, 0], [1, 0], [0, 2]])
    target = np.array([[0, 0], [-1, 0], [0, 2]])
    rotation = np.array([[0.832, 0.555], [-0.555, 0.832]])
    expected = np.column_stack([0.721 * rotation, (-0.8, 0.4)])
    np.testing.assert_allclose(fit_similarity(source, target), expected, atol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_fit_agrees_with_scikit_image(seed):
    transform = pytest.importorskip("skimage.transform")
    rng = np.random.default_rng(seed)
    source, target = rng.normal(0, 9, (2, 31, 2))
    expected = transform.SimilarityTransform.from_estimate(source, target)
    np.testing.assert_allclose(fit_similarity(source, target), expected.params[:2], atol=1e-9)


def test_fit_never_reflects():
    rng = np.random.default_rng(0)
    source = rng.normal(size=(31, 2))
    matrix = fit_similarity(source, source * (-1, 1))
    assert np.linalg.det(matrix[:, :2]) > 0


def test_fit_refuses_coinciding_points():
    with pytest.raises(ValueError, match="two different points"):
        fit_similarity(np.ones((5, 2)), np.zeros((5, 2)))


def test_identity_changes_no_pixel():
    image = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    np.testing.assert_array_equal(warp(image, np.eye(2, 3), 48), image)


def test_half_turn_is_exact_because_pixels_have_their_centres_at_halves():
    image = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
    np.testing.assert_array_equal(warp(image, np.array([[-1.0, 0, 32], [0, -1, 32]]), 32), image[::-1, ::-1])


def test_shrinking_by_a_whole_number_is_the_mean_of_the_pixels():
    image = np.random.default_rng(0).integers(0, 256, (96, 96), dtype=np.uint8)
    means = image.reshape(32, 3, 32, 3).mean((1, 3))
    assert np.abs(warp(image, np.eye(2, 3) / 3, 32) - means).max() <= 0.51


def test_fine_stripes_of_a_large_picture_become_grey_instead_of_aliasing():
    stripes = np.tile(np.array([0, 255], np.uint8), (1000, 500))
    small = warp(stripes, np.eye(2, 3) * 48 / 1000, 48)
    naive = cv2.warpAffine(stripes, np.eye(2, 3) * 48 / 1000, (48, 48))
    assert naive.std() > 20
    assert small.std() < 6 and abs(small.mean() - 127.5) < 2


@pytest.mark.parametrize("side", [60, 250, 1000])
def test_a_dot_lands_where_its_coordinates_do(side):
    yy, xx = np.mgrid[:side, :side] + 0.5
    centre = np.array([0.3, 0.6]) * side
    dot = 255 * np.exp(-((xx - centre[0]) ** 2 + (yy - centre[1]) ** 2) / (2 * (0.04 * side) ** 2))
    matrix = fit_similarity(
        np.array([[0, 0], [side, 0], [side, side]]), moved(np.array([[0, 0], [1, 0], [1, 1]]), 20, 40, (10, 0))
    )
    result = warp(dot.round().astype(np.uint8), matrix, 48).astype(float)
    rows, columns = np.mgrid[:48, :48] + 0.5
    found = np.array([(result * columns).sum(), (result * rows).sum()]) / result.sum()
    np.testing.assert_allclose(found, matrix[:, :2] @ centre + matrix[:, 2], atol=0.05)


def test_beyond_the_border_the_border_is_repeated():
    image = np.zeros((20, 20), np.uint8)
    image[:, 0] = 200
    assert (warp(image, np.array([[1.0, 0, 10], [0, 1, 0]]), 20)[:, :10] == 200).all()


def test_normalised_shapes_are_centred_upright_and_of_unit_size():
    rng = np.random.default_rng(0)
    faces = np.stack(
        [
            moved(TEMPLATE + rng.normal(0, 0.01, (68, 2)), degrees, scale, (degrees, 5))
            for degrees, scale in [(0, 1), (33, 48), (-170, 1000)]
        ]
    )
    shapes = normalised_shape(faces)
    np.testing.assert_allclose(shapes.mean(1), 0, atol=1e-9)
    np.testing.assert_allclose((shapes**2).sum(2).mean(1), 1, atol=1e-9)
    for shape in shapes:
        matrix = fit_similarity(shape[RIGID], TEMPLATE[RIGID])
        assert abs(matrix[1, 0]) < 1e-9 and matrix[0, 0] > 0


def test_normalised_shape_forgets_place_size_and_roll():
    face = (TEMPLATE + np.random.default_rng(0).normal(0, 0.02, (68, 2))).astype(np.float32)
    once = normalised_shape(face)
    again = normalised_shape(moved(face, 41, 17, (3, 4)).astype(np.float32)[None, None])
    assert once.dtype == np.float32 and again.shape == (1, 1, 68, 2)
    np.testing.assert_allclose(again[0, 0], once, atol=1e-5)


def faces(centres: list[list[tuple[float, float]]]) -> np.ndarray:
    """Faces whose eyes are circles around the given centres; everything else lies at (1000, 1000)."""
    points = np.full((len(centres), 68, 2), 1000.0)
    angles = np.arange(6) * np.pi / 3
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    for face, (left, right) in zip(points, centres):
        face[36:42], face[42:48] = circle + left, circle + right
    return points


def test_centres() -> None:
    np.testing.assert_allclose(eye_centres(faces([[(3, 4), (9, 5)]])), [[(3, 4), (9, 5)]])


def test_roll_is_positive_where_the_right_eye_is_lower() -> None:
    found = roll(faces([[(0, 0), (10, 0)], [(0, 0), (10, 10)], [(0, 5), (0, -5)]]))
    np.testing.assert_allclose(found, [0, 45, -90], atol=1e-9)


def test_spread_is_the_root_mean_square_of_four_deviations() -> None:
    several = faces([[(0, 0), (10, 0)], [(2, 0), (10, 6)]])
    assert eye_spread(several) == pytest.approx(np.sqrt((1**2 + 0 + 0 + 3**2) / 4))
    assert eye_spread(several[:1]) == 0


def test_distance_is_that_of_the_centres() -> None:
    np.testing.assert_allclose(eye_distance(faces([[(0, 0), (3, 4)], [(2, 1), (2, 1)]])), [5, 0], atol=1e-9)
