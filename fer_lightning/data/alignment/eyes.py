"""How faces lie in their pictures, judged by the eyes."""

from __future__ import annotations

import numpy as np


def eye_centres(points: np.ndarray) -> np.ndarray:
    """Means of the six points of each eye, the image-left one first.

    Args:
        points: `(N, 68, 2)` in iBUG order.

    Returns:
        `(N, 2, 2)`: face, eye, x and y.
    """
    return np.stack([points[:, 36:42].mean(1), points[:, 42:48].mean(1)], axis=1)


def roll(points: np.ndarray) -> np.ndarray:
    """Angle of the line through both eyes, in degrees; positive where the image-right eye lies lower.

    Args:
        points: `(N, 68, 2)` in iBUG order.

    Returns:
        `(N,)`.
    """
    left, right = eye_centres(points).transpose(1, 0, 2)
    along = right - left
    return np.degrees(np.arctan2(along[:, 1], along[:, 0]))


def eye_distance(points: np.ndarray) -> np.ndarray:
    """Distance of the centres of both eyes, in the unit of the points.

    Args:
        points: `(N, 68, 2)` in iBUG order.

    Returns:
        `(N,)`.
    """
    left, right = eye_centres(points).transpose(1, 0, 2)
    return np.linalg.norm(right - left, axis=1)


def eye_spread(points: np.ndarray) -> float:
    """How far eye centres scatter between faces: the standard deviation of a coordinate, as root mean square over both
    eyes and both axes, in the unit of the points.

    Args:
        points: `(N, 68, 2)` in iBUG order.
    """
    return float(np.sqrt(eye_centres(points).var(0).mean()))
