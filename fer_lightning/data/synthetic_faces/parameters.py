"""Parameters of a synthetic face: identity, action units and view."""

from __future__ import annotations

from dataclasses import asdict, dataclass

OCCLUSIONS = ("none", "sunglasses", "hand", "mask")


@dataclass(frozen=True)
class ActionUnits:
    """Facial action units with intensities around [0, 1]; all zero is a relaxed face.

    The numbers are those of the Facial Action Coding System (Ekman and Friesen, 1978).

    Attributes:
        au1: Inner brow raiser.
        au2: Outer brow raiser.
        au4: Brow lowerer: brows go down and together.
        au5: Upper lid raiser.
        au6: Cheek raiser: lower lid pushed up, crow's feet.
        au7: Lid tightener: both lids narrow the eye.
        au9: Nose wrinkler.
        au10: Upper lip raiser.
        au12: Lip corner puller: corners go up and out.
        au14: Dimpler.
        au15: Lip corner depressor.
        au17: Chin raiser.
        au20: Lip stretcher: corners go straight out.
        au23: Lip tightener: thin lips, short mouth.
        au24: Lip presser: thin lips, bulges beside them.
        au25: Lips part.
        au26: Jaw drop.
        au43: Eyes closing.
        side: Side on which AU12 and AU14 act: -1 the image's left corner alone, +1 its right alone, 0 both.
    """

    au1: float = 0.0
    au2: float = 0.0
    au4: float = 0.0
    au5: float = 0.0
    au6: float = 0.0
    au7: float = 0.0
    au9: float = 0.0
    au10: float = 0.0
    au12: float = 0.0
    au14: float = 0.0
    au15: float = 0.0
    au17: float = 0.0
    au20: float = 0.0
    au23: float = 0.0
    au24: float = 0.0
    au25: float = 0.0
    au26: float = 0.0
    au43: float = 0.0
    side: float = 0.0


@dataclass(frozen=True)
class Identity:
    """Parameters that are the same in every picture of a person. Lengths are factors on the mean face by default.

    Attributes:
        face_width: Width of the head.
        jaw_width: Width of the jaw.
        chin_length: Length of the lower face.
        forehead: Height of the forehead.
        eye_spacing: Distance of the eyes.
        eye_width: Width of an eye.
        eye_opening: Opening of a relaxed eye.
        eye_tilt: Outer eye corner above the inner one, in face units.
        brow_height: Distance of brow and eye.
        brow_thickness: Thickness of the brows.
        brow_tilt: Outer brow end above the inner one, in face units.
        nose_length: Length of the nose.
        nose_width: Width of the nose.
        mouth_width: Width of the mouth.
        lip_fullness: Thickness of the lips.
        mouth_curve: Resting height of the lip corners, in face units, up is positive.
        age: 0 young, 1 old: folds, wrinkles, grey hair.
        skin_tone: 0 lightest, 1 deepest.
        skin_warmth: -1 cool, 1 warm.
        lip_colour: 0 natural, 1 painted.
        iris_tone: 0 dark brown, 1 light blue.
        hair_tone: 0 black, 1 light blond.
        hair_redness: 0 none, 1 red hair.
        hair_volume: Distance of the hair from the head, in face units; 0 is bald.
        hair_length: Position of the hair's lower end, in face units, down is positive.
        hairline: Height of the hairline above the brows, 0 a fringe over them, 1 a high forehead.
        hair_part: Position of the parting, -1 image left, 1 image right.
        curl: Waviness of the hair.
        beard: 0 shaved, 1 a full beard.
        moustache: 0 none, 1 full.
        glasses: Whether the person wears glasses.
        glasses_roundness: 0 square frames, 1 round ones.
    """

    face_width: float = 1.0
    jaw_width: float = 1.0
    chin_length: float = 1.0
    forehead: float = 1.0
    eye_spacing: float = 1.0
    eye_width: float = 1.0
    eye_opening: float = 1.0
    eye_tilt: float = 0.01
    brow_height: float = 1.0
    brow_thickness: float = 1.0
    brow_tilt: float = 0.0
    nose_length: float = 1.0
    nose_width: float = 1.0
    mouth_width: float = 1.0
    lip_fullness: float = 1.0
    mouth_curve: float = 0.0
    age: float = 0.2
    skin_tone: float = 0.25
    skin_warmth: float = 0.0
    lip_colour: float = 0.2
    iris_tone: float = 0.3
    hair_tone: float = 0.25
    hair_redness: float = 0.1
    hair_volume: float = 0.14
    hair_length: float = 0.0
    hairline: float = 0.6
    hair_part: float = 0.3
    curl: float = 0.1
    beard: float = 0.0
    moustache: float = 0.0
    glasses: bool = False
    glasses_roundness: float = 0.5


