"""Where the parts of a face lie: from identity and action units to curves, seen from the front.

Face units: the origin lies between the eyes and the nose tip in the middle of the head, x runs to the image's right, y
down, and 1 is the distance from the origin to the chin of the mean face.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fer_lightning.data.synthetic_faces.canvas import smooth
from fer_lightning.data.synthetic_faces.parameters import ActionUnits, Identity

SIDES = (-1.0, 1.0)
EYE_Y = -0.12


class Crease(NamedTuple):
    """A fold of the skin: points `(N, 2)`, width in face units and darkness in [0, 1]."""

    line: np.ndarray
    width: float
    strength: float


class Eye(NamedTuple):
    """One eye: its centre `(2,)`, margins of its lids from left to right, brow from inner to outer end, `(N, 2)`."""

    centre: np.ndarray
    upper: np.ndarray
    lower: np.ndarray
    brow: np.ndarray


class Mouth(NamedTuple):
    """Lips as four curves from the image's left corner to its right one, `(N, 2)`, and the visible height of teeth."""

    outer_upper: np.ndarray
    inner_upper: np.ndarray
    inner_lower: np.ndarray
    outer_lower: np.ndarray
    teeth: float


class FaceGeometry(NamedTuple):
    """All curves of a face."""

    head: np.ndarray  # closed outline (N, 2)
    eyes: tuple[Eye, Eye]  # the image's left one and its right one
    mouth: Mouth
    nose_y: float  # height of the nose tip
    nose_half_width: float
    chin_y: float  # height of the chin
    creases: list[Crease]
    cheek_raise: float  # how far the cheeks bulge, in [0, 1]


def build_geometry(identity: Identity, units: ActionUnits) -> FaceGeometry:
    """Curves of a face in face units, frontal, from its proportions and action units."""
    jaw_drop = 0.2 * units.au26
    eyes = (_eye(identity, units, -1.0), _eye(identity, units, 1.0))
    mouth = _mouth(identity, units)
    nose_y = 0.04 + 0.26 * identity.nose_length - 0.045 * units.au9 - 0.012 * units.au10
    nose_half_width = 0.145 * identity.nose_width * (1 + 0.16 * units.au9 + 0.08 * units.au12 + 0.05 * units.au10)
    return FaceGeometry(
        head=_head(identity, jaw_drop),
        eyes=eyes,
        mouth=mouth,
        nose_y=nose_y,
        nose_half_width=nose_half_width,
        chin_y=0.98 * identity.chin_length + jaw_drop,
        creases=_creases(identity.age, units, eyes, mouth, nose_y, nose_half_width),
        cheek_raise=min(1.0, max(units.au6, 0.7 * units.au12, 0.5 * units.au9)),
    )


def mirrored(right: Sequence[tuple[float, float]]) -> np.ndarray:
    """Closed outline `(N, 2)` through points from the top to the bottom of the middle line, and their mirror images."""
    return smooth(np.array([*right, *((-x, y) for x, y in right[-2:0:-1])]), closed=True)


def _head(identity: Identity, jaw_drop: float) -> np.ndarray:
    width, jaw, chin = 0.74 * identity.face_width, identity.jaw_width, 0.98 * identity.chin_length
    right = [(0.0, -1.13), (0.36, -1.07), (0.62, -0.83), (0.72, -0.45), (width, -0.05), (0.97 * width, 0.25)]
    right += [(0.68 * jaw * (0.35 + 0.65 * identity.face_width), 0.52 + 0.2 * jaw_drop)]
    right += [(0.46 * jaw, 0.8 * identity.chin_length + 0.75 * jaw_drop)]
    right += [(0.2 * jaw, chin - 0.03 + jaw_drop), (0.0, chin + jaw_drop)]
    return mirrored(right)


