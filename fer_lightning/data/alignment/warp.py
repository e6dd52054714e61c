"""Similarity transforms of point sets, pictures and shapes, and a reader of aligned images.

Coordinates are (x, y) in pixels that span the picture from edge to edge: the centre of the first pixel is at (0.5,
0.5), and the same place in the same picture at twice the size has exactly twice the coordinates.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from fer_lightning.data.alignment.landmarks import RIGID, TEMPLATE

if TYPE_CHECKING:
    from fer_lightning.data.alignment.detection import Landmarks
    from fer_lightning.data.samples import ImageReader

ALIGNMENT_VERSION = 1  # part of the content key; increase it when `read` yields other pixels from the same landmarks


def fit_similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Least-squares similarity transform (rotation, scale and shift) between two point sets.

    S. Umeyama, "Least-squares estimation of transformation parameters between two point patterns", IEEE TPAMI 13(4),
    1991, eq. 39-43. The determinant of the rotation is 1, so that a face is never reflected.

    Args:
        source: Points `(N, 2)`, at least two of them different.
        target: Target points `(N, 2)`.

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
        raise ValueError("source must have at least two different points")
    left, singular, right = np.linalg.svd(target_rest.T @ source_rest / len(source))
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    scaled_rotation = (left * signs) @ right * (singular @ signs) / variance
    return np.column_stack([scaled_rotation, target_mean - scaled_rotation @ source_mean])


def warp(image: np.ndarray, matrix: np.ndarray, size: int, interpolation: int = cv2.INTER_CUBIC) -> np.ndarray:
    """Picture resampled by a similarity transform, with replicated borders.

    Each source pixel is interpolated once. A picture that shrinks is resampled at the multiple of `size` closest to its
    resolution and averaged by area, so that fine texture of a large photograph does not alias.

    Args:
        image: uint8 `(H, W)` or `(H, W, C)`.
        matrix: `(2, 3)`, from coordinates of `image` to those of the result.
        size: Height and width of the result in pixels.
        interpolation: Interpolation flag of OpenCV; linear takes a third of the time of cubic.

    Returns:
        uint8 `(size, size)` or `(size, size, C)`.
    """
    scale = np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    samples = max(1, round(1 / scale))
    forward = matrix * samples
    # For OpenCV, the centre of the first pixel is at (0, 0).
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
    """Shapes normalised for position, size and roll (Procrustes).

    Args:
        points: Shapes `(..., 68, 2)` in any unit.

    Returns:
        `(..., 68, 2)` of the same type: centred on the mean of the 68 points, with a root mean square distance of 1
        from it, and rotated so that the rigid points of brows, nose and eyes fit those of the template best.
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


def eye_centres(points: np.ndarray) -> np.ndarray:
    """Eye centres `(N, 2, 2)` (face, eye, x and y) of points `(N, 68, 2)`, the left eye of the image first."""
    return np.stack([points[:, 36:42].mean(1), points[:, 42:48].mean(1)], axis=1)


def roll(points: np.ndarray) -> np.ndarray:
    """Roll `(N,)` in degrees of points `(N, 68, 2)`; positive where the right eye of the image is lower."""
    left, right = eye_centres(points).transpose(1, 0, 2)
    along = right - left
    return np.degrees(np.arctan2(along[:, 1], along[:, 0]))


def eye_distance(points: np.ndarray) -> np.ndarray:
    """Distances `(N,)` between the eye centres of points `(N, 68, 2)`, in the unit of the points."""
    left, right = eye_centres(points).transpose(1, 0, 2)
    return np.linalg.norm(right - left, axis=1)


def eye_spread(points: np.ndarray) -> float:
    """Standard deviation of eye centres among faces, as root mean square over both eyes and axes, of `(N, 68, 2)`."""
    return float(np.sqrt(eye_centres(points).var(0).mean()))


@dataclass(frozen=True, eq=False)
class AlignedReader:
    """An `ImageReader` of aligned faces; images without a face stay as they are.

    Attributes:
        reader: Reader of the original images.
        landmarks: Landmarks of the images.
        size: Height and width of the aligned images in pixels.
    """

    reader: ImageReader
    landmarks: Landmarks
    size: int

    def __len__(self) -> int:
        return len(self.reader)

    def read(self, position: int) -> np.ndarray:
        """Returns a face aligned by brows, nose and eyes, uint8 `(size, size)` or `(size, size, 3)`.

        It is resampled once from its source; an image without a face is returned in its original size.

        Raises:
            BadSample: The image cannot be decoded.
        """
        image = self.reader.read(position)
        if not self.landmarks.found[position]:
            return image
        return warp(image, self.matrix(position), self.size)

    def matrix(self, position: int) -> np.ndarray:
        """Similarity `(2, 3)` from pixels of the source image of a face to those of the aligned one."""
        return fit_similarity(self.landmarks.points[position, RIGID], TEMPLATE[RIGID] * self.size)

    def take(self, positions: np.ndarray) -> AlignedReader:
        return AlignedReader(self.reader.take(positions), self.landmarks.take(positions), self.size)

    def content_key(self) -> str:
        digest = hashlib.sha256(f"{self.reader.content_key()} {self.size} {ALIGNMENT_VERSION}".encode())
        for array in (self.landmarks.points, TEMPLATE, RIGID):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def local_key(self) -> str:
        return self.reader.local_key()
