"""Smooth curves through a few points, and strokes of varying width."""

from __future__ import annotations

from functools import lru_cache

import numpy as np


@lru_cache(maxsize=64)
def _catmull_rom(knots: int, per_segment: int, closed: bool) -> np.ndarray:
    """Matrix `(samples, knots)` that maps knots onto a Catmull-Rom spline through them."""
    t = np.arange(per_segment) / per_segment
    basis = 0.5 * np.stack(
        [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3], axis=1
    )
    segments = knots if closed else knots - 1
    matrix = np.zeros((segments * per_segment + (0 if closed else 1), knots))
    for segment in range(segments):
        rows = slice(segment * per_segment, (segment + 1) * per_segment)
        for column in range(4):
            knot = segment + column - 1
            knot = knot % knots if closed else min(max(knot, 0), knots - 1)
            matrix[rows, knot] += basis[:, column]
    if not closed:
        matrix[-1, -1] = 1.0
    return matrix


def smooth(points: np.ndarray, per_segment: int = 6, closed: bool = False) -> np.ndarray:
    """Catmull-Rom spline through points.

    Args:
        points: Knots `(N, 2)`.
        per_segment: Samples between two knots.
        closed: Whether the last knot joins the first.

    Returns:
        Samples `(M, 2)` that pass through every knot.
    """
    return _catmull_rom(len(points), per_segment, closed) @ np.asarray(points, dtype=float)


def ribbon(line: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Outline of a stroke.

    Args:
        line: Points along the middle `(N, 2)`.
        widths: Full width at each point `(N,)`.

    Returns:
        Closed polygon `(2 N, 2)`.
    """
    along = np.empty_like(line)
    along[1:-1] = line[2:] - line[:-2]
    along[0], along[-1] = line[1] - line[0], line[-1] - line[-2]
    half = widths / (2 * np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9))
    offset = along[:, ::-1] * np.stack([-half, half], axis=1)
    return np.concatenate([line + offset, (line - offset)[::-1]])


@lru_cache(maxsize=64)
def taper(samples: int, start: float, middle: float, end: float) -> np.ndarray:
    """Widths `(samples,)` that run smoothly from `start` over `middle` to `end`."""
    t = np.linspace(0.0, 1.0, samples)
    return start * (1 - t) ** 2 + end * t**2 + (2 * middle - (start + end) / 2) * 2 * t * (1 - t)


def ellipse(centre: tuple[float, float], radius_x: float, radius_y: float, samples: int = 20) -> np.ndarray:
    """Closed polygon `(samples, 2)`."""
    return _circle(samples) * (radius_x, radius_y) + centre


@lru_cache(maxsize=8)
def _circle(samples: int) -> np.ndarray:
    angle = np.linspace(0.0, 2 * np.pi, samples, endpoint=False)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)
