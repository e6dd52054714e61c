"""Rendering of a synthetic face from its parameters: painted from back to front, lit from one direction."""

from __future__ import annotations

import cv2
import numpy as np

from fer_lightning.data.synthetic_faces.canvas import Camera, Canvas, ellipse, ribbon, smooth, taper
from fer_lightning.data.synthetic_faces.geometry import EYE_Y, SIDES, FaceGeometry, build_geometry, mirrored
from fer_lightning.data.synthetic_faces.parameters import FaceParameters, View

# Increase it with every change of the rendering: packed stores and fingerprints of synthetic faces depend on it.
DRAWING_VERSION = 2
_OVERSAMPLING = 1.5
_BALD = 0.03

# From the lightest to the deepest skin, and from black to blond hair.
_SKIN = np.array([(248, 218, 196), (236, 192, 164), (214, 162, 128), (176, 122, 88), (130, 86, 62), (98, 66, 50)])
_HAIR = np.array([(24, 20, 20), (52, 36, 28), (96, 64, 42), (150, 106, 66), (206, 168, 112), (232, 206, 156)])
_GREY_HAIR = np.array([178, 176, 172])
_IRIS = np.array([70, 46, 30])
_BLACK = np.array([20, 16, 16])
_WHITE = np.array([244, 240, 236])
_CAVITY = np.array([52, 14, 16])
_MASK = np.array([176, 204, 216])


def draw_face(face: FaceParameters, side: int) -> np.ndarray:
    """RGB picture uint8 `(side, side, 3)` of a face, a function of its arguments."""
    return _Portrait(face, round(side * _OVERSAMPLING)).develop(side)


