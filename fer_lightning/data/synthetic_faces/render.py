"""Rendering of a synthetic face from its parameters, lit from one direction."""

from __future__ import annotations

import cv2
import numpy as np

from fer_lightning.data.synthetic_faces import features
from fer_lightning.data.synthetic_faces import features as eyes
from fer_lightning.data.synthetic_faces import features as mouth
from fer_lightning.data.synthetic_faces import features as occlusion
from fer_lightning.data.synthetic_faces import features as palette
from fer_lightning.data.synthetic_faces.canvas import Camera, Canvas, ellipse, ribbon, taper
from fer_lightning.data.synthetic_faces.geometry import EYE_Y, SIDES, FaceGeometry, build_geometry
from fer_lightning.data.synthetic_faces.parameters import FaceParameters, View

# Increase it with every change of the rendering: packed stores and fingerprints of synthetic faces depend on it.
DRAWING_VERSION = 1
_OVERSAMPLING = 1.5
_CREASE_DEPTH = 0.035


def draw_face(face: FaceParameters, side: int) -> np.ndarray:
    """RGB picture uint8 `(side, side, 3)` of a face, a function of its arguments."""
    return _Portrait(face, round(side * _OVERSAMPLING)).develop(side)


class _Portrait:
    """Picture of a face, painted from back to front."""

    def __init__(self, face: FaceParameters, side: int) -> None:
        self.identity = face.identity
        self.view = face.view
        self.side = side
        self.rng = np.random.default_rng(face.view.background)
        self.geometry = build_geometry(face.identity, face.units)
        self.camera = Camera(face.view, side)
        self.unit = self.camera.unit
        self.skin = palette.skin_colour(self.identity)
        shade = shade_face(self.geometry, self.view, self.camera, side)
        # Shadows on skin are warm.
        warmth = np.array([0.05, 0.0, -0.04], np.float32)[:, None, None]
        self.canvas = Canvas(self._background(), shade * (1 + (1 - shade) * warmth))
        glow = min(1.0, float(shade.mean()))

        self._neck()
        strands = features.strands(self.identity, self.view, self.rng, side)
        features.paint_back(self.canvas, self.identity, self.camera, strands)
        self._ears()
        self._skin()
        self._creases()
        features.paint_beard(self.canvas, self.identity, self.geometry, self.camera, self.rng)
        self._nose()
        mouth.paint_mouth(self.canvas, self.identity, self.geometry.mouth, self.camera, glow)
        eyes.paint_eye(self.canvas, self.identity, self.view, self.geometry.eyes, self.camera, glow)
        features.paint_brows(self.canvas, self.identity, self.geometry.eyes, self.camera)
        features.paint_front(self.canvas, self.identity, self.camera, strands)
        if self.identity.glasses and self.view.occlusion != "sunglasses":
            occlusion.paint_glasses(self.canvas, self.identity, self.geometry, self.camera)
        occlusion.paint_occlusion(self.canvas, self.identity, self.view, self.geometry, self.camera)

    def develop(self, side: int) -> np.ndarray:
        """Picture after exposure, blur, tone curve and sensor noise."""
        # A camera half adapts to the brightness of the face.
        exposure = self.view.exposure * (150.0 / float(self.skin.mean())) ** 0.5
        cast = 1 + 0.1 * self.view.colour_cast * np.array([1.0, 0.0, -1.0])
        planes = [cv2.resize(plane, (side, side), interpolation=cv2.INTER_AREA) for plane in self.canvas.pixels]
        pixels = cv2.merge(planes) * (exposure * cast).astype(np.float32)
        if self.view.blur * side > 0.2:
            pixels = cv2.GaussianBlur(pixels, (0, 0), self.view.blur * side)
        pixels = _film(pixels)
        if self.view.noise > 0:
            grain = self.rng.standard_normal((side, side), np.float32) * np.float32(self.view.noise)
            pixels += cv2.merge([grain, grain, grain])
        return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)

    def _background(self) -> np.ndarray:
        colour = self.rng.uniform(40, 215) + self.rng.uniform(-25, 25, (3, 1, 1))
        patches = colour + self.rng.normal(0, 22, (1, 4, 4)) + self.rng.normal(0, 8, (3, 4, 4))
        patches = np.clip(patches, 8, 245).astype(np.float32)
        coarse = [cv2.resize(plane, (24, 24), interpolation=cv2.INTER_CUBIC) for plane in patches]
        return np.stack([cv2.resize(plane, (self.side, self.side), interpolation=cv2.INTER_LINEAR) for plane in coarse])

    def _neck(self) -> None:
        cloth = self.rng.uniform(16, 176, 3)
        chin_y = self.geometry.chin[1]
        width = 0.42 * self.identity.jaw_width
        right = [(width, 1.12), (0.8, 1.3), (1.5, 1.55), (1.7, 2.4)]
        shoulders = np.array([(-x, y) for x, y in reversed(right)] + right)
        neck = np.array([(-width, 0.3), (width, 0.3), (width, 1.35), (0.0, 1.55), (-width, 1.35)])
        above, below = chin_y - 0.3, chin_y + 0.12
        shadow = np.array([(-width, above), (width, above), (width, below), (-width, below)])
        place = self.camera.project_outline
        self.canvas.fill([place(shoulders, -0.4)], cloth, 1.0, 0.01 * self.unit)
        self.canvas.fill([place(neck, -0.3)], self.skin * 0.74)
        self.canvas.fill([place(shadow, -0.3)], self.skin * 0.45, 0.7, 0.05 * self.unit)

    def _ears(self) -> None:
        ears, conchas = [], []
        for side in SIDES:
            x = side * 0.76 * self.identity.face_width
            ears.append(self.camera.project_outline(ellipse((x, 0.04), 0.1, 0.2), -0.28))
            conchas.append(self.camera.project_outline(ellipse((x + side * 0.01, 0.03), 0.05, 0.12), -0.28))
        self.canvas.fill(ears, self.skin * 0.88, lit=True)
        self.canvas.fill(conchas, self.skin * 0.6, 0.55, 0.02 * self.unit)

    def _skin(self) -> None:
        self.canvas.fill([self.camera.project_outline(self.geometry.head)], self.skin, lit=True)
        flush = np.clip(self.skin * [1.02, 0.78, 0.76], 0, 255)
        spots = [self.camera.project(ellipse((x, y), 0.15, 0.12)) for x, y in self.geometry.cheeks]
        tip_x, tip_y = self.geometry.nose_tip
        nose = self.camera.project(ellipse((tip_x, tip_y), 0.09, 0.08), 0.1)
        self.canvas.fill([*spots, nose], flush, (0.4, 0.4, 0.3), 0.055 * self.unit, lit=True)

    def _creases(self) -> None:
        creases = self.geometry.creases
        lines = self.camera.project(np.concatenate([crease.line for crease in creases]))
        ends = np.cumsum([len(crease.line) for crease in creases])[:-1]
        folds = [
            ribbon(line, crease.width * self.unit * taper(len(line), 0.4, 1.0, 0.4))
            for crease, line in zip(creases, np.split(lines, ends))
        ]
        # A lit edge below each fold makes it a fold and not a line.
        edges = [fold + np.array([0.0, 0.022 * self.unit]) for fold in folds]
        glow = np.clip(self.skin * 1.12, 0, 255)
        shadow = self.skin * [0.55, 0.46, 0.44]
        self.canvas.fill(edges, glow, [0.35 * crease.strength for crease in creases], 0.014 * self.unit, lit=True)
        self.canvas.fill(folds, shadow, [0.85 * crease.strength for crease in creases], 0.008 * self.unit, lit=True)

    def _nose(self) -> None:
        geometry, unit = self.geometry, self.unit
        (_, tip_y), half = geometry.nose_tip, geometry.nose_half_width
        wing = np.array([(0.8, -0.055), (1.04, 0.0), (1.0, 0.05), (0.78, 0.068)]) * (half, 1.0) + np.array([0.0, tip_y])
        base = np.array([(-0.4 * half, tip_y + 0.07), (0.0, tip_y + 0.085), (0.4 * half, tip_y + 0.07)])
        lines = [self.camera.project(wing * (side, 1.0), 0.08) for side in SIDES] + [self.camera.project(base, 0.1)]
        folds = [ribbon(line, np.full(len(line), 0.022 * unit)) for line in lines]
        self.canvas.fill(folds, self.skin * [0.62, 0.52, 0.5], (0.75, 0.75, 0.5), 0.009 * unit, lit=True)
        nostrils = [self.camera.project(ellipse((x, y), 0.3 * half, 0.022), 0.1) for x, y in geometry.nostrils]
        self.canvas.fill(nostrils, self.skin * 0.25, 0.85, 0.008 * unit)
        shine = self.camera.project(ellipse((0.0, tip_y - 0.02), 0.03, 0.035), 0.15)
        strength = 0.35 * self.view.light_contrast + 0.1
        self.canvas.fill([shine], np.minimum(self.skin * 1.3 + 10, 255), strength, 0.02 * unit)


def _film(pixels: np.ndarray) -> np.ndarray:
    """Tone curve that compresses the brightest values instead of clipping them."""
    knee, top = 185.0, 255.0
    over = np.maximum(pixels - knee, 0.0)
    return np.minimum(pixels, knee) + (top - knee) * over / (over + (top - knee))


def shade_face(geometry: FaceGeometry, view: View, camera: Camera, side: int) -> np.ndarray:
    """Brightness of the skin: factors `(side, side)` float32, about 1 where the light is perpendicular to the face."""
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
    """Rows `(x, y, width, height, amount)` of bumps of the head, in face units."""
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
    """Rows `(x, y, width, height, amount)` of dark hollows, in face units."""
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