def _eye(identity: Identity, units: ActionUnits, side: float) -> Eye:
    centre = np.array([side * 0.34 * identity.eye_spacing, EYE_Y])
    half = 0.165
    raised = 0.66 * units.au5 - 0.42 * units.au7 - 0.15 * units.au6 - 0.3 * units.au9 - 0.85 * units.au43
    lowered = 0.12 * units.au5 - 0.55 * units.au7 - 0.75 * units.au6 - 0.45 * units.au9
    upper = 0.088 * identity.eye_opening * max(0.02, 1 + raised) - 0.01 * units.au4
    lower = 0.058 * identity.eye_opening * max(0.0, 1 + lowered)
    closing = 0.035 * min(1.0, max(0.0, units.au43))
    # With the inner brow raised the highest point of the lid moves inwards, with the brow lowered outwards.
    peak = -0.12 + 0.3 * units.au4 * (1 - units.au1) - 0.3 * units.au1
    inner, outer = (-half, 0.022), (half, 0.002 + 0.03 * units.au1 * units.au4)
    upper_line = [inner, (-0.62 * half, -0.72 * upper + closing), (peak * half, -upper + closing)]
    upper_line += [(0.62 * half, -0.66 * upper + closing), outer]
    lower_line = [inner, (-0.5 * half, 0.75 * lower + 0.008), (0.1 * half, lower + 0.004)]
    lower_line += [(0.62 * half, 0.7 * lower), outer]

    base = EYE_Y - 0.255 * identity.brow_height
    inner_y = base - 0.15 * units.au1 + 0.13 * units.au4 + 0.05 * units.au9 - 0.03 * units.au2
    middle_y = base - 0.035 - 0.075 * units.au1 - 0.12 * units.au2 + 0.085 * units.au4 + 0.03 * units.au9
    outer_y = base + 0.035 - 0.15 * units.au2 + 0.02 * (units.au1 + units.au4 + units.au6)
    inner_x = 0.15 * identity.eye_spacing - 0.045 * units.au4
    brow = [(inner_x, inner_y), (inner_x + 0.11, 0.45 * inner_y + 0.55 * middle_y - 0.005)]
    brow += [(0.37 * identity.eye_spacing, middle_y), (0.58 * identity.eye_spacing, outer_y)]

    def place(points: list[tuple[float, float]]) -> np.ndarray:
        line = np.array(points) * (side, 1.0) + centre
        return smooth(line if side > 0 else line[::-1])

    return Eye(centre, place(upper_line), place(lower_line), smooth(np.array(brow) * (side, 1.0)))


def _mouth(identity: Identity, units: ActionUnits) -> Mouth:
    tight = min(1.0, max(units.au23, units.au24))
    full = identity.lip_fullness * (1 - 0.6 * tight)
    centre_y = 0.56 + 0.1 * (identity.chin_length - 1)
    half = 0.265 * identity.mouth_width * (1 - 0.12 * tight - 0.09 * units.au26 * (1 - units.au12))
    corners = []
    for side in SIDES:
        pull, dimple = units.au12 * _share(units, side), units.au14 * _share(units, side)
        reach = half + 0.085 * pull + 0.1 * units.au20 + 0.03 * dimple
        rise = -identity.mouth_curve - 0.135 * pull - 0.03 * dimple + 0.115 * units.au15 + 0.02 * units.au20
        corners.append((side * reach, centre_y + rise + 0.07 * units.au26))
    (left_x, left_y), (right_x, right_y) = corners
    apart = 0.022 * units.au25
    drop = 0.075 * units.au25 + 0.3 * units.au26
    raise_upper = 0.055 * units.au10 + 0.035 * units.au9 + 0.025 * units.au12 * units.au25
    chin_up = 0.035 * units.au17 * (1 - min(1.0, units.au25))

    # Position along the lip: -1 and 1 are the corners.
    t = np.array([-1.0, -0.72, -0.38, -0.14, 0.0, 0.14, 0.38, 0.72, 1.0])
    x = np.where(t < 0, -t * left_x, t * right_x)
    corner_y = np.where(t < 0, left_y, right_y)
    # Corners that are pulled up bend the whole lip, corners that are pulled down only its ends.
    bend = np.abs(t) ** np.where(corner_y < centre_y, 1.7, 2.6)
    middle, arch, broad = 1 - np.abs(t) ** 2, 1 - np.abs(t) ** 2.4, 1 - np.abs(t) ** 4
    bow = np.array([0.0, 0.55, 0.93, 1.06, 0.86, 1.06, 0.93, 0.55, 0.0])
    line = centre_y + (corner_y - centre_y) * bend - chin_up * middle
    inner_upper = line - apart * arch - raise_upper * broad
    inner_lower = np.maximum(line + drop * middle - 0.3 * raise_upper * broad, inner_upper)
    outer_upper = inner_upper - 0.072 * full * bow * (1 - 0.25 * units.au12)
    outer_lower = inner_lower + 0.098 * full * middle * (1 - 0.15 * units.au12)
    upper, top, bottom, lower = (
        smooth(np.stack([x, y], axis=1), per_segment=4) for y in (outer_upper, inner_upper, inner_lower, outer_lower)
    )
    teeth = 0.02 + 0.055 * min(1.0, units.au10 + units.au12 + 0.6 * units.au20 + 0.4 * units.au9)
    return Mouth(upper, top, bottom, lower, teeth)


