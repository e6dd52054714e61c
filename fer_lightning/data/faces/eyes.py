"""Eyeballs and lids."""

from __future__ import annotations

import numpy as np

from fer_lightning.data.faces import palette
from fer_lightning.data.synthetic_faces.canvas import Canvas
from fer_lightning.data.faces.curves import ellipse, ribbon, taper
from fer_lightning.data.synthetic_faces.geometry import Eye
from fer_lightning.data.synthetic_faces.parameters import Identity, View
from fer_lightning.data.faces.pose import Camera

_WHITE = np.array([238.0, 234.0, 230.0])
_PUPIL = np.array([10.0, 8.0, 8.0])
_SPARK = np.array([250.0, 250.0, 250.0])
_LASHES = np.array([28.0, 18.0, 16.0])


def paint(canvas: Canvas, identity: Identity, view: View, eyes: tuple[Eye, Eye], camera: Camera, glow: float) -> None:
    """Paints both eyes.

    Args:
        canvas: Where to.
        identity: Whose.
        view: Gaze and direction of the light.
        eyes: Their curves.
        camera: Projection onto the canvas.
        glow: Mean brightness of the skin, 1 in full light.
    """
    unit = camera.unit
    skin, iris = palette.skin_colour(identity), palette.iris_colour(identity)
    uppers = [camera.project(eye.upper) for eye in eyes]
    lowers = [camera.project(eye.lower) for eye in eyes]
    folds = [camera.project(eye.lid_fold) for eye in eyes]
    apertures = [np.concatenate([upper, lower[::-1]]) for upper, lower in zip(uppers, lowers)]
    lids = [np.concatenate([fold, lower[::-1]]) for fold, lower in zip(folds, lowers)]
    canvas.fill(lids, skin * [0.86, 0.78, 0.76], 0.6, 0.02 * unit, lit=True)
    canvas.fill(apertures, _WHITE * (0.5 + 0.5 * glow))

    radius = eyes[0].iris_radius * unit
    gaze = np.array([view.gaze_x, view.gaze_y]) * eyes[0].iris_radius
    centres = camera.project(np.array([eye.iris + gaze for eye in eyes]))

    def discs(share: float, offset_x: float = 0.0, offset_y: float = 0.0) -> list[np.ndarray]:
        size = share * radius
        return [ellipse((x + offset_x * radius, y + offset_y * radius), size, size) for x, y in centres]

    canvas.fill(discs(1.0), iris * 0.45, 1.0, 0.006 * unit, apertures)
    canvas.fill(discs(0.8), iris, 1.0, 0.01 * unit, apertures)
    canvas.fill(discs(0.42), _PUPIL, clip=apertures)
    spark_x = 0.35 if view.light_azimuth > 0 else -0.35
    canvas.fill(discs(0.2, spark_x, -0.35), _SPARK, 0.9, clip=apertures)

    # The upper lid throws a shadow on the eyeball.
    below = np.array([0.0, 0.012 * unit])
    shadows = [ribbon(upper + below, np.full(len(upper), 0.03 * unit)) for upper in uppers]
    canvas.fill(shadows, _LASHES, 0.35, 0.01 * unit)
    lashes = 0.04 * unit * taper(len(uppers[0]), 0.4, 1.0, 0.4)
    canvas.fill([ribbon(upper, lashes) for upper in uppers], _LASHES, 0.95, 0.004 * unit)
    rims = [ribbon(lower, np.full(len(lower), 0.014 * unit)) for lower in lowers]
    creases = [ribbon(fold, 0.02 * unit * taper(len(fold), 0.0, 1.0, 0.0)) for fold in folds]
    canvas.fill(rims + creases, skin * [0.5, 0.42, 0.4], 0.65, 0.006 * unit)
