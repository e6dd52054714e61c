"""Similarity transforms: fitted between point sets, applied to pictures, removed from shapes.

Coordinates are (x, y) in pixels that span the picture from edge to edge: the centre of the first pixel lies at
(0.5, 0.5), and the same place in the same picture at twice the size has exactly twice the coordinates.
"""

from __future__ import annotations

import cv2
import numpy as np

from fer_lightning.data.alignment.landmarks import RIGID, TEMPLATE


def fit_similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Finds the rotation, scale and shift that bring points closest to others in the least squares.

    S. Umeyama, "Least-squares estimation of transformation parameters between two point patterns", IEEE TPAMI 13(4),
    1991, eq. 39-43. The determinant of the rotation is held at 1, so that a face is never reflected.

    Args:
        source: Points `(N, 2)`, at least two of them different.
        target: Where they should go, `(N, 2)`.

    Returns:
        `(2, 3)` matrix M with `target = source @ M[:, :2].T + M[:, 2]`.

    Raises:
        ValueError: All points of `source` coincide.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    source_mean, target_mean = source.mean(0), target.mean(0)
    source_rest, target_rest = source - source_mean, target - target_mean
    variance = (source_rest**2).sum(1).mean()
    if variance == 0:
        raise ValueError("a similarity cannot be fitted to points that all coincide")
    left, singular, right = np.linalg.svd(target_rest.T @ source_rest / len(source))
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    scaled_rotation = (left * signs) @ right * (singular @ signs) / variance
    return np.column_stack([scaled_rotation, target_mean - scaled_rotation @ source_mean])


def warp(image: np.ndarray, matrix: np.ndarray, size: int, interpolation: int = cv2.INTER_CUBIC) -> np.ndarray:
    """Resamples a picture through a similarity transform; what lies beyond its border repeats the border.

    Each source pixel is interpolated once. A picture that shrinks is drawn at the whole multiple of `size` nearest to
    its own resolution and averaged by area, so that fine texture of a large photograph does not alias.

    Args:
        image: uint8 `(H, W)` or `(H, W, C)`.
        matrix: `(2, 3)`, from coordinates of `image` to those of the result.
        size: Side of the result in pixels.
        interpolation: Of OpenCV; linear takes a third of the time of cubic.

    Returns:
        uint8 `(size, size)` or `(size, size, C)`.
    """
    scale = np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    samples = max(1, round(1 / scale))
    forward = matrix * samples
    # OpenCV puts the centre of the first pixel at (0, 0).
    shift = forward[:, 2] + forward[:, :2] @ (0.5, 0.5) - 0.5
    drawn = cv2.warpAffine(
        image,
        np.column_stack([forward[:, :2], shift]),
        (size * samples, size * samples),
        flags=interpolation,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return drawn if samples == 1 else cv2.resize(drawn, (size, size), interpolation=cv2.INTER_AREA)


def normalised_shape(points: np.ndarray) -> np.ndarray:
    """Removes place, size and roll from shapes (Procrustes), so that geometry alone is left.

    Args:
        points: `(..., 68, 2)` in any unit.

    Returns:
        `(..., 68, 2)` of the same type: centred on the mean of the 68 points, root mean square distance from it 1, and
        turned so that the rigid points of brows, nose and eyes fit those of the template best.
    """
    shape = points[..., 0] + 1j * points[..., 1]
    template = TEMPLATE[RIGID, 0] + 1j * TEMPLATE[RIGID, 1]
    shape = shape - shape.mean(-1, keepdims=True)
    shape = shape / np.sqrt((np.abs(shape) ** 2).mean(-1, keepdims=True))
    # With complex numbers the best rotation between centred points is the direction of one inner product.
    rigid = shape[..., RIGID] - shape[..., RIGID].mean(-1, keepdims=True)
    turn = (rigid.conj() * (template - template.mean())).sum(-1, keepdims=True)
    shape = shape * (turn / np.abs(turn))
    return np.stack([shape.real, shape.imag], axis=-1).astype(points.dtype)
