"""Auxiliary inputs: vectors that networks with two inputs receive besides the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fer_lightning.data.alignment.detection import Landmarks
from fer_lightning.data.alignment.landmarks import MIRRORED, MIRRORED_BLENDSHAPES
from fer_lightning.data.alignment.warp import normalised_shape

SIDE_SIZES = {"landmarks": 1 + 2 * 68, "blendshapes": 1 + 52}


@dataclass(frozen=True)
class SideVectors:
    """Auxiliary inputs of all rows of a store.

    Attributes:
        kind: `"landmarks"` or `"blendshapes"`.
        vectors: float32 `(N, S)`.
    """

    kind: str
    vectors: np.ndarray


def side_vectors(landmarks: Landmarks, kind: str) -> SideVectors:
    """Auxiliary inputs of a data set's N faces, of a kind in `SIDE_SIZES`: vectors `(N, S)`, S as given there.

    The first element is 1 where the face was found; otherwise the whole vector is 0. Landmarks follow as
    `x1, y1, x2, ...`, normalised for position, size and roll, blendshapes as they are.
    """
    faces = landmarks.found
    vectors = np.zeros((len(faces), SIDE_SIZES[kind]), np.float32)
    vectors[faces, 0] = 1
    values = landmarks.blendshapes[faces]
    if kind == "landmarks":
        values = np.reshape([normalised_shape(points) for points in landmarks.points[faces]], (-1, 2 * 68))
    vectors[faces, 1:] = values
    return SideVectors(kind, vectors)


def mirror(vectors: np.ndarray, kind: str) -> np.ndarray:
    """Vectors `(B, S)` of the mirror images of the faces."""
    is_face, values = vectors[:, :1], vectors[:, 1:]
    if kind == "blendshapes":
        return np.concatenate([is_face, values[:, MIRRORED_BLENDSHAPES]], axis=1)
    points = values.reshape(len(values), 68, 2)[:, MIRRORED] * np.array([-1, 1], np.float32)
    return np.concatenate([is_face, points.reshape(len(values), -1)], axis=1)
