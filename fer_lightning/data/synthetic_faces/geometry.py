"""Where the parts of a face lie: from identity and action units to curves, seen from the front.

Face units: the origin lies between the eyes and the nose tip in the middle of the head, x runs to the image's right, y
down, and 1 is the distance from the origin to the chin of the mean face.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fer_lightning.data.synthetic_faces.canvas import smooth
from fer_lightning.data.synthetic_faces.parameters import ActionUnits, Identity

SIDES = (-1.0, 1.0)
EYE_Y = -0.12


@dataclass(frozen=True)
class Crease:
    """A fold of the skin: points `(N, 2)`, width in face units and darkness in [0, 1]."""

    line: np.ndarray
    width: float
    strength: float


@dataclass(frozen=True)
class Eye:
    """One eye; curves run from the image's left to its right, `(N, 2)`.

    Attributes:
        upper: Margin of the upper lid.
        lower: Margin of the lower lid.
        lid_fold: Fold above the upper lid.
        iris: Centre of the iris.
        iris_radius: Radius of the iris.
        brow: Middle line of the brow, from its inner to its outer end.
        brow_width: Full width of the brow at its thickest.
        centre: Middle of the relaxed eye.
    """

    upper: np.ndarray
    lower: np.ndarray
    lid_fold: np.ndarray
    iris: np.ndarray
    iris_radius: float
    brow: np.ndarray
    brow_width: float
    centre: np.ndarray


@dataclass(frozen=True)
class Mouth:
    """Lips as four curves from the image's left corner to its right one, `(N, 2)`; `teeth` is what teeth may show."""

    outer_upper: np.ndarray
    inner_upper: np.ndarray
    inner_lower: np.ndarray
    outer_lower: np.ndarray
    upper_teeth: float
    lower_teeth: float


@dataclass(frozen=True)
class FaceGeometry:
    """All curves of a face.

    Attributes:
        head: Outline of the head, closed `(N, 2)`.
        eyes: Image-left and image-right eye with its brow.
        mouth: The lips.
        nose_tip: Point `(2,)`.
        nostrils: Centres, image-left and image-right `(2, 2)`.
        nose_half_width: Half width at the wings.
        chin: Lowest point of the head `(2,)`.
        creases: Folds and wrinkles.
        cheeks: Highest points of the cheeks `(2, 2)`.
        cheek_raise: How far they bulge, in [0, 1].
    """

    head: np.ndarray
    eyes: tuple[Eye, Eye]
    mouth: Mouth
    nose_tip: np.ndarray
    nostrils: np.ndarray
    nose_half_width: float
    chin: np.ndarray
    creases: tuple[Crease, ...]
    cheeks: np.ndarray
    cheek_raise: float


def build_geometry(identity: Identity, units: ActionUnits) -> FaceGeometry:
    """Lays a face out.

    Args:
        identity: Proportions.
        units: Action units.

    Returns:
        Its curves in face units, frontal.
    """
    jaw_drop = 0.2 * units.au26
    eyes = (_eye(identity, units, -1.0), _eye(identity, units, 1.0))
    nose_y = 0.04 + 0.26 * identity.nose_length - 0.045 * units.au9 - 0.012 * units.au10
    nose_half = 0.145 * identity.nose_width * (1 + 0.16 * units.au9 + 0.08 * units.au12 + 0.05 * units.au10)
    mouth = _mouth(identity, units)
    head = _head(identity, jaw_drop)
    cheek_raise = min(1.0, max(units.au6, 0.7 * units.au12, 0.5 * units.au9))
    cheeks = np.array([[s * 0.41 * identity.face_width, 0.27 - 0.1 * cheek_raise] for s in SIDES])
    return FaceGeometry(
        head=head,
        eyes=eyes,
        mouth=mouth,
        nose_tip=np.array([0.0, nose_y]),
        nostrils=np.array([[s * 0.5 * nose_half, nose_y + 0.055] for s in SIDES]),
        nose_half_width=nose_half,
        chin=np.array([0.0, 0.98 * identity.chin_length + jaw_drop]),
        creases=_creases(identity, units, eyes, mouth, nose_y, nose_half, jaw_drop),
        cheeks=cheeks,
        cheek_raise=cheek_raise,
    )


def _head(identity: Identity, jaw_drop: float) -> np.ndarray:
    width, jaw, chin = 0.74 * identity.face_width, identity.jaw_width, 0.98 * identity.chin_length
    top = -1.13 * identity.forehead
    right = [
        (0.0, top),
        (0.36, top + 0.06),
        (0.62, top + 0.3),
        (0.72, -0.45),
        (width, -0.05),
        (0.97 * width, 0.25),
        (0.68 * jaw * (0.35 + 0.65 * identity.face_width), 0.52 + 0.2 * jaw_drop),
        (0.46 * jaw, 0.8 * identity.chin_length + 0.75 * jaw_drop),
        (0.2 * jaw, chin - 0.03 + jaw_drop),
        (0.0, chin + jaw_drop),
    ]
    left = [(-x, y) for x, y in right[-2:0:-1]]
    return smooth(np.array(right + left), closed=True)


