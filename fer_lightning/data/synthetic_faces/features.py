"""Hair: behind the head, over the forehead, on brows and jaw."""

from __future__ import annotations

import cv2
import numpy as np

from fer_lightning.data.faces import palette
from fer_lightning.data.synthetic_faces.canvas import Canvas
from fer_lightning.data.faces.curves import ribbon, smooth, taper
from fer_lightning.data.synthetic_faces.geometry import Eye, FaceGeometry
from fer_lightning.data.synthetic_faces.parameters import Identity, View
from fer_lightning.data.faces.pose import Camera

_BALD = 0.03


def strands(identity: Identity, view: View, rng: np.random.Generator, side: int) -> np.ndarray:
    """Colours of the hair with strands and light, `(3, side, side)` float32."""
    across, down = side // 4, side // 24
    if identity.curl > 0.5:
        across = down = side // 10
    grain = cv2.resize(rng.standard_normal((down, across), np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    axis = np.linspace(-1, 1, side, dtype=np.float32)
    lean = np.sin(np.radians(view.light_azimuth))
    light = 1 + view.light_contrast * (0.35 * lean * axis[None, :] - 0.3 * axis[:, None])
    colour = palette.hair_colour(identity).astype(np.float32)[:, None, None] + 6
    return colour * np.clip((1 + (0.14 - 0.07 * identity.hair_tone) * grain) * light, 0.2, 2.0)


def paint_back(canvas: Canvas, identity: Identity, camera: Camera, colours: np.ndarray) -> None:
    """Paints the hair that hangs behind the head."""
    if identity.hair_volume < _BALD:
        return
    volume, end = identity.hair_volume, identity.hair_length
    top = -1.13 * identity.forehead - volume
    width = 0.74 * identity.face_width + 0.75 * volume
    right = [(0.0, top), (0.45, top + 0.08), (0.95 * width, -0.75), (1.04 * width, -0.3)]
    if end > 0.3:
        right += [(1.1 * width, 0.3), (1.05 * width + 0.1 * identity.curl, end), (0.6 * width, end + 0.08)]
    else:
        right += [(width, end), (0.6 * width, end + 0.1)]
    left = [(-x, y) for x, y in right[:0:-1]]
    outline = smooth(np.array(right + left), closed=True)
    if identity.curl > 0.05:
        steps = np.arange(len(outline))
        outline = outline * (1 + 0.05 * identity.curl * np.sin(steps * 1.9))[:, None]
    canvas.fill([camera.project_outline(outline, -0.15)], colours * np.float32(0.72), 1.0, 0.012 * camera.unit)


def paint_front(canvas: Canvas, identity: Identity, camera: Camera, colours: np.ndarray) -> None:
    """Paints the hair from the crown down to the hairline and in front of the ears."""
    if identity.hair_volume < _BALD:
        return
    volume = identity.hair_volume
    skull = -1.13 * identity.forehead
    width = 0.74 * identity.face_width
    line_y = -0.55 + identity.hairline * (skull + 0.17 + 0.55)
    sides = float(np.clip(identity.hair_length, -0.35, 0.55 if identity.hair_volume > 0.12 else 0.0))
    part = 0.45 * identity.hair_part
    outer = [
        (-width - 0.35 * volume, sides),
        (-width - 0.65 * volume, -0.35),
        (-0.62 - 0.7 * volume, -0.8),
        (-0.32, skull + 0.0 - 0.85 * volume),
        (0.0, skull - volume),
        (0.32, skull + 0.0 - 0.85 * volume),
        (0.62 + 0.7 * volume, -0.8),
        (width + 0.65 * volume, -0.35),
        (width + 0.35 * volume, sides),
    ]
    inner = [
        (width - 0.06, sides),
        (width - 0.1, -0.32),
        (0.52, line_y + 0.16 + 0.1 * max(0.0, part)),
        (0.5 * (0.52 + part), line_y + 0.05),
        (part, line_y),
        (0.5 * (part - 0.52), line_y + 0.05),
        (-0.52, line_y + 0.16 + 0.1 * max(0.0, -part)),
        (-width + 0.1, -0.32),
        (-width + 0.06, sides),
    ]
    crown = camera.project_outline(smooth(np.array(outer)), 0.0)
    rim = camera.project(smooth(np.array(inner)))
    outline = np.concatenate([crown, rim])
    # A soft shadow under the hair sets it off the forehead.
    shadow = palette.hair_colour(identity) * 0.4
    widths = np.full(len(rim), 0.05 * camera.unit)
    canvas.fill([ribbon(rim + np.array([0.0, 0.03 * camera.unit]), widths)], shadow, 0.35, 0.03 * camera.unit)
    canvas.fill([outline], colours, 1.0, (0.012 + 0.015 * identity.curl) * camera.unit)


def paint_beard(
    canvas: Canvas, identity: Identity, geometry: FaceGeometry, camera: Camera, rng: np.random.Generator
) -> None:
    """Paints beard and moustache; the lips are painted over them later."""
    # Drawn for everybody, so that shaving changes nothing else in the picture.
    grain = rng.standard_normal((canvas.side // 3, canvas.side // 3), np.float32)
    if max(identity.beard, identity.moustache) < 0.05:
        return
    texture = cv2.resize(grain, (canvas.side, canvas.side), interpolation=cv2.INTER_LINEAR)
    colour = palette.brow_colour(identity).astype(np.float32)[:, None, None]
    colours = np.clip(colour * (1.1 + 0.3 * texture), 0, 255)
    mouth = geometry.mouth
    corner_y = (mouth.outer_upper[0, 1] + mouth.outer_upper[-1, 1]) / 2
    if identity.beard >= 0.05:
        lip = float(mouth.outer_lower[:, 1].max())
        reach = 0.72 * identity.face_width
        upper = [(-reach, 0.1), (-0.56, 0.42), (-0.36, corner_y + 0.05), (-0.16, lip + 0.05), (0.0, lip + 0.03)]
        upper += [(-x, y) for x, y in upper[-2::-1]]
        head = geometry.head
        jaw = head[head[:, 1] > 0.1]
        jaw = jaw[np.argsort(-np.arctan2(jaw[:, 0], jaw[:, 1] + 1e-6))]
        top = camera.project(smooth(np.array(upper)))
        outline = np.concatenate([top, camera.project_outline(jaw * [1.0, 1.02])])
        canvas.fill([outline], colours, 0.85 * identity.beard, 0.035 * camera.unit)
    if identity.moustache >= 0.05:
        top = mouth.outer_upper
        rise = 0.03 + 0.055 * (1 - (top[:, 0] / top[-1, 0]) ** 2)
        edge = np.stack([top[:, 0], top[:, 1] - rise], axis=1)
        outline = np.concatenate([camera.project(edge), camera.project(top + np.array([0.0, 0.015]))[::-1]])
        canvas.fill([outline], colours, 0.85 * identity.moustache, 0.016 * camera.unit)


def paint_brows(canvas: Canvas, identity: Identity, eyes: tuple[Eye, Eye], camera: Camera) -> None:
    """Paints the brows: soft hair around a dense middle."""
    colour = palette.brow_colour(identity)
    lines = [camera.project(eye.brow, 0.03) for eye in eyes]
    widths = eyes[0].brow_width * camera.unit * taper(len(lines[0]), 0.75, 1.0, 0.2)
    canvas.fill([ribbon(line, widths) for line in lines], colour, 0.55, 0.016 * camera.unit)
    canvas.fill([ribbon(line, 0.75 * widths) for line in lines], colour, 0.75, 0.007 * camera.unit)
