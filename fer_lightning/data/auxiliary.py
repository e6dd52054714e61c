"""Auxiliary inputs: vectors that networks with two inputs receive besides the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fer_lightning.data.alignment import landmarks as blendshapes
from fer_lightning.data.alignment import landmarks as landmarks68
from fer_lightning.data.alignment.detection import Landmarks
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
    """Auxiliary inputs of a data set's faces.

    The first element is 1 where the face was found; elsewhere the whole vector is 0. Landmarks follow as
    `x1, y1, x2, ...`, normalised for position, size and roll, blendshapes as they are.

    Args:
        landmarks: Landmarks of N faces.
        kind: `"landmarks"` or `"blendshapes"`.

    Returns:
        `(N, S)`, S as in `SIDE_SIZES`.
    """
    vectors = np.zeros((len(landmarks.found), SIDE_SIZES[kind]), np.float32)
    found = landmarks.found
    vectors[found, 0] = 1
    if kind == "landmarks":
        shapes = np.stack([normalised_shape(points) for points in landmarks.points[found]]) if found.any() else None
        vectors[found, 1:] = 0 if shapes is None else shapes.reshape(len(shapes), -1)
    else:
        vectors[found, 1:] = landmarks.blendshapes[found]
    return SideVectors(kind, vectors)


def mirror(vectors: np.ndarray, kind: str) -> np.ndarray:
    """Vectors `(B, S)` of the mirror images of the faces."""
    found, values = vectors[:, :1], vectors[:, 1:]
    if kind == "blendshapes":
        return np.concatenate([found, values[:, blendshapes.MIRRORED_BLENDSHAPES]], axis=1)
    points = values.reshape(len(values), 68, 2)[:, landmarks68.MIRRORED] * np.array([-1, 1], np.float32)
    return np.concatenate([found, points.reshape(len(values), -1)], axis=1)