class _Portrait:
    """Picture of a face, painted from back to front."""

    def __init__(self, face: FaceParameters, side: int) -> None:
        self.identity, self.view = face.identity, face.view
        self.rng = np.random.default_rng(face.view.background)
        self.geometry = build_geometry(face.identity, face.units)
        self.camera = Camera(face.view, side)
        self.unit = self.camera.unit
        self.skin = _between(_SKIN, face.identity.skin_tone)
        grey = float(np.clip((face.identity.age - 0.55) / 0.4, 0.0, 0.9))
        self.hair = (1 - grey) * _between(_HAIR, face.identity.hair_tone) + grey * _GREY_HAIR
        self.canvas = Canvas(self._background(side), shade_face(self.geometry, self.view, self.camera, side))

        self._back()
        self._head()
        self._nose()
        self._mouth()
        self._eyes()
        self._fringe()
        if face.view.occlusion == "sunglasses" or face.identity.glasses:
            self._glasses(dark=face.view.occlusion == "sunglasses")
        if face.view.occlusion == "mask":
            self._mask()

    def develop(self, side: int) -> np.ndarray:
        """Picture after exposure, blur and sensor noise."""
        # A camera half adapts to the brightness of the face.
        exposure = self.view.exposure * (150.0 / float(self.skin.mean())) ** 0.5
        cast = 1 + 0.1 * self.view.colour_cast * np.array([1.0, 0.0, -1.0])
        planes = [cv2.resize(plane, (side, side), interpolation=cv2.INTER_AREA) for plane in self.canvas.pixels]
        pixels = cv2.merge(planes) * (exposure * cast).astype(np.float32)
        if self.view.blur * side > 0.2:
            pixels = cv2.GaussianBlur(pixels, (0, 0), self.view.blur * side)
        if self.view.noise > 0:
            pixels += self.rng.standard_normal((side, side, 1), np.float32) * np.float32(self.view.noise)
        return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)

    def _background(self, side: int) -> np.ndarray:
        colour = self.rng.uniform(40, 215) + self.rng.uniform(-25, 25, (3, 1, 1))
        patches = colour + self.rng.normal(0, 22, (1, 4, 4)) + self.rng.normal(0, 8, (3, 4, 4))
        patches = np.clip(patches, 8, 245).astype(np.float32)
        return np.stack([cv2.resize(plane, (side, side), interpolation=cv2.INTER_CUBIC) for plane in patches])

    def _back(self) -> None:
        """Paints what lies behind the face: shoulders, neck, hair and ears."""
        place = self.camera.project_outline
        jaw = 0.42 * self.identity.jaw_width
        shoulders = np.array([(-1.7, 2.4), (-1.5, 1.55), (-jaw, 1.12), (jaw, 1.12), (1.5, 1.55), (1.7, 2.4)])
        neck = np.array([(-jaw, 0.3), (jaw, 0.3), (jaw, 1.35), (0.0, 1.5), (-jaw, 1.35)])
        self.canvas.fill([place(shoulders, -0.4)], self.rng.uniform(16, 176, 3))
        self.canvas.fill([place(neck, -0.3)], self.skin * 0.6)
        if self.identity.hair_volume > _BALD:
            crown, end = self._crown(), self.identity.hair_length
            hair = mirrored([*crown[:-1], (crown[-1, 0], end), (0.0, end + 0.1)])
            self.canvas.fill([place(hair, -0.15)], self.hair * 0.72)
        ears = [ellipse((side * 0.76 * self.identity.face_width, 0.04), 0.1, 0.2) for side in SIDES]
        self.canvas.fill([place(ear, -0.28) for ear in ears], self.skin * 0.82, lit=True)

    def _head(self) -> None:
        self.canvas.fill([self.camera.project_outline(self.geometry.head)], self.skin, lit=True)
        folds, strengths = [], []
        for crease in self.geometry.creases:
            widths = crease.width * self.unit * taper(len(crease.line), 0.4, 1.0, 0.4)
            folds.append(ribbon(self.camera.project(crease.line), widths))
            strengths.append(0.85 * crease.strength)
        self.canvas.fill(folds, self.skin * (0.58, 0.5, 0.48), strengths, 0.01 * self.unit, lit=True)

    def _nose(self) -> None:
        tip, half = self.geometry.nose_y, self.geometry.nose_half_width
        wing = np.array([(0.8 * half, -0.055), (1.04 * half, 0.0), (half, 0.05), (0.78 * half, 0.068)])
        nostril = ellipse((0.5 * half, tip + 0.055), 0.3 * half, 0.022)
        wings = [self.camera.project(wing * (side, 1.0) + (0.0, tip), 0.08) for side in SIDES]
        nostrils = [self.camera.project(nostril * (side, 1.0), 0.1) for side in SIDES]
        folds = [ribbon(line, 0.022 * self.unit) for line in wings]
        self.canvas.fill(folds, self.skin * (0.62, 0.52, 0.5), 0.75, lit=True)
        self.canvas.fill(nostrils, self.skin * 0.25, 0.85)

    def _mouth(self) -> None:
        mouth = self.geometry.mouth
        upper, top = self.camera.project(mouth.outer_upper), self.camera.project(mouth.inner_upper)
        bottom, lower = self.camera.project(mouth.inner_lower), self.camera.project(mouth.outer_lower)
        opening = np.concatenate([top, bottom[::-1]])
        teeth = self.camera.project(mouth.inner_upper * (0.86, 1.0) + (0.0, mouth.teeth))
        self.canvas.fill([opening], _CAVITY)
        self.canvas.fill([np.concatenate([top, teeth[::-1]])], _WHITE, clip=[opening], lit=True)
        lips = self.skin * (0.82, 0.57, 0.57)
        self.canvas.fill([np.concatenate([upper, top[::-1]])], lips * 0.86, lit=True)
        self.canvas.fill([np.concatenate([bottom, lower[::-1]])], lips, lit=True)
        self.canvas.fill([ribbon(top, 0.02 * self.unit)], _CAVITY, 0.85)

    def _eyes(self) -> None:
        eyes, unit = self.geometry.eyes, self.unit
        uppers = [self.camera.project(eye.upper) for eye in eyes]
        lowers = [self.camera.project(eye.lower) for eye in eyes]
        apertures = [np.concatenate([upper, lower[::-1]]) for upper, lower in zip(uppers, lowers)]
        self.canvas.fill(apertures, _WHITE, lit=True)
        radius = 0.082 * unit
        gaze = np.array([self.view.gaze_x, self.view.gaze_y]) * radius - (0.0, 0.014 * unit)
        centres = self.camera.project(np.array([eye.centre for eye in eyes])) + gaze
        # Iris, pupil and the reflection of the light.
        for size, shift, colour in ((1.0, 0.0, _IRIS), (0.45, 0.0, _BLACK), (0.2, -0.3, _WHITE)):
            discs = [ellipse(centre + shift * radius, size * radius, size * radius) for centre in centres]
            self.canvas.fill(discs, colour, clip=apertures)
        lashes = 0.04 * unit * taper(len(uppers[0]), 0.4, 1.0, 0.4)
        self.canvas.fill([ribbon(upper, lashes) for upper in uppers], _BLACK, 0.95)
        self.canvas.fill([ribbon(lower, 0.016 * unit) for lower in lowers], self.skin * 0.5, 0.65)
        brows = [self.camera.project(eye.brow, 0.03) for eye in eyes]
        widths = 0.07 * self.identity.brow_thickness * unit * taper(len(brows[0]), 0.75, 1.0, 0.2)
        self.canvas.fill([ribbon(brow, widths) for brow in brows], 0.45 * self.hair + 6, 0.9, 0.012 * unit)

    def _crown(self) -> np.ndarray:
        """Right half of the outline of the hair, from the top down to the ear."""
        width, volume = 0.74 * self.identity.face_width, self.identity.hair_volume
        skull = np.array([(0.0, -1.13), (0.38, -1.07), (0.64, -0.83), (width, -0.4), (width, 0.0)])
        return skull + volume * np.array([(0.0, -1.0), (0.4, -0.9), (0.7, -0.5), (0.75, 0.0), (0.5, 0.0)])

    def _fringe(self) -> None:
        """Paints the hair from the crown down to the hairline."""
        if self.identity.hair_volume <= _BALD:
            return
        line_y, width = -0.55 - 0.41 * self.identity.hairline, 0.74 * self.identity.face_width
        crown, hairline = self._crown(), np.array([(0.0, line_y), (0.5, line_y + 0.14), (width - 0.06, 0.0)])
        outer = smooth(np.concatenate([crown[:0:-1] * (-1, 1), crown]))
        inner = smooth(np.concatenate([hairline[::-1], hairline[1:] * (-1, 1)]))
        outline = np.concatenate([self.camera.project_outline(outer), self.camera.project(inner)])
        self.canvas.fill([outline], self.hair, softness=0.015 * self.unit, lit=True)

    def _glasses(self, dark: bool) -> None:
        lenses, frames = [], []
        for eye, side in zip(self.geometry.eyes, SIDES):
            x, y = eye.centre
            lens = self.camera.project(ellipse((x, y + 0.03), 0.24, 0.18), 0.08)
            arm = np.array([(x + 0.24 * side, y), (0.78 * side * self.identity.face_width, y + 0.06)])
            bridge = np.array([(x - 0.24 * side, y + 0.02), (0.0, y)])
            lenses.append(lens)
            frames += [
                np.concatenate([lens, lens[:1]]),
                self.camera.project(arm, 0.06),
                self.camera.project(bridge, 0.06),
            ]
        if dark:
            self.canvas.fill(lenses, _BLACK, 0.97)
        self.canvas.fill([ribbon(line, 0.03 * self.unit) for line in frames], _BLACK, 0.95)

    def _mask(self) -> None:
        edge, chin = 0.66 * self.identity.face_width, self.geometry.chin_y + 0.04
        outline = mirrored([(0.0, 0.12), (0.2, 0.16), (edge, 0.26), (0.95 * edge, 0.55), (0.5, 0.86), (0.0, chin)])
        self.canvas.fill([self.camera.project(outline, 0.04)], _MASK, lit=True)


