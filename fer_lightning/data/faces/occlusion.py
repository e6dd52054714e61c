"""What hides a part of the face: glasses, sunglasses, a hand, a mask."""

from __future__ import annotations

import numpy as np

from fer_lightning.data.faces import palette
from fer_lightning.data.synthetic_faces.canvas import Canvas
from fer_lightning.data.faces.curves import ribbon, smooth
from fer_lightning.data.synthetic_faces.geometry import SIDES, FaceGeometry
from fer_lightning.data.synthetic_faces.parameters import Identity, View
from fer_lightning.data.faces.pose import Camera

_BLACK = np.array([40.0, 34.0, 34.0])
_TORTOISE = np.array([96.0, 58.0, 36.0])
_DARK_LENS = np.array([26.0, 26.0, 32.0])
_GLINT = np.array([255.0, 255.0, 255.0])
_CLOTH = np.array([176.0, 204.0, 216.0])
_LENS_X, _LENS_Y = 0.245, 0.185


def paint_glasses(canvas: Canvas, identity: Identity, geometry: FaceGeometry, camera: Camera) -> None:
    """Paints a pair of glasses: frames, and a glint on each lens."""
    slant = np.array([(-0.16, 0.06), (-0.04, -0.12), (0.02, -0.12), (-0.1, 0.06)])
    glints = [camera.project(slant + eye.centre + (0.0, 0.04), 0.08) for eye in geometry.eyes]
    canvas.fill(glints, _GLINT, 0.12, 0.015 * camera.unit)
    colour = _BLACK if identity.hair_redness < 0.2 else _TORTOISE
    _paint_frames(canvas, identity, geometry, camera, colour, _lenses(identity, geometry, camera))


def paint(canvas: Canvas, identity: Identity, view: View, geometry: FaceGeometry, camera: Camera) -> None:
    """Paints `view.occlusion`."""
    if view.occlusion == "sunglasses":
        lenses = _lenses(identity, geometry, camera)
        canvas.fill(lenses, _DARK_LENS, 0.97)
        _paint_frames(canvas, identity, geometry, camera, _DARK_LENS, lenses)
    elif view.occlusion == "hand":
        _paint_hand(canvas, identity, view, camera)
    elif view.occlusion == "mask":
        _paint_mask(canvas, identity, geometry, camera)


def _lenses(identity: Identity, geometry: FaceGeometry, camera: Camera) -> list[np.ndarray]:
    angle = np.linspace(0, 2 * np.pi, 25)
    # A superellipse runs from round to square as its exponent grows.
    power = 2 / (2 + 2.5 * (1 - identity.glasses_roundness))
    x = _LENS_X * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** power
    y = _LENS_Y * np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** power
    rim = np.stack([x, y], axis=1)
    return [camera.project(rim + eye.centre + (side * 0.01, 0.045), 0.08) for eye, side in zip(geometry.eyes, SIDES)]


def _paint_frames(
    canvas: Canvas,
    identity: Identity,
    geometry: FaceGeometry,
    camera: Camera,
    colour: np.ndarray,
    lenses: list[np.ndarray],
) -> None:
    (left, right), nose_y = geometry.eyes, geometry.eyes[0].centre[1] + 0.02
    bridge = np.array([(left.centre[0] + 0.23, nose_y), (0.0, nose_y - 0.03), (right.centre[0] - 0.23, nose_y)])
    lines = [*lenses, camera.project(smooth(bridge), 0.08)]
    for eye, side in zip(geometry.eyes, SIDES):
        arm = np.array([eye.centre + np.array([side * 0.25, 0.01]), (side * 0.78 * identity.face_width, -0.06)])
        lines.append(camera.project(arm, 0.05))
    canvas.fill([ribbon(line, np.full(len(line), 0.03 * camera.unit)) for line in lines], colour, 0.95)


def _paint_hand(canvas: Canvas, identity: Identity, view: View, camera: Camera) -> None:
    """A hand held to one side of the lower face; half of the mouth stays visible."""
    side = 1.0 if view.occlusion_place > 0.5 else -1.0
    skin = palette.skin_colour(identity)
    palm = np.array([(0.5, 0.62), (0.95, 0.55), (1.25, 1.1), (1.2, 2.0), (0.5, 2.0), (0.42, 1.1)]) * (side, 1.0)
    canvas.fill([camera.project_outline(smooth(palm, closed=True))], skin * 0.85, 1.0, 0.01 * camera.unit)
    thickness = camera.unit * np.array([0.15, 0.15, 0.145, 0.14, 0.135, 0.13, 0.11, 0.05])
    for finger in range(4):
        root = np.array([side * (0.92 - 0.1 * finger), 0.66 + 0.13 * finger])
        tip = np.array([side * (0.44 - 0.07 * finger), 0.14 + 0.2 * finger])
        line = camera.project_outline(np.linspace(root, tip, 8))
        canvas.fill([ribbon(line, 1.16 * thickness)], skin * 0.5, 0.8, 0.015 * camera.unit)
        canvas.fill([ribbon(line, thickness)], skin * 0.9, 1.0, 0.006 * camera.unit)


def _paint_mask(canvas: Canvas, identity: Identity, geometry: FaceGeometry, camera: Camera) -> None:
    """A surgical mask over mouth and nose."""
    edge, chin = 0.66 * identity.face_width, geometry.chin[1]
    right = [(0.0, 0.12), (0.2, 0.16), (edge, 0.26), (0.95 * edge, 0.55), (0.5, 0.86)]
    right += [(0.2, chin + 0.01), (0.0, chin + 0.04)]
    outline = np.array(right + [(-x, y) for x, y in right[-2:0:-1]])
    canvas.fill([camera.project(smooth(outline, closed=True), 0.04)], _CLOTH, 1.0, 0.006 * camera.unit, lit=True)
    lines = [np.array([(-0.9 * edge, y), (0.0, y + 0.05), (0.9 * edge, y)]) for y in (0.38, 0.52, 0.66)]
    pleats = [ribbon(camera.project(line, 0.05), np.full(3, 0.02 * camera.unit)) for line in lines]
    canvas.fill(pleats, _CLOTH * 0.7, 0.7, 0.008 * camera.unit, lit=True)
    bands = [np.array([(side * edge, 0.27), (side * 0.76 * identity.face_width, 0.02)]) for side in SIDES]
    strings = [ribbon(camera.project_outline(band), np.full(2, 0.02 * camera.unit)) for band in bands]
    canvas.fill(strings, _GLINT * 0.9, 0.9)
