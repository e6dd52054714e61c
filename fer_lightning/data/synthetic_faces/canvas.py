"""Anti-aliased drawing of polygons, smooth curves and strokes, and the camera of a face."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from scipy.interpolate import CubicHermiteSpline

from fer_lightning.data.synthetic_faces.parameters import View

_SUBPIXEL_BITS = 4
# Anti-aliasing already softens an edge by about this many pixels.
_INVISIBLE_BLUR = 0.6
# Half width, half height and depth of the ellipsoid that the features lie on, in face units.
_ELLIPSOID = (0.82, 1.3, 0.75)
_FACE_SIZE = 0.425
_FACE_MIDDLE = 0.525


class Canvas:
    """Square RGB picture onto which shapes are blended.

    Attributes:
        pixels: Picture `(3, S, S)` float32 in [0, 255]; separate planes are faster to blend than interleaved colours.
        light: Factor on lit colours `(3, S, S)` float32.
    """

    def __init__(self, pixels: np.ndarray, light: np.ndarray) -> None:
        self.pixels = pixels
        self.light = light

    def fill(
        self,
        outlines: Sequence[np.ndarray],
        colour: np.ndarray,
        alpha: float | Sequence[float] = 1.0,
        softness: float = 0.0,
        clip: Sequence[np.ndarray] = (),
        lit: bool = False,
    ) -> None:
        """Blends polygons of one colour onto the picture; one call for many is much faster than many calls.

        Args:
            outlines: Closed polygons `(N, 2)` in pixels.
            colour: Colour `(3,)`.
            alpha: Opacity, of all of them or of each.
            softness: Standard deviation in pixels of the blur of the edges.
            clip: Polygons outside of which nothing is painted; none for no clipping.
            lit: Whether the shapes are lit.
        """
        reach = np.concatenate(outlines)
        pad = 2 + 3 * softness
        left, top = np.maximum(reach.min(axis=0) - pad, 0).astype(int)
        right, bottom = np.minimum(reach.max(axis=0) + pad, self.pixels.shape[1]).astype(int)
        if right <= left or bottom <= top:
            return
        cover = np.zeros((bottom - top, right - left), np.uint8)
        for outline, opacity in zip(outlines, np.broadcast_to(alpha, len(outlines))):
            _cover(cover, outline - (left, top), 255 * opacity)
        if softness > _INVISIBLE_BLUR:
            cover = cv2.GaussianBlur(cover, (0, 0), softness)
        if clip:
            inside = np.zeros_like(cover)
            for outline in clip:
                _cover(inside, outline - (left, top), 255)
            cover = cv2.multiply(cover, inside, scale=1 / 255)
        place = np.s_[:, top:bottom, left:right]
        source = np.float32(colour)[:, None, None]
        if lit:
            source = self.light[place] * source
        region = self.pixels[place]
        region += (source - region) * (cover * np.float32(1 / 255))


def _cover(cover: np.ndarray, outline: np.ndarray, level: float) -> None:
    # Pixel centres lie at whole numbers for OpenCV, at halves here.
    fixed = np.rint((outline - 0.5) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillPoly(cover, [fixed], level, cv2.LINE_AA, _SUBPIXEL_BITS)


@lru_cache(maxsize=64)
def _spline(knots: int, per_segment: int, closed: bool) -> np.ndarray:
    """Matrix `(samples, knots)` that maps knots onto a Catmull-Rom spline through them."""
    weights = np.eye(knots)
    if closed:
        weights = weights[[-1, *range(knots), 0, 1]]
    spline = CubicHermiteSpline(np.arange(len(weights)) - closed, weights, np.gradient(weights, axis=0))
    samples = knots * per_segment if closed else (knots - 1) * per_segment + 1
    return spline(np.arange(samples) / per_segment)


def smooth(points: np.ndarray, per_segment: int = 6, closed: bool = False) -> np.ndarray:
    """Smooth curve `(M, 2)` through knots `(N, 2)`, with `per_segment` samples between two of them."""
    return _spline(len(points), per_segment, closed) @ np.asarray(points, dtype=float)


def ribbon(line: np.ndarray, widths: np.ndarray | float) -> np.ndarray:
    """Outline `(2 N, 2)` of a stroke along points `(N, 2)`, of one full width or of a width `(N,)` at each point."""
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


def ellipse(centre: Sequence[float] | np.ndarray, radius_x: float, radius_y: float) -> np.ndarray:
    """Closed polygon `(20, 2)`."""
    angle = np.linspace(0.0, 2 * np.pi, 20, endpoint=False)
    return np.stack([radius_x * np.cos(angle), radius_y * np.sin(angle)], axis=1) + centre


class Camera:
    """Projection of points of the face to pixels.

    Args:
        view: Pose and place of the face.
        side: Width of the picture in pixels.
    """

    def __init__(self, view: View, side: int) -> None:
        yaw, pitch, roll = np.radians([view.yaw, view.pitch, view.roll])
        turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
        nod = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
        tilt = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0]])
        self.unit = _FACE_SIZE * view.scale * side
        matrix = (tilt @ nod @ turn).T * self.unit
        self._across, self._ahead = matrix[:2], matrix[2]
        self._flat = tilt[:, :2].T * self.unit
        # Keeps the turned face, not the head, near the middle of the crop, as a face detector does.
        lead = 0.6 * _ELLIPSOID[2] * self._ahead
        self._origin = np.array([0.5 + view.shift_x, _FACE_MIDDLE + view.shift_y]) * side - lead

    def project(self, points: np.ndarray, lift: float = 0.0) -> np.ndarray:
        """Pixels `(N, 2)` of points `(N, 2)` on the face, at the distance `lift` from the ellipsoid, in face units."""
        width, height, depth = _ELLIPSOID
        inside = 1 - points * points @ (width**-2, height**-2)
        z = depth * np.sqrt(np.maximum(inside, 0.0)) + lift
        return points @ self._across + z[:, None] * self._ahead + self._origin

    def project_outline(self, points: np.ndarray, depth: float = 0.0) -> np.ndarray:
        """Pixels `(N, 2)` of points `(N, 2)` on the silhouette, whose width does not change when the head turns.

        Args:
            points: Points in face units.
            depth: Distance before (positive) or behind the middle of the head, in face units.
        """
        # The chin juts out: it follows the face, while the skull stays.
        jut = depth + 0.5 * np.clip((points[:, 1] - 0.2) / 0.8, 0.0, 1.0)
        return points @ self._flat + jut[:, None] * self._ahead + self._origin