def _share(units: ActionUnits, side: float) -> float:
    """Share of AU12 and AU14 on one side; one-sided units still tug a little on the other corner."""
    return 1.0 if units.side == 0 else max(0.08, side * units.side)


def _creases(
    age: float, units: ActionUnits, eyes: tuple[Eye, Eye], mouth: Mouth, nose_y: float, nose_half_width: float
) -> list[Crease]:
    creases: list[Crease] = []

    def add(points: list[tuple[float, float]], width: float, strength: float) -> None:
        if strength > 0.04:
            creases.append(Crease(smooth(np.array(points), per_segment=4), width, min(1.0, strength)))

    for eye, side in zip(eyes, SIDES):
        smile, dimple = units.au12 * _share(units, side), units.au14 * _share(units, side)
        corner_x, corner_y = mouth.outer_upper[0 if side < 0 else -1]
        nose_to_mouth = [
            (side * (nose_half_width + 0.02), nose_y - 0.03),
            (side * (nose_half_width + 0.1 + 0.04 * smile), 0.36 - 0.05 * units.au10),
            (corner_x + side * 0.07, corner_y - 0.05 * smile),
        ]
        add(nose_to_mouth, 0.045, 0.1 + 0.3 * age + 0.55 * smile + 0.5 * units.au10 + 0.55 * units.au9)
        beside_mouth = [(corner_x + side * 0.012, corner_y - 0.035), (corner_x + side * 0.025, corner_y + 0.045)]
        add(beside_mouth, 0.035, 0.8 * dimple + 0.35 * smile + 0.45 * units.au20 + 0.4 * units.au24)
        outer = eye.centre[0] + side * 0.2
        for slope in (0.0, 0.07):
            crow_foot = [(outer, EYE_Y + 0.02 + 0.4 * slope), (outer + side * 0.12, EYE_Y + 0.03 + 1.4 * slope)]
            add(crow_foot, 0.018, 0.5 * units.au6 + 0.3 * age - 0.1)
        inner_x, inner_y = eye.brow[0]
        frown = [(inner_x - side * 0.06, inner_y - 0.07), (inner_x - side * 0.045, inner_y + 0.09)]
        add(frown, 0.03, 0.9 * units.au4 * (1 - 0.5 * units.au1) + 0.1 * age)
        for y in (0.0, 0.07, 0.14):
            add([(0.0, y - 0.02), (side * 0.06, y), (side * 0.11, y + 0.05)], 0.024, 0.75 * units.au9)

    # AU1 alone wrinkles the middle of the forehead, AU2 its whole width.
    reach = 0.16 + 0.3 * max(units.au2, age)
    for step in range(3):
        y = float(eyes[0].brow[:, 1].min()) - 0.11 - 0.1 * step
        arch = 0.04 * units.au4 - 0.02 * units.au2
        forehead = [(-reach, y + arch), (0.0, y), (reach, y + arch)]
        add(forehead, 0.026, 0.55 * max(units.au1, units.au2) + 0.3 * age - 0.08)
    lip = float(mouth.outer_lower[:, 1].max())
    add([(-0.13, lip + 0.04), (0.0, lip + 0.055), (0.13, lip + 0.04)], 0.05, 0.25 + 0.5 * units.au17)
    return creases