def _eye(identity: Identity, units: ActionUnits, side: float) -> Eye:
    centre = np.array([side * 0.34 * identity.eye_spacing, EYE_Y])
    half = 0.165 * identity.eye_width
    opening = identity.eye_opening
    raised = 0.66 * units.au5 - 0.42 * units.au7 - 0.15 * units.au6 - 0.3 * units.au9 - 0.85 * units.au43
    lowered = 0.12 * units.au5 - 0.55 * units.au7 - 0.75 * units.au6 - 0.45 * units.au9
    upper = 0.088 * opening * max(0.02, 1 + raised) - 0.01 * units.au4
    lower = 0.058 * opening * max(0.0, 1 + lowered)
    closing = 0.035 * min(1.0, max(0.0, units.au43))
    # With the inner brow raised the highest point of the lid wanders inwards, with the brow lowered outwards.
    peak = -0.12 + 0.3 * units.au4 * (1 - units.au1) - 0.3 * units.au1
    inner, outer = (-half, 0.022), (half, 0.012 - identity.eye_tilt + 0.03 * units.au1 * units.au4)
    upper_line = [inner, (-0.62 * half, -0.72 * upper + closing), (peak * half, -upper + closing)]
    upper_line += [(0.62 * half, -0.66 * upper + closing + 0.1 * outer[1]), outer]
    lower_line = [inner, (-0.5 * half, 0.75 * lower + 0.008), (0.1 * half, lower + 0.004)]
    lower_line += [(0.62 * half, 0.7 * lower), outer]
    lift = 0.05 + 0.03 * units.au5 - 0.015 * units.au4
    fold_line = [(p[0] * 1.05, p[1] - lift * (0.4 if i in (0, 4) else 1.0)) for i, p in enumerate(upper_line)]

    base = EYE_Y - 0.255 * identity.brow_height
    inner_y = base - 0.15 * units.au1 + 0.13 * units.au4 + 0.05 * units.au9 - 0.03 * units.au2
    middle_y = base - 0.035 - 0.075 * units.au1 - 0.12 * units.au2 + 0.085 * units.au4 + 0.03 * units.au9
    outer_y = base + 0.035 - 0.15 * units.au2 + 0.02 * (units.au1 + units.au4 + units.au6) - identity.brow_tilt
    inner_x = 0.15 * identity.eye_spacing - 0.045 * units.au4
    brow = np.array(
        [
            (inner_x, inner_y),
            (inner_x + 0.11, 0.45 * inner_y + 0.55 * middle_y - 0.005),
            (0.37 * identity.eye_spacing, middle_y),
            (0.58 * identity.eye_spacing, outer_y),
        ]
    )

    def place(points: list[tuple[float, float]]) -> np.ndarray:
        line = np.array(points) * [side, 1.0] + centre
        return smooth(line if side > 0 else line[::-1])

    return Eye(
        upper=place(upper_line),
        lower=place(lower_line),
        lid_fold=place(fold_line),
        iris=centre - np.array([0.0, 0.014 * opening]),
        iris_radius=0.082 * (0.5 + 0.5 * identity.eye_width),
        brow=smooth(brow * [side, 1.0]),
        brow_width=0.082 * identity.brow_thickness,
        centre=centre,
    )


def _mouth(identity: Identity, units: ActionUnits) -> Mouth:
    thin = 1 - 0.6 * min(1.0, max(units.au23, units.au24))
    full = identity.lip_fullness * thin
    centre_y = 0.56 + 0.1 * (identity.chin_length - 1)
    narrow = 0.12 * max(units.au23, units.au24) + 0.09 * units.au26 * (1 - units.au12)
    half = 0.265 * identity.mouth_width * (1 - narrow)
    corners = []
    for side in SIDES:
        # A one-sided smile still tugs a little on the other corner.
        acts = 1.0 if units.side == 0 else max(0.08, side * units.side)
        pull, dimple = units.au12 * acts, units.au14 * acts
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
    line = centre_y + (corner_y - centre_y) * bend - chin_up * (1 - t**2)
    arch = 1 - np.abs(t) ** 2.4
    broad = 1 - np.abs(t) ** 4
    middle = 1 - np.abs(t) ** 2
    bow = np.array([0.0, 0.55, 0.93, 1.06, 0.86, 1.06, 0.93, 0.55, 0.0])
    inner_upper = line - apart * arch - raise_upper * (0.75 * broad + 0.25 * arch)
    inner_lower = line + drop * (0.55 * middle + 0.45 * arch) - 0.3 * raise_upper * broad
    inner_lower = np.maximum(inner_lower, inner_upper)
    outer_upper = inner_upper - 0.072 * full * bow * (1 - 0.25 * units.au12)
    outer_lower = inner_lower + 0.098 * full * (0.5 * arch + 0.5 * middle) * (1 - 0.15 * units.au12)

    def curve(y: np.ndarray) -> np.ndarray:
        return smooth(np.stack([x, y], axis=1), per_segment=4)

    return Mouth(
        outer_upper=curve(outer_upper),
        inner_upper=curve(inner_upper),
        inner_lower=curve(inner_lower),
        outer_lower=curve(outer_lower),
        upper_teeth=0.02 + 0.055 * min(1.0, max(0.0, units.au10 + units.au12 + 0.6 * units.au20 + 0.4 * units.au9)),
        lower_teeth=0.05 * min(1.0, max(0.0, 0.7 * units.au20 + 0.8 * units.au4 * units.au25 - 0.3 * units.au12)),
    )


