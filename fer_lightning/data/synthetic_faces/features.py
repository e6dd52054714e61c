"""The painted features of a face: hair, eyes, mouth, what hides a part of it, and their colours."""

from __future__ import annotations

import cv2
import numpy as np

from fer_lightning.data.synthetic_faces.canvas import Camera, Canvas, ellipse, ribbon, smooth, taper
from fer_lightning.data.synthetic_faces.geometry import SIDES, Eye, FaceGeometry, Mouth
from fer_lightning.data.synthetic_faces.parameters import Identity, View

_BALD = 0.03
_WHITE = np.array([238.0, 234.0, 230.0])
_PUPIL = np.array([10.0, 8.0, 8.0])
_SPARK = np.array([250.0, 250.0, 250.0])
_LASHES = np.array([28.0, 18.0, 16.0])
_CAVITY = np.array([52.0, 14.0, 16.0])
_TONGUE = np.array([158.0, 66.0, 66.0])
_ENAMEL = np.array([240.0, 234.0, 222.0])
_SEAM = np.array([58.0, 20.0, 20.0])
_BLACK = np.array([40.0, 34.0, 34.0])
_TORTOISE = np.array([96.0, 58.0, 36.0])
_DARK_LENS = np.array([26.0, 26.0, 32.0])
_GLINT = np.array([255.0, 255.0, 255.0])
_CLOTH = np.array([176.0, 204.0, 216.0])
_LENS_X, _LENS_Y = 0.245, 0.185
_SKIN = np.array([(248, 218, 196), (236, 192, 164), (214, 162, 128), (176, 122, 88), (130, 86, 62), (98, 66, 50.0)])
_HAIR = np.array([(24, 20, 20), (52, 36, 28), (96, 64, 42), (150, 106, 66), (206, 168, 112), (232, 206, 156.0)])
_IRIS = np.array([(44, 28, 18), (84, 54, 30), (110, 98, 54), (92, 116, 96), (96, 134, 168.0)])


def strands(identity: Identity, view: View, rng: np.random.Generator, side: int) -> np.ndarray:
    """Colours of the hair with strands and light, `(3, side, side)` float32."""
    across, down = side // 4, side // 24
    if identity.curl > 0.5:
        across = down = side // 10
    grain = cv2.resize(rng.standard_normal((down, across), np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    axis = np.linspace(-1, 1, side, dtype=np.float32)
    lean = np.sin(np.radians(view.light_azimuth))
    light = 1 + view.light_contrast * (0.35 * lean * axis[None, :] - 0.3 * axis[:, None])
    colour = hair_colour(identity).astype(np.float32)[:, None, None] + 6
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
    shadow = hair_colour(identity) * 0.4
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
    colour = brow_colour(identity).astype(np.float32)[:, None, None]
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
    colour = brow_colour(identity)
    lines = [camera.project(eye.brow, 0.03) for eye in eyes]
    widths = eyes[0].brow_width * camera.unit * taper(len(lines[0]), 0.75, 1.0, 0.2)
    canvas.fill([ribbon(line, widths) for line in lines], colour, 0.55, 0.016 * camera.unit)
    canvas.fill([ribbon(line, 0.75 * widths) for line in lines], colour, 0.75, 0.007 * camera.unit)


def paint_eye(
    canvas: Canvas, identity: Identity, view: View, eyes: tuple[Eye, Eye], camera: Camera, glow: float
) -> None:
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
    skin, iris = skin_colour(identity), iris_colour(identity)
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


def paint_mouth(canvas: Canvas, identity: Identity, mouth: Mouth, camera: Camera, glow: float) -> None:
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
    lips = lip_colour(identity)
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


def paint_glasses(canvas: Canvas, identity: Identity, geometry: FaceGeometry, camera: Camera) -> None:
    """Paints a pair of glasses: frames, and a glint on each lens."""
    slant = np.array([(-0.16, 0.06), (-0.04, -0.12), (0.02, -0.12), (-0.1, 0.06)])
    glints = [camera.project(slant + eye.centre + (0.0, 0.04), 0.08) for eye in geometry.eyes]
    canvas.fill(glints, _GLINT, 0.12, 0.015 * camera.unit)
    colour = _BLACK if identity.hair_redness < 0.2 else _TORTOISE
    _paint_frames(canvas, identity, geometry, camera, colour, _lenses(identity, geometry, camera))


def paint_occlusion(canvas: Canvas, identity: Identity, view: View, geometry: FaceGeometry, camera: Camera) -> None:
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
    skin = skin_colour(identity)
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


def _along(colours: np.ndarray, position: float) -> np.ndarray:
    place = float(np.clip(position, 0.0, 1.0)) * (len(colours) - 1)
    low = min(int(place), len(colours) - 2)
    return colours[low] + (place - low) * (colours[low + 1] - colours[low])


def skin_colour(identity: Identity) -> np.ndarray:
    """Colour of well-lit skin `(3,)`."""
    warmth = 1 + identity.skin_warmth * np.array([0.02, 0.0, -0.05])
    return np.clip(_along(_SKIN, identity.skin_tone) * warmth, 0, 255)


def hair_colour(identity: Identity) -> np.ndarray:
    """Colour of the hair `(3,)`, grey with age."""
    colour = _along(_HAIR, identity.hair_tone) + identity.hair_redness * np.array([60.0, 8.0, -10.0])
    grey = float(np.clip((identity.age - 0.55) / 0.4, 0.0, 0.9))
    return np.clip(colour + grey * (np.array([178.0, 176.0, 172.0]) - colour), 0, 255)


def brow_colour(identity: Identity) -> np.ndarray:
    """Colour of the brows `(3,)`: darker than the hair."""
    return 0.3 * np.array([30.0, 22.0, 18.0]) + 0.45 * hair_colour(identity)


def lip_colour(identity: Identity) -> np.ndarray:
    """Colour of the lips `(3,)`: the skin's, redder, or painted."""
    natural = skin_colour(identity) * [0.84, 0.62, 0.62]
    painted = np.array([176.0, 34.0, 52.0]) * (1 - 0.35 * identity.skin_tone)
    return natural + identity.lip_colour * 0.8 * (painted - natural)


def iris_colour(identity: Identity) -> np.ndarray:
    """Colour of the iris `(3,)`."""
    return _along(_IRIS, identity.iris_tone)
