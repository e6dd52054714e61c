"""Parameters of a synthetic face: identity, action units and view."""

from __future__ import annotations

from dataclasses import asdict, dataclass

OCCLUSIONS = ("none", "sunglasses", "mask")


@dataclass(frozen=True)
class ActionUnits:
    """Facial action units with intensities around [0, 1]; all zero is a relaxed face.

    The numbers are those of the Facial Action Coding System (Ekman and Friesen, 1978).
    """

    au1: float = 0.0  # inner brow raiser
    au2: float = 0.0  # outer brow raiser
    au4: float = 0.0  # brow lowerer: brows go down and together
    au5: float = 0.0  # upper lid raiser
    au6: float = 0.0  # cheek raiser: lower lid pushed up, crow's feet
    au7: float = 0.0  # lid tightener: both lids narrow the eye
    au9: float = 0.0  # nose wrinkler
    au10: float = 0.0  # upper lip raiser
    au12: float = 0.0  # lip corner puller: corners go up and out
    au14: float = 0.0  # dimpler
    au15: float = 0.0  # lip corner depressor
    au17: float = 0.0  # chin raiser
    au20: float = 0.0  # lip stretcher: corners go straight out
    au23: float = 0.0  # lip tightener: thin lips, short mouth
    au24: float = 0.0  # lip presser: thin lips, bulges beside them
    au25: float = 0.0  # lips part
    au26: float = 0.0  # jaw drop
    au43: float = 0.0  # eyes closing
    side: float = 0.0  # side on which AU12 and AU14 act: -1 the image's left corner alone, +1 its right alone, 0 both


@dataclass(frozen=True)
class Identity:
    """Parameters that are the same in every picture of a person. Lengths are factors on the mean face by default."""

    face_width: float = 1.0
    jaw_width: float = 1.0
    chin_length: float = 1.0  # length of the lower face
    eye_spacing: float = 1.0  # distance of the eyes
    eye_opening: float = 1.0  # opening of a relaxed eye
    brow_height: float = 1.0  # distance of brow and eye
    brow_thickness: float = 1.0
    nose_length: float = 1.0
    nose_width: float = 1.0
    mouth_width: float = 1.0
    lip_fullness: float = 1.0  # thickness of the lips
    mouth_curve: float = 0.0  # resting height of the lip corners, in face units, up is positive
    age: float = 0.2  # 0 young, 1 old: folds, wrinkles, grey hair
    skin_tone: float = 0.25  # 0 lightest, 1 deepest
    hair_tone: float = 0.25  # 0 black, 1 light blond
    hair_volume: float = 0.14  # distance of the hair from the head, in face units; 0 is bald
    hair_length: float = 0.0  # position of the hair's lower end, in face units, down is positive
    hairline: float = 0.6  # height of the hairline above the brows, 0 a fringe over them, 1 a high forehead
    glasses: bool = False  # whether the person wears glasses


@dataclass(frozen=True)
class View:
    """Pose, light and camera of a picture."""

    yaw: float = 0.0  # degrees, positive turns the face to the image's right
    pitch: float = 0.0  # degrees, positive turns the face up
    roll: float = 0.0  # degrees, positive turns the image clockwise
    scale: float = 1.0  # size of the face, 1 fills the crop
    shift_x: float = 0.0  # offset to the right, as a fraction of the image
    shift_y: float = 0.0  # offset downwards, as a fraction of the image
    gaze_x: float = 0.0  # direction of the eyes, -1 to 1, in iris radii
    gaze_y: float = 0.0  # the same, downwards
    light_azimuth: float = -25.0  # degrees, 0 from the camera, positive from the image's right
    light_elevation: float = 30.0  # degrees, positive from above
    light_contrast: float = 0.5  # 0 flat, 1 hard light from one direction
    exposure: float = 1.0  # factor on the brightness
    colour_cast: float = 0.0  # -1 cold, 1 warm light
    blur: float = 0.0  # standard deviation as a fraction of the image's width
    noise: float = 0.0  # standard deviation of the sensor noise in grey levels
    background: int = 0  # seed of the background, the clothes and the noise
    occlusion: str = "none"  # one of `OCCLUSIONS`


@dataclass(frozen=True)
class FaceParameters:
    """Parameters of one synthetic face."""

    expression: str  # canonical class name
    intensity: float  # factor on the prototype of the expression
    blended: str  # second expression that is mixed in
    blend: float  # share of the second expression
    units: ActionUnits  # resulting action units
    identity: Identity  # parameters of the person
    view: View  # pose, light and camera

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
