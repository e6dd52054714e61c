"""From face units to pixels: turns a flat face into a head seen from somewhere."""

from __future__ import annotations

import numpy as np

from fer_lightning.data.synthetic_faces.parameters import View

# Half width, half height and depth of the ellipsoid that the features lie on, in face units.
_ELLIPSOID = (0.82, 1.3, 0.75)
_FACE_SIZE = 0.425
_FACE_MIDDLE = 0.525


class Camera:
    """Projects points of the face.

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
        """Pixels of points on the face.

        Args:
            points: `(N, 2)` in face units.
            lift: How far they stand off the ellipsoid, in face units.

        Returns:
            `(N, 2)` in pixels.
        """
        width, height, depth = _ELLIPSOID
        inside = 1 - points * points @ (width**-2, height**-2)
        z = depth * np.sqrt(np.maximum(inside, 0.0)) + lift
        return points @ self._across + z[:, None] * self._ahead + self._origin

    def project_outline(self, points: np.ndarray, depth: float = 0.0) -> np.ndarray:
        """Pixels of points on the silhouette, which stays as wide when the head turns.

        Args:
            points: `(N, 2)` in face units.
            depth: How far they lie before (positive) or behind the middle of the head, in face units.

        Returns:
            `(N, 2)` in pixels.
        """
        # The chin juts out: it follows the face, while the skull stays.
        jut = depth + 0.5 * np.clip((points[:, 1] - 0.2) / 0.8, 0.0, 1.0)
        return points @ self._flat + jut[:, None] * self._ahead + self._origin
