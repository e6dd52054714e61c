"""Random people, expressions and views of synthetic faces, reproducible by seed."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial

import numpy as np

from fer_lightning.data.synthetic_faces.parameters import PROTOTYPES, ActionUnits, FaceParameters, Identity, View

# Separate streams, so that a person does not depend on the picture nor on the number of pictures.
_PERSON, _PICTURE = 1, 2

# Increase it with every change of the distribution: packed stores and fingerprints of synthetic faces depend on it.
SAMPLING_VERSION = 3


def _around(rng: np.random.Generator, spread: float) -> float:
    """Normal value around 0 without outliers."""
    return float(np.clip(rng.normal(0.0, spread), -2.2 * spread, 2.2 * spread))


def sample_identity(seed: int, person: int) -> Identity:
    """Random identity of person number `person` in the population of `seed`."""
    rng = np.random.default_rng([seed, _PERSON, person])
    around = partial(_around, rng)
    # One latent trait moves several features together, as in real faces.
    robust = around(1.0)
    age = float(rng.beta(1.4, 2.2))
    tone = float(rng.uniform(0, 1))
    dark_hair = float(rng.beta(1.2, 2.4)) if tone < 0.45 else float(rng.beta(1.0, 9.0))
    long_hair = rng.random() < 0.55 - 0.25 * robust
    bald = rng.random() < 0.1 + 0.1 * robust + 0.1 * age
    return Identity(
        face_width=1 + 0.02 * robust + around(0.055),
        jaw_width=0.99 + 0.035 * robust + around(0.045),
        chin_length=1 + 0.012 * robust + around(0.04),
        eye_spacing=1 + around(0.05),
        eye_opening=1 - 0.05 * robust + around(0.1),
        brow_height=1 - 0.05 * robust + around(0.06),
        brow_thickness=1 + 0.2 * robust + around(0.15),
        nose_length=1 + around(0.08),
        nose_width=1 + 0.04 * robust + around(0.1),
        mouth_width=1 + around(0.07),
        lip_fullness=1 - 0.1 * robust - 0.2 * age + around(0.16),
        mouth_curve=around(0.007),
        age=age,
        skin_tone=tone,
        hair_tone=dark_hair,
        hair_volume=0.0 if bald else float(rng.uniform(0.06, 0.22) + (0.05 if long_hair else 0.0)),
        hair_length=float(rng.uniform(0.5, 1.4) if long_hair else rng.uniform(-0.3, 0.1)),
        hairline=float(np.clip(rng.normal(0.68 + 0.2 * age, 0.2), 0.25, 1.05)),
        glasses=bool(rng.random() < 0.18 + 0.12 * age),
    )


def sample_view(rng: np.random.Generator, difficulty: float) -> View:
    """Random view; `difficulty` runs from 0 (passport photograph) to 1 (in the wild)."""
    d = difficulty
    around = partial(_around, rng)
    occlusion = str(rng.choice(["sunglasses", "mask"], p=[0.6, 0.4]))
    return View(
        yaw=around(22 * d),
        pitch=around(11 * d),
        roll=around(13 * d),
        scale=float(np.exp(around(0.12 * d))),
        shift_x=around(0.06 * d),
        shift_y=around(0.06 * d),
        gaze_x=around(0.05 + 0.4 * d),
        gaze_y=around(0.03 + 0.15 * d),
        light_azimuth=float(rng.uniform(-70, 70)) * (0.4 + 0.6 * d),
        light_elevation=25 + around(30 * d),
        light_contrast=float(0.35 + d * rng.uniform(-0.1, 0.65)),
        exposure=float(np.exp(around(0.35 * d))),
        colour_cast=around(0.8 * d),
        blur=float(rng.uniform(0, 0.022)) * d if rng.random() < 0.5 else 0.0,
        noise=float(rng.uniform(0, 22)) * d,
        background=int(rng.integers(1 << 31)),
        occlusion=occlusion if rng.random() < 0.2 * d else "none",
    )


def _sample_units(
    rng: np.random.Generator, prototype: ActionUnits, other: ActionUnits, intensity: float, blend: float, spread: float
) -> ActionUnits:
    """Action units in [0, 1.15] around a prototype, with a share `blend` of another one."""
    mixed = asdict(other)
    units = {}
    for name, amount in asdict(prototype).items():
        stray = rng.normal(0.0, 1.0)
        # Units of the expression vary in strength; the others stay nearly at rest.
        share = amount * intensity * (1 + 0.3 * spread * stray) if amount else 0.06 * spread * abs(stray)
        units[name] = float(np.clip((1 - blend) * share + blend * mixed[name], 0.0, 1.15))
    return ActionUnits(**{**units, "side": prototype.side})


def sample_face(
    seed: int, index: int, person: int, expression: str, classes: tuple[str, ...], difficulty: float
) -> FaceParameters:
    """Random parameters of one picture of a person with an expression, a function of its arguments.

    Args:
        seed: Seed of the data set.
        index: Number of the picture.
        person: Number of the person.
        expression: Canonical class name.
        classes: Expressions that may be mixed in.
        difficulty: 0 easy, 1 hard: weaker and blended expressions, unusual poses and light, more occlusion and noise.
    """
    rng = np.random.default_rng([seed, _PICTURE, index])
    intensity = float(rng.uniform(1 - 0.7 * difficulty, 1.0 + 0.1 * difficulty))
    blend = float(rng.uniform(0, 0.45)) * difficulty if rng.random() < 0.5 else 0.0
    blended = str(rng.choice([name for name in classes if name != expression]))
    prototype, other = (PROTOTYPES[name][rng.integers(len(PROTOTYPES[name]))] for name in (expression, blended))
    return FaceParameters(
        expression=expression,
        intensity=intensity,
        blended=blended if blend else "",
        blend=blend,
        units=_sample_units(rng, prototype, other, intensity, blend, difficulty),
        identity=sample_identity(seed, person),
        view=sample_view(rng, difficulty),
    )