def _creases(
    identity: Identity,
    units: ActionUnits,
    eyes: tuple[Eye, Eye],
    mouth: Mouth,
    nose_y: float,
    nose_half: float,
    jaw_drop: float,
) -> tuple[Crease, ...]:
    age = identity.age
    creases: list[Crease] = []

    def add(points: list[tuple[float, float]], width: float, strength: float) -> None:
        if strength > 0.04:
            creases.append(Crease(smooth(np.array(points), per_segment=4), width, min(1.0, strength)))

    for index, side in enumerate(SIDES):
        acts = 1.0 if units.side == 0 else max(0.1, side * units.side)
        eye = eyes[index]
        inner_brow = eye.brow[0]
        corner = mouth.outer_upper[0 if side < 0 else -1]
        smile = units.au12 * acts
        fold = 0.1 + 0.3 * age + 0.55 * smile + 0.5 * units.au10 + 0.55 * units.au9 + 0.15 * units.au20
        add(
            [
                (side * (nose_half + 0.02), nose_y - 0.03),
                (side * (nose_half + 0.1 + 0.04 * smile), 0.36 - 0.05 * units.au10),
                (corner[0] + side * (0.06 + 0.02 * smile), corner[1] - 0.06),
                (corner[0] + side * 0.075, corner[1] + 0.04 * (1 - smile)),
            ],
            0.045,
            fold,
        )
        add(
            [(corner[0] + side * 0.012, corner[1] - 0.035), (corner[0] + side * 0.025, corner[1] + 0.045)],
            0.035,
            0.8 * units.au14 * acts + 0.45 * units.au20 + 0.4 * units.au24 + 0.35 * smile,
        )
        add(
            [(corner[0] + side * 0.01, corner[1]), (corner[0] + side * 0.05, corner[1] + 0.09)],
            0.035,
            0.15 * age + 0.8 * units.au15,
        )
        outer = eye.centre[0] + side * 0.2
        for slope in (-0.05, 0.01, 0.07):
            add(
                [(outer, EYE_Y + 0.02 + 0.4 * slope), (outer + side * 0.12, EYE_Y + 0.03 + 1.4 * slope)],
                0.018,
                0.5 * units.au6 + 0.3 * age - 0.1,
            )
        bag = EYE_Y + 0.1 - 0.02 * units.au6
        add(
            [
                (eye.centre[0] - side * 0.14, bag - 0.01),
                (eye.centre[0], bag + 0.035),
                (eye.centre[0] + side * 0.15, bag - 0.01),
            ],
            0.03,
            0.12 + 0.35 * age + 0.45 * units.au6 + 0.3 * units.au7 + 0.2 * units.au9,
        )
        # Frown lines between the brows follow them.
        add(
            [(inner_brow[0] - side * 0.06, inner_brow[1] - 0.07), (inner_brow[0] - side * 0.045, inner_brow[1] + 0.09)],
            0.03,
            0.9 * units.au4 * (1 - 0.5 * units.au1) + 0.1 * age,
        )
        for step in range(3):
            y = 0.0 + 0.062 * step
            add([(0.0, y - 0.02), (side * 0.06, y), (side * (0.1 + 0.015 * step), y + 0.05)], 0.024, 0.75 * units.au9)

    top = float(eyes[0].brow[:, 1].min())
    for step in range(3):
        y = top - 0.11 - 0.1 * step
        reach = 0.16 + 0.3 * max(units.au2, age)
        # AU1 alone wrinkles the middle of the forehead, AU2 its whole width, AU1 + AU4 in an arch.
        arch = 0.04 * units.au4 - 0.02 * units.au2
        add(
            [(-reach, y + arch), (-0.5 * reach, y), (0.0, y - 0.3 * arch), (0.5 * reach, y), (reach, y + arch)],
            0.026,
            0.55 * max(units.au1, units.au2) + 0.3 * age - 0.08,
        )
    lip = float(mouth.outer_lower[:, 1].max())
    add(
        [(-0.13, lip + 0.04), (0.0, lip + 0.055 + 0.02 * units.au17), (0.13, lip + 0.04)],
        0.05,
        0.25 + 0.5 * units.au17 + 0.15 * units.au24,
    )
    return tuple(creases)