@dataclass(frozen=True)
class View:
    """Pose, light and camera of a picture.

    Attributes:
        yaw: Degrees, positive turns the face to the image's right.
        pitch: Degrees, positive turns the face up.
        roll: Degrees, positive turns the image clockwise.
        scale: Size of the face, 1 fills the crop.
        shift_x: Offset to the right, as a fraction of the image.
        shift_y: Offset downwards, as a fraction of the image.
        gaze_x: Direction of the eyes, -1 to 1, in iris radii.
        gaze_y: The same, downwards.
        light_azimuth: Degrees, 0 from the camera, positive from the image's right.
        light_elevation: Degrees, positive from above.
        light_contrast: 0 flat, 1 hard light from one direction.
        exposure: Factor on the brightness.
        colour_cast: -1 cold, 1 warm light.
        blur: Standard deviation as a fraction of the image's width.
        noise: Standard deviation of the sensor noise in grey levels.
        background: Seed of the background, the clothes and the texture of hair and noise.
        occlusion: One of `OCCLUSIONS`.
        occlusion_place: Position of the hand, 0 image left to 1 image right.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    scale: float = 1.0
    shift_x: float = 0.0
    shift_y: float = 0.0
    gaze_x: float = 0.0
    gaze_y: float = 0.0
    light_azimuth: float = -25.0
    light_elevation: float = 30.0
    light_contrast: float = 0.5
    exposure: float = 1.0
    colour_cast: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    background: int = 0
    occlusion: str = "none"
    occlusion_place: float = 0.5


@dataclass(frozen=True)
class FaceParameters:
    """Parameters of one synthetic face.

    Attributes:
        expression: Canonical class name.
        intensity: Factor on the prototype of the expression.
        blended: Second expression that is mixed in.
        blend: Share of the second expression.
        units: Resulting action units.
        identity: Parameters of the person.
        view: Pose, light and camera.
    """

    expression: str
    intensity: float
    blended: str
    blend: float
    units: ActionUnits
    identity: Identity
    view: View

    def to_row(self) -> dict[str, object]:
        """All parameters as one flat row of a table."""
        row = asdict(self)
        units, view, identity = row.pop("units"), row.pop("view"), row.pop("identity")
        return {**row, **units, **view, **identity}


# Combinations follow the table of emotion prototypes in Ekman, Friesen and Hager, "Facial Action Coding System:
# Investigator's Guide" (2002), and for contempt the one-sided AU12 + AU14.
PROTOTYPES: dict[str, tuple[ActionUnits, ...]] = {
    "angry": (
        ActionUnits(au4=1.0, au5=0.35, au7=0.6, au23=0.8, au24=0.7, au17=0.3),
        ActionUnits(au4=1.0, au5=0.5, au7=0.5, au10=0.6, au15=0.45, au17=0.2, au20=0.35, au23=0.4, au25=0.9, au26=0.2),
    ),
    "disgust": (
        ActionUnits(au4=0.35, au6=0.3, au7=0.5, au9=1.0, au10=0.75, au15=0.35, au17=0.4),
        ActionUnits(au4=0.35, au6=0.35, au7=0.5, au9=1.0, au10=1.0, au15=0.2, au25=0.6, au26=0.1),
    ),
    "fear": (
        ActionUnits(au1=1.0, au2=0.4, au4=0.6, au5=1.0, au7=0.1, au20=1.0, au25=0.7, au26=0.15),
        ActionUnits(au1=1.0, au2=0.5, au4=0.5, au5=0.9, au20=0.8, au25=0.8, au26=0.35),
    ),
    "happy": (
        ActionUnits(au6=0.8, au12=1.0, au25=0.8, au26=0.1),
        ActionUnits(au6=0.6, au12=1.0),
        ActionUnits(au6=1.0, au12=1.0, au25=1.0, au26=0.45),
    ),
    "sad": (
        ActionUnits(au1=1.0, au4=0.55, au15=1.0, au17=0.6, au43=0.3),
        ActionUnits(au1=0.9, au4=0.4, au15=0.9, au17=0.3, au43=0.4, au25=0.15),
    ),
    "surprise": (
        ActionUnits(au1=1.0, au2=1.0, au5=0.8, au25=0.8, au26=1.0),
        ActionUnits(au1=0.9, au2=1.0, au5=0.7, au25=0.6, au26=0.65),
    ),
    "neutral": (ActionUnits(),),
    "contempt": (
        ActionUnits(au12=0.75, au14=1.0, side=1.0),
        ActionUnits(au12=0.75, au14=1.0, side=-1.0),
    ),
}
