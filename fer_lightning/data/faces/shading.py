"""Light on a face: a height field of the head and its features, lit from one direction."""

from __future__ import annotations

import cv2
import numpy as np

from fer_lightning.data.synthetic_faces.geometry import EYE_Y, FaceGeometry
from fer_lightning.data.synthetic_faces.parameters import View
from fer_lightning.data.faces.pose import Camera

_CREASE_DEPTH = 0.035


def shade_face(geometry: FaceGeometry, view: View, camera: Camera, side: int) -> np.ndarray:
    """Brightness of the skin.

    Args:
        geometry: The face.
        view: Direction and contrast of the light.
        camera: Projection onto a picture `side` pixels wide.
        side: Width of the picture.

    Returns:
        Factors `(side, side)` float32 around 1 where the light meets the face squarely.
    """
    # Shading is smooth: half the resolution is enough and four times faster.
    grid = side // 2
    scale = grid / side
    unit = camera.unit * scale
    head = camera.project_outline(geometry.head) * scale
    height = _head_height(head, grid) + _blobs(_bumps(geometry), camera, scale, grid)
    normal_x = cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3, scale=-unit / 8)
    normal_y = cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=3, scale=-unit / 8)
    azimuth, elevation = np.radians([view.light_azimuth, view.light_elevation])
    light = (np.sin(azimuth) * np.cos(elevation), -np.sin(elevation), np.cos(azimuth) * np.cos(elevation))
    lit = normal_x * light[0] + normal_y * light[1] + light[2]
    lit /= np.sqrt(normal_x * normal_x + normal_y * normal_y + 1)
    # A soft terminator: light wraps around the edge of the head.
    lit = np.clip((lit + 0.35) / 1.35, 0.0, 1.0)
    facing = (light[2] + 0.35) / 1.35
    shade = 1 + view.light_contrast * (1.25 * (lit / facing) - 1.25)
    shade *= 1 - _blobs(_hollows(geometry), camera, scale, grid)
    shade = cv2.GaussianBlur(shade, (0, 0), 0.012 * grid)
    return cv2.resize(np.clip(shade, 0.12, 1.5), (side, side), interpolation=cv2.INTER_LINEAR)


def _head_height(outline: np.ndarray, grid: int) -> np.ndarray:
    low, high = outline.min(axis=0), outline.max(axis=0)
    centre, radius = (low + high) / 2, (high - low) / 2 * 1.06
    axis = np.arange(grid, dtype=np.float32) + 0.5
    across = ((axis - centre[0]) / radius[0]) ** 2
    down = ((axis - centre[1]) / radius[1]) ** 2
    inside = 1 - across[None, :] - down[:, None]
    return (0.62 * np.sqrt(np.maximum(inside, 0.03))).astype(np.float32)


def _bumps(geometry: FaceGeometry) -> np.ndarray:
    """Rows `(x, y, width, height, amount)`: what stands out of the head, in face units."""
    (tip_x, tip_y), wing = geometry.nose_tip, geometry.nose_half_width
    mouth_y = float(geometry.mouth.inner_upper[:, 1].mean())
    rows = [
        (0.0, -0.62, 0.42, 0.26, 0.05),
        (0.0, EYE_Y + 0.05, 0.05, 0.14, 0.06),
        (0.0, tip_y - 0.12, 0.055, 0.12, 0.08),
        (tip_x, tip_y, 0.075, 0.075, 0.12),
        (0.0, mouth_y, 0.26, 0.15, 0.05),
        (0.0, geometry.chin[1] - 0.12, 0.16, 0.1, 0.06),
    ]
    for cheek, eye, nostril in zip(geometry.cheeks, geometry.eyes, geometry.nostrils):
        side = np.sign(cheek[0])
        rows += [
            (cheek[0], cheek[1], 0.16, 0.13, 0.05 + 0.06 * geometry.cheek_raise),
            (side * 0.88 * wing, nostril[1] - 0.025, 0.045, 0.05, 0.05),
            (eye.brow[:, 0].mean(), eye.brow[:, 1].mean() + 0.01, 0.2, 0.055, 0.035),
            (eye.centre[0], eye.centre[1] + 0.01, 0.17, 0.1, -0.055),
            (side * 0.11, EYE_Y, 0.06, 0.1, -0.03),
        ]
    return np.array(rows)


def _hollows(geometry: FaceGeometry) -> np.ndarray:
    """Rows `(x, y, width, height, amount)`: where little light reaches."""
    mouth = geometry.mouth
    lip = float(mouth.outer_lower[:, 1].max())
    rows = [
        (0.0, geometry.nose_tip[1] + 0.1, 0.12, 0.035, 0.25),
        (0.0, lip + 0.05, 0.14, 0.04, 0.18),
    ]
    for eye in geometry.eyes:
        side = np.sign(eye.centre[0])
        inner = eye.brow[0]
        rows += [
            (eye.centre[0] - side * 0.03, eye.centre[1] - 0.06, 0.16, 0.055, 0.2),
            (side * 0.13, eye.centre[1] - 0.01, 0.05, 0.07, 0.2),
            (inner[0] + side * 0.03, inner[1] + 0.07, 0.06, 0.05, 0.12),
        ]
    return np.array(rows)


def _blobs(rows: np.ndarray, camera: Camera, scale: float, grid: int) -> np.ndarray:
    """Sum of Gaussian blobs `(grid, grid)`; each is a product of two profiles, so the sum is one matrix product."""
    centres = camera.project(rows[:, :2]) * scale
    widths = rows[:, 2:4] * camera.unit * scale
    axis = np.arange(grid) + 0.5
    across = np.exp(-0.5 * ((axis[None, :] - centres[:, :1]) / widths[:, :1]) ** 2)
    down = np.exp(-0.5 * ((axis[None, :] - centres[:, 1:]) / widths[:, 1:]) ** 2)
    return ((down * rows[:, 4:]).T @ across).astype(np.float32)