def _between(colours: np.ndarray, position: float) -> np.ndarray:
    """Colour `(3,)` at a position in [0, 1] along colours `(N, 3)`."""
    stops = np.linspace(0.0, 1.0, len(colours))
    return np.array([np.interp(position, stops, channel) for channel in colours.T])


def shade_face(geometry: FaceGeometry, view: View, camera: Camera, side: int) -> np.ndarray:
    """Light on a face: factors `(3, side, side)` float32, about 1 where the light is perpendicular to the face."""
    # Shading is smooth: half the resolution is enough and four times faster.
    grid = side // 2
    scale = grid / side
    unit = camera.unit * scale
    height = _head_height(camera.project_outline(geometry.head) * scale, grid)
    height += _blobs(_bumps(geometry), camera, scale, grid)
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
    shade = cv2.GaussianBlur(shade, (0, 0), 0.012 * grid)
    shade = cv2.resize(np.clip(shade, 0.12, 1.5), (side, side), interpolation=cv2.INTER_LINEAR)
    # Shadows on skin are warm.
    return shade * (1 + (1 - shade) * np.array([0.05, 0.0, -0.04], np.float32)[:, None, None])


def _head_height(outline: np.ndarray, grid: int) -> np.ndarray:
    low, high = outline.min(axis=0), outline.max(axis=0)
    centre, radius = (low + high) / 2, (high - low) / 2 * 1.06
    x, y = ((np.arange(grid, dtype=np.float32)[:, None] + 0.5 - centre) / radius).T
    inside = 1 - x[None, :] ** 2 - y[:, None] ** 2
    return (0.62 * np.sqrt(np.maximum(inside, 0.03))).astype(np.float32)


def _bumps(geometry: FaceGeometry) -> np.ndarray:
    """Rows `(x, y, width, height, amount)` of bumps and hollows of the head, in face units."""
    nose, wing, cheek = geometry.nose_y, geometry.nose_half_width, geometry.cheek_raise
    mouth_y = float(geometry.mouth.inner_upper[:, 1].mean())
    rows = [
        (0.0, EYE_Y + 0.05, 0.05, 0.14, 0.06),
        (0.0, nose - 0.12, 0.055, 0.12, 0.08),
        (0.0, nose, 0.075, 0.075, 0.12),
        (0.0, mouth_y, 0.26, 0.15, 0.05),
        (0.0, geometry.chin_y - 0.12, 0.16, 0.1, 0.06),
    ]
    for eye, side in zip(geometry.eyes, SIDES):
        rows += [
            (side * 0.41, 0.27 - 0.1 * cheek, 0.16, 0.13, 0.05 + 0.06 * cheek),
            (side * 0.88 * wing, nose + 0.03, 0.045, 0.05, 0.05),
            (*eye.brow.mean(axis=0), 0.2, 0.055, 0.035),
            (*eye.centre, 0.17, 0.1, -0.055),
            (side * 0.11, EYE_Y, 0.06, 0.1, -0.03),
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
