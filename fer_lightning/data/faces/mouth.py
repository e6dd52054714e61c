"""Lips, and what an open mouth shows."""

from __future__ import annotations

import numpy as np

from fer_lightning.data.faces import palette
from fer_lightning.data.synthetic_faces.canvas import Canvas
from fer_lightning.data.faces.curves import ellipse, ribbon, taper
from fer_lightning.data.synthetic_faces.geometry import Mouth
from fer_lightning.data.synthetic_faces.parameters import Identity
from fer_lightning.data.faces.pose import Camera

_CAVITY = np.array([52.0, 14.0, 16.0])
_TONGUE = np.array([158.0, 66.0, 66.0])
_ENAMEL = np.array([240.0, 234.0, 222.0])
_SEAM = np.array([58.0, 20.0, 20.0])


def paint(canvas: Canvas, identity: Identity, mouth: Mouth, camera: Camera, glow: float) -> None:
    """Paints a mouth.

    Args:
        canvas: Where to.
        identity: Whose.
        mouth: Its curves.
        camera: Projection onto the canvas.
        glow: Mean brightness of the skin, 1 in full light.
    """
    unit = camera.unit
    upper, top = camera.project(mouth.outer_upper), camera.project(mouth.inner_upper)
    bottom, lower = camera.project(mouth.inner_lower), camera.project(mouth.outer_lower)
    is_open = float((bottom[:, 1] - top[:, 1]).max()) > 0.006 * unit
    if is_open:
        _paint_opening(canvas, mouth, camera, np.concatenate([top, bottom[::-1]]), _ENAMEL * (0.55 + 0.45 * glow))
    lips = palette.lip_colour(identity)
    canvas.fill([np.concatenate([upper, top[::-1]])], lips * 0.86, 0.92, 0.006 * unit, lit=True)
    canvas.fill([np.concatenate([bottom, lower[::-1]])], lips, 0.9, 0.008 * unit, lit=True)
    shine = ribbon((bottom + lower) / 2, 0.03 * unit * identity.lip_fullness * taper(len(lower), 0.0, 1.0, 0.0))
    canvas.fill([shine], np.minimum(lips * 1.25 + 25, 255), 0.3, 0.015 * unit)
    widths = 0.022 * unit * taper(len(top), 1.0, 0.8, 1.0)
    seams = [ribbon(top, widths)] + ([ribbon(bottom, 0.5 * widths)] if is_open else [])
    canvas.fill(seams, _SEAM, (0.85, 0.5), 0.005 * unit)


def _paint_opening(canvas: Canvas, mouth: Mouth, camera: Camera, opening: np.ndarray, enamel: np.ndarray) -> None:
    canvas.fill([opening], _CAVITY)
    tongue = camera.project(ellipse((0.0, float(mouth.inner_lower[:, 1].max())), 0.17, 0.09))
    canvas.fill([tongue], _TONGUE, 0.8, 0.015 * camera.unit, [opening])
    rows = [(mouth.inner_upper, mouth.upper_teeth)]
    if mouth.lower_teeth > 0.005:
        rows.append((mouth.inner_lower, -mouth.lower_teeth))
    bands = []
    for gum, height in rows:
        row = gum * (0.86, 1.0)
        bands.append(camera.project(np.concatenate([row, (row + np.array([0.0, height]))[::-1]])))
    canvas.fill(bands, enamel, (1.0, 0.85), 0.004 * camera.unit, [opening])
